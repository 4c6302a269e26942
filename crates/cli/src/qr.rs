//! A QR code on the screen: in the colours that readers need, whatever those of the screen are, and only where it fits.
//!
//! Not for making codes (`api::QrCode`).

use api::QrCode;

use crate::failure::Failure;
use crate::render::View;

/// White on black.
const COLORS: &str = "\u{1b}[97;40m";
const NO_COLORS: &str = "\u{1b}[0m";

/// The code in half blocks. On a screen with its own colours.
pub(crate) fn on_screen(code: &QrCode, view: &View) -> Result<String, Failure> {
    let side = code.side();
    if let Some(width) = view.width.filter(|width| usize::from(*width) < side) {
        return Err(Failure::Local(anyhow::anyhow!(
            "the screen has {width} columns and the QR code needs {side}; make it wider, or use --png FILE"
        )));
    }
    let (before, after) = if view.width.is_some() { (COLORS, NO_COLORS) } else { ("", "") };
    Ok(code.to_lines().into_iter().map(|line| format!("{before}{line}{after}\n")).collect())
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    fn view(width: Option<u16>) -> View {
        View { now: Timestamp::from_millis(0), width }
    }

    #[test]
    fn a_screen_has_its_own_colours_and_must_be_wide_enough() {
        let code = QrCode::of("[Interface]").unwrap();
        let text = on_screen(&code, &view(Some(80))).unwrap();
        assert!(text.lines().all(|line| line.starts_with(COLORS) && line.ends_with(NO_COLORS)));
        let narrow = on_screen(&code, &view(Some(20))).unwrap_err();
        assert!(narrow.to_string().contains("--png"), "{narrow}");
        let plain = on_screen(&code, &view(None)).unwrap();
        assert!(plain.lines().eq(code.to_lines()), "a file is given no colours");
    }
}
