//! QR codes of configurations: on the screen, as SVG, as PNG. They are made here because the private key in them is known
//! here only.

use anyhow::Context as _;
use png::{BitDepth, ColorType, Encoder};
use qrcode::render::svg;
use qrcode::{Color, EcLevel, QrCode};

use crate::failure::Failure;
use crate::render::View;

/// Pixels a module of a PNG has in each direction.
const SCALE: usize = 6;
/// Modules of white around the code (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;
/// White on black, on whatever screen.
const COLORS: &str = "\u{1b}[97;40m";
const NO_COLORS: &str = "\u{1b}[0m";

/// A QR code.
pub(crate) struct Code(QrCode);

impl Code {
    /// One that holds this text. Little of it is spent on mending: it is read from a screen.
    pub(crate) fn of(text: &str) -> Result<Self, Failure> {
        QrCode::with_error_correction_level(text, EcLevel::L).map(Self).map_err(|_| {
            Failure::Local(anyhow::anyhow!("the configuration is too long for a QR code; use its text"))
        })
    }

    /// As SVG.
    pub(crate) fn to_svg(&self) -> String {
        self.0.render::<svg::Color<'_>>().min_dimensions(320, 320).build()
    }

    /// As PNG, black on white.
    pub(crate) fn to_png(&self) -> Result<Vec<u8>, Failure> {
        let side = self.side() * SCALE;
        let mut pixels = Vec::with_capacity(side * side.div_ceil(8));
        for y in 0..side {
            for byte in 0..side.div_ceil(8) {
                let light = |bit: &usize| self.is_light((byte * 8 + bit) / SCALE, y / SCALE);
                pixels.push((0..8).filter(light).fold(0, |bits: u8, bit| bits | 0x80 >> bit));
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

    /// In half blocks, two modules above one another in a character. On a screen with its own colours.
    pub(crate) fn to_text(&self, view: &View) -> Result<String, Failure> {
        let side = self.side();
        if let Some(width) = view.width.filter(|width| usize::from(*width) < side) {
            return Err(Failure::Local(anyhow::anyhow!(
                "the screen has {width} columns and the QR code needs {side}; make it wider, or use --png FILE"
            )));
        }
        let (before, after) = if view.width.is_some() { (COLORS, NO_COLORS) } else { ("", "") };
        let lines = (0..side).step_by(2).map(|y| {
            let line: String =
                (0..side).map(|x| block(self.is_light(x, y), self.is_light(x, y + 1))).collect();
            format!("{before}{line}{after}\n")
        });
        Ok(lines.collect())
    }

    /// Modules in each direction, with the white around.
    fn side(&self) -> usize {
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

const fn block(upper: bool, lower: bool) -> char {
    match (upper, lower) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    fn view(width: Option<u16>) -> View {
        View { now: Timestamp::from_millis(0), width }
    }

    #[test]
    fn half_blocks_show_every_module() {
        let code = Code::of("[Interface]").unwrap();
        let text = code.to_text(&view(None)).unwrap();
        let mut light = Vec::new();
        for line in text.lines() {
            let halves = line.chars().map(|c| (matches!(c, '█' | '▀'), matches!(c, '█' | '▄')));
            let (upper, lower): (Vec<bool>, Vec<bool>) = halves.unzip();
            light.extend([upper, lower]);
        }
        let side = code.side();
        for (x, y) in (0..side).flat_map(|x| (0..side).map(move |y| (x, y))) {
            assert_eq!(light[y][x], code.is_light(x, y), "{x}, {y}");
        }
        assert!(!light[QUIET][QUIET] && light[QUIET - 1][QUIET], "a finder begins in the corner");
    }

    #[test]
    fn a_screen_has_its_own_colours_and_must_be_wide_enough() {
        let code = Code::of("[Interface]").unwrap();
        let text = code.to_text(&view(Some(80))).unwrap();
        assert!(text.lines().all(|line| line.starts_with(COLORS) && line.ends_with(NO_COLORS)));
        let narrow = code.to_text(&view(Some(20))).unwrap_err();
        assert!(narrow.to_string().contains("--png"), "{narrow}");
    }

    #[test]
    fn what_is_too_long_is_told() {
        let error = Code::of(&"x".repeat(4_000)).map(drop).unwrap_err();
        assert!(error.to_string().contains("too long for a QR code"), "{error}");
        assert!(Code::of("short").unwrap().to_svg().contains("<svg"));
        assert!(Code::of("short").unwrap().to_png().unwrap().starts_with(b"\x89PNG"));
    }
}
