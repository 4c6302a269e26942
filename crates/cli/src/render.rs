//! Answers as people read them: tables with frames on a screen, plain columns elsewhere.
//!
//! Not for deciding what is shown: each command does. It keeps true that nothing a server says reaches the terminal with
//! control characters in it.

use std::net::{Ipv4Addr, Ipv6Addr};

use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{ContentArrangement, Table};
use model::Timestamp;

use crate::span::relative;

/// From when, and for what, something is rendered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// The moment.
    pub(crate) now: Timestamp,
    /// The screen's width; none for a file or pipe.
    pub(crate) width: Option<u16>,
}

impl View {
    /// A moment: relative on a screen, exact elsewhere.
    pub(crate) fn moment(&self, moment: Timestamp) -> String {
        if self.width.is_some() { relative(moment, self.now) } else { moment.to_string() }
    }

    /// A moment that may be missing.
    pub(crate) fn moment_or(&self, moment: Option<Timestamp>, missing: &str) -> String {
        moment.map_or_else(|| missing.to_owned(), |moment| self.moment(moment))
    }
}

/// The text with control characters (and what turns the direction of writing) replaced.
pub(crate) fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// A table with one row for each item. `empty` is said on a screen when there is none.
pub(crate) fn table<const N: usize, T>(
    view: &View,
    head: [&str; N],
    items: &[T],
    row: impl Fn(&T) -> [String; N],
    empty: &str,
) -> String {
    if items.is_empty() && view.width.is_some() {
        return empty.to_owned();
    }
    let mut table = Table::new();
    table.load_style(if view.width.is_some() { UTF8_FULL_CONDENSED } else { NOTHING });
    table.set_header(head.map(str::to_uppercase));
    for item in items {
        table.add_row(row(item).map(|cell| printable(&cell)));
    }
    finish(table, view, view.width.is_some())
}

/// One thing's properties, one a line.
pub(crate) fn details(view: &View, properties: &[(&str, String)]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (name, value) in properties.iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([(*name).to_owned(), printable(value)]);
    }
    finish(table, view, false)
}

fn finish(mut table: Table, view: &View, framed: bool) -> String {
    match view.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding(if framed { (1, 1) } else { (0, 2) });
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// `yes` or `no`.
pub(crate) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// `on` or `off`.
pub(crate) fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

/// A number of things, each of them named like one: `1 node`, `3 nodes`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// `online` or `offline`.
pub(crate) fn online(online: bool) -> String {
    if online { "online" } else { "offline" }.to_owned()
}

/// Both addresses, or those there are.
pub(crate) fn addresses(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> String {
    joined(v4.map(|ip| ip.to_string()).into_iter().chain(v6.map(|ip| ip.to_string())))
}

/// What there is, with commas.
pub(crate) fn joined(texts: impl IntoIterator<Item = impl ToString>) -> String {
    texts.into_iter().map(|text| text.to_string()).collect::<Vec<_>>().join(", ")
}

/// What there is, or a dash.
pub(crate) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const PIPE: View = View { now: NOW, width: None };
    const SCREEN: View = View { now: NOW, width: Some(60) };

    fn rows(view: &View, items: &[(&str, &str)]) -> String {
        let row = |item: &(&str, &str)| [item.0.to_owned(), item.1.to_owned()];
        table(view, ["name", "state"], items, row, "There is nothing.")
    }

    #[test]
    fn a_pipe_gets_plain_columns() {
        let text = rows(&PIPE, &[("web-01", "online"), ("x", "offline")]);
        assert_eq!(text, "NAME    STATE\nweb-01  online\nx       offline");
        assert_eq!(rows(&PIPE, &[]), "NAME  STATE");
    }

    #[test]
    fn a_screen_gets_a_frame_and_a_sentence_when_there_is_nothing() {
        let expected = "\
┌────────┬────────┐
│ NAME   ┆ STATE  │
╞════════╪════════╡
│ web-01 ┆ online │
└────────┴────────┘";
        assert_eq!(rows(&SCREEN, &[("web-01", "online")]), expected);
        assert_eq!(rows(&SCREEN, &[]), "There is nothing.");
    }

    #[test]
    fn details_leave_out_what_is_empty() {
        let text = details(
            &PIPE,
            &[("Name", "web".to_owned()), ("MTU", String::new()), ("WireGuard", "x".to_owned())],
        );
        assert_eq!(text, "Name       web\nWireGuard  x");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let text = rows(&PIPE, &[("a\u{1b}[31m\nb", "\u{202e}x")]);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    }

    #[test]
    fn moments_are_exact_in_a_pipe() {
        assert_eq!(PIPE.moment(NOW), "2027-01-15T08:00:00.000Z");
        assert_eq!(SCREEN.moment_or(None, "never"), "never");
    }
}
