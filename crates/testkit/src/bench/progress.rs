//! A bar while something long runs; nothing where standard error is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for this many steps.
pub(crate) fn bar(what: &'static str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>32} {wide_bar} {pos}/{len} {eta}");
    let bar = ProgressBar::new(steps as u64).with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
