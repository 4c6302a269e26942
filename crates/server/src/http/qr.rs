//! QR codes of configurations: SVG and PNG.
//!
//! Not for what is in them. A text that no QR code can hold gives none.

use anyhow::{Context as _, Result};
use png::{BitDepth, ColorType, Encoder};
use qrcode::render::svg;
use qrcode::{Color, EcLevel, QrCode};

/// Pixels a module of a PNG has in each direction.
const SCALE: usize = 6;
/// Modules of white around the code (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;

/// A code that holds this text; none when it is too long. Little of it is spent on mending: it is read from a screen.
pub(super) fn of(text: &str) -> Option<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::L).ok()
}

/// As SVG.
pub(super) fn to_svg(code: &QrCode) -> String {
    code.render::<svg::Color<'_>>().min_dimensions(320, 320).build()
}

/// As PNG, black on white.
pub(super) fn to_png(code: &QrCode) -> Result<Vec<u8>> {
    let modules = code.width();
    let colors = code.to_colors();
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < modules);
        let (Some(x), Some(y)) = (inside(x), inside(y)) else {
            return false;
        };
        colors.get(y * modules + x) == Some(&Color::Dark)
    };
    let side = (modules + 2 * QUIET) * SCALE;
    let mut pixels = Vec::with_capacity(side * side.div_ceil(8));
    for y in 0..side {
        for byte in 0..side.div_ceil(8) {
            let white = |bit: &usize| !dark((byte * 8 + bit) / SCALE, y / SCALE);
            pixels.push((0..8).filter(white).fold(0, |bits: u8, bit| bits | 0x80 >> bit));
        }
    }
    let mut png = Vec::new();
    let side = u32::try_from(side).context("a QR code is small")?;
    let mut encoder = Encoder::new(&mut png, side, side);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::One);
    let mut writer = encoder.write_header().context("a PNG cannot be written")?;
    writer.write_image_data(&pixels).context("a PNG cannot be written")?;
    writer.finish().context("a PNG cannot be written")?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_shows_the_code_in_a_white_frame() {
        let code = of("netloom").unwrap();
        let png = to_png(&code).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let side = (code.width() + 2 * QUIET) * SCALE;
        assert_eq!((info.width as usize, info.height as usize), (side, side));
        let white = |x: usize, y: usize| pixels[y * info.line_size + x / 8] & (0x80 >> (x % 8)) != 0;
        for y in 0..code.width() {
            for x in 0..code.width() {
                let (at_x, at_y) = ((x + QUIET) * SCALE, (y + QUIET) * SCALE);
                for (at_x, at_y) in [(at_x, at_y), (at_x + SCALE - 1, at_y + SCALE - 1)] {
                    assert_eq!(white(at_x, at_y), code[(x, y)] == Color::Light, "{x} {y}");
                }
            }
        }
        assert!((0..side).all(|x| white(x, 0) && white(0, x) && white(x, side - 1)));
    }

    #[test]
    fn what_is_too_long_gives_no_code() {
        assert!(of(&"x".repeat(2_900)).is_some() && of(&"x".repeat(3_000)).is_none());
        assert!(to_svg(&of("x").unwrap()).starts_with("<?xml"));
    }
}
