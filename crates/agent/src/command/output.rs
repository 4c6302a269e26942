//! Where results go: tables and sentences for people, JSON for programs; progress only where somebody watches.
//!
//! Not for what is said. It keeps true that with `--json` standard output holds one JSON value and nothing else, and that
//! nothing a server says reaches the terminal with control characters in it.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use model::Timestamp;
use rustix::termios::{isatty, tcgetwinsize};
use serde::Serialize;

/// Where results go.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    json: bool,
    width: Option<u16>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let out = io::stdout();
        let width = isatty(&out).then(|| tcgetwinsize(&out).map_or(80, |size| size.ws_col.max(40)));
        Self { json, width }
    }

    /// Prints the result: the words, or the value as JSON.
    pub(crate) fn result<T: Serialize>(
        &self,
        words: impl FnOnce() -> String,
        value: &T,
    ) -> anyhow::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value).context("the result cannot be encoded")?
        } else {
            words()
        };
        let written = writeln!(io::stdout(), "{}", text.trim_end());
        match written {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("the result cannot be printed"),
        }
    }

    /// Says something beside the result.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", printable(text));
    }

    /// A table: framed on a screen, plain columns elsewhere.
    pub(crate) fn table<const N: usize>(
        &self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> String {
        let mut table = Table::new();
        table.load_style(if self.width.is_some() { UTF8_FULL_CONDENSED } else { NOTHING });
        table.set_header(head.map(str::to_uppercase));
        for row in rows {
            table.add_row(row.map(|cell| printable(&cell)));
        }
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        table.trim_fmt()
    }

    /// Progress, on a terminal.
    pub(crate) fn progress(&self, first: &'static str) -> Progress {
        let bar = (!self.json && isatty(io::stderr())).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_message(first);
            bar
        });
        Progress(bar)
    }
}

/// A line that says what is going on, gone when it is over.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn say(&self, text: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The text with control characters (and what turns the direction of writing) replaced.
pub(crate) fn printable(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// How long ago that was.
pub(crate) fn ago(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else { return "never".to_owned() };
    let seconds = now.since(then).as_secs();
    match seconds {
        0..=1 => "now".to_owned(),
        2..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A number of bytes.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = count.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `1 peer`, `2 peers`.
pub(crate) fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([bytes(5), bytes(2048), bytes(1 << 30)], ["5 B", "2.0 KiB", "1.0 GiB"]);
        let now = Timestamp::from_millis(10_000_000);
        assert_eq!(ago(None, now), "never");
        assert_eq!(ago(Some(Timestamp::from_millis(9_990_000)), now), "10 s ago");
        assert_eq!(count(1, "peer"), "1 peer");
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}c"), "a\u{fffd}[31mb\u{fffd}c");
    }
}
