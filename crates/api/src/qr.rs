//! QR codes of configurations: SVG, PNG, and characters for a screen. The server makes them where it made the key, the command
//! line where the private key is known there only.
//!
//! Not for what is in them. It keeps true that all three show the same modules with the white around them that readers need.

use png::{BitDepth, ColorType, Encoder, EncodingError};
use qrcode::{Color, EcLevel};

/// Pixels that a module has in each direction of a picture.
const SCALE: usize = 6;
/// Modules of white around the code (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;

/// Why a text has no QR code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is too long for a QR code; use its text")]
pub struct QrCodeError;

/// A QR code.
#[derive(Clone)]
pub struct QrCode(qrcode::QrCode);

impl QrCode {
    /// One that holds this text. Little of it is spent on mending: it is read from a screen.
    pub fn of(text: &str) -> Result<Self, QrCodeError> {
        qrcode::QrCode::with_error_correction_level(text, EcLevel::L).map(Self).map_err(|_| QrCodeError)
    }

    /// As SVG, black on white: one rectangle for each run of dark modules in a row.
    pub fn to_svg(&self) -> String {
        let side = self.side();
        let mut dark = String::new();
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|x| !self.is_light(*x, y)).count();
                if run > 0 {
                    dark.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
                }
                x += run.max(1);
            }
        }
        let pixels = side * SCALE;
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{pixels}\" height=\"{pixels}\" \
             viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{dark}\"/></svg>\n"
        )
    }

    /// As PNG, black on white.
    pub fn to_png(&self) -> Vec<u8> {
        self.try_to_png().expect("memory takes what is written to it, and the header fits its pixels")
    }

    fn try_to_png(&self) -> Result<Vec<u8>, EncodingError> {
        let side = self.side() * SCALE;
        let mut pixels = Vec::with_capacity(side * side.div_ceil(8));
        for y in 0..side {
            for byte in 0..side.div_ceil(8) {
                let light = |bit: &usize| self.is_light((byte * 8 + bit) / SCALE, y / SCALE);
                pixels.push((0..8).filter(light).fold(0, |bits: u8, bit| bits | 0x80 >> bit));
            }
        }
        let mut png = Vec::new();
        let side = u32::try_from(side).expect("a QR code has at most 177 modules in each direction");
        let mut encoder = Encoder::new(&mut png, side, side);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::One);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        writer.finish()?;
        Ok(png)
    }

    /// In half blocks, two modules above one another in a character; what is light is drawn, for a dark screen. A line for
    /// each two rows, each [`QrCode::side`] characters wide.
    pub fn to_lines(&self) -> Vec<String> {
        let side = self.side();
        let block = |x: usize, y: usize| match (self.is_light(x, y), self.is_light(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..side).step_by(2).map(|y| (0..side).map(|x| block(x, y)).collect()).collect()
    }

    /// Modules in each direction, with the white around.
    pub fn side(&self) -> usize {
        self.0.width() + 2 * QUIET
    }

    /// Whether the module is white; what is around the code is.
    fn is_light(&self, x: usize, y: usize) -> bool {
        let modules = self.0.width();
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < modules);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.0[(x, y)] == Color::Light,
            (None, _) | (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(code: &QrCode) -> Vec<Vec<bool>> {
        let side = code.side();
        (0..side).map(|y| (0..side).map(|x| code.is_light(x, y)).collect()).collect()
    }

    #[test]
    fn a_png_shows_every_module_in_a_white_frame() {
        let code = QrCode::of("netloom").unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(code.to_png())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let side = code.side() * SCALE;
        assert_eq!((info.width as usize, info.height as usize), (side, side));
        let white = |x: usize, y: usize| pixels[y * info.line_size + x / 8] & (0x80 >> (x % 8)) != 0;
        for (y, row) in modules(&code).iter().enumerate() {
            for (x, light) in row.iter().enumerate() {
                for pixel in [0, SCALE - 1] {
                    assert_eq!(white(x * SCALE + pixel, y * SCALE + pixel), *light, "{x} {y}");
                }
            }
        }
        assert!((0..side).all(|x| white(x, 0) && white(0, x) && white(x, side - 1)));
    }

    #[test]
    fn half_blocks_show_every_module() {
        let code = QrCode::of("[Interface]").unwrap();
        let mut shown = Vec::new();
        for line in code.to_lines() {
            let halves = line.chars().map(|c| (matches!(c, '█' | '▀'), matches!(c, '█' | '▄')));
            let (upper, lower): (Vec<bool>, Vec<bool>) = halves.unzip();
            shown.extend([upper, lower]);
        }
        // An odd number of rows: the half below the last one is outside, where all is light.
        assert!(shown.pop().unwrap().iter().all(|light| *light));
        assert_eq!(shown, modules(&code));
        assert!(!shown[QUIET][QUIET] && shown[QUIET - 1][QUIET], "a finder begins in the corner");
    }

    #[test]
    fn svg_draws_every_dark_module_once() {
        let code = QrCode::of("[Interface]").unwrap();
        let svg = code.to_svg();
        let path = svg.rsplit_once("d=\"").unwrap().1.split_once('"').unwrap().0;
        let mut drawn = vec![vec![true; code.side()]; code.side()];
        for run in path.split_terminator('z') {
            let (x, rest) = run.strip_prefix('M').unwrap().split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let (width, _) = rest.split_once('v').unwrap();
            let [x, y, width] = [x, y, width].map(|number| number.parse::<usize>().unwrap());
            drawn[y][x..x + width].iter_mut().for_each(|light| assert!(std::mem::take(light)));
        }
        assert_eq!(drawn, modules(&code));
    }

    #[test]
    fn what_is_too_long_has_no_code() {
        assert!(QrCode::of(&"x".repeat(2_900)).is_ok());
        assert_eq!(QrCode::of(&"x".repeat(3_000)).map(drop), Err(QrCodeError));
    }
}
