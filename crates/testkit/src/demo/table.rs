//! The table of who reaches whom.
//!
//! Not for measuring. Few machines get a row for each pair; many get a square with a mark for each.

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use reconcile::PathStatus;

use super::measure::Way;

/// With more ways than this, a row for each would not fit a screen.
const MOST_ROWS: usize = 30;

/// The table, and below it a line that counts.
pub(super) fn draw(ways: &[Way]) -> String {
    let table = if ways.len() > MOST_ROWS { square(ways) } else { rows(ways) };
    let working = ways.iter().filter(|way| way.works()).count();
    format!("{table}\n{working} of {} ways work, by IPv4 and IPv6\n", ways.len())
}

/// A sentence for each way that does not work.
pub(super) fn complaints(ways: &[Way]) -> Vec<String> {
    ways.iter().filter(|way| !way.works()).map(complaint).collect()
}

fn complaint(way: &Way) -> String {
    let answered = |time: Option<f64>| if time.is_some() { "answers" } else { "does not answer" };
    let path = way.path.map_or_else(|| "the agent knows no such peer".to_owned(), |path| path.to_string());
    let (v4, v6) = (answered(way.v4), answered(way.v6));
    format!("{} → {}: IPv4 {v4}, IPv6 {v6}; path: {path}", way.from, way.to)
}

fn rows(ways: &[Way]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["from", "to", "path", "via", "IPv4", "IPv6"]);
    for way in ways {
        let (path, via) = words(way.path);
        table.add_row([way.from.clone(), way.to.clone(), path, via, time(way.v4), time(way.v6)]);
    }
    table.to_string()
}

fn words(path: Option<PathStatus>) -> (String, String) {
    match path {
        Some(PathStatus::Direct { endpoint, kind }) => (kind.to_string(), endpoint.to_string()),
        Some(PathStatus::Checking { endpoint }) => ("checking".to_owned(), endpoint.to_string()),
        Some(PathStatus::Trying { endpoint, addresses: _ }) => {
            ("trying".to_owned(), endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default())
        }
        Some(PathStatus::Unreachable(_)) => ("unreachable".to_owned(), String::new()),
        None => ("unknown".to_owned(), String::new()),
    }
}

fn time(milliseconds: Option<f64>) -> String {
    milliseconds.map_or_else(|| "–".to_owned(), |milliseconds| format!("{milliseconds:.2} ms"))
}

fn square(ways: &[Way]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for way in ways {
        if !names.contains(&way.from.as_str()) {
            names.push(&way.from);
        }
    }
    let mut table = Table::new();
    let head = std::iter::once("from \\ to").chain(names.iter().copied());
    table.load_style(UTF8_BORDERS_ONLY).set_header(head);
    for from in &names {
        let mark = |to: &&str| {
            let way = ways.iter().find(|way| way.from == *from && way.to == **to);
            way.map_or_else(String::new, mark)
        };
        table.add_row(std::iter::once((*from).to_owned()).chain(names.iter().map(mark)));
    }
    table.to_string()
}

fn mark(way: &Way) -> String {
    let (path, _) = words(way.path);
    let short = path.split([',', ' ']).next().unwrap_or_default();
    if way.works() { short.to_owned() } else { format!("!{short}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(path: Option<PathStatus>, v6: Option<f64>) -> Way {
        Way { from: "a".to_owned(), to: "b".to_owned(), path, v4: Some(0.5), v6 }
    }

    fn direct() -> Option<PathStatus> {
        let endpoint = "203.0.113.7:51820".parse().unwrap();
        Some(PathStatus::Direct { endpoint, kind: reconcile::PathKind::Lan })
    }

    #[test]
    fn a_way_works_only_by_both_families_and_a_known_path() {
        assert!(way(direct(), Some(1.0)).works());
        assert!(!way(direct(), None).works());
        assert!(!way(None, Some(1.0)).works());
    }

    #[test]
    fn the_table_counts_and_what_fails_is_told() {
        let ways = [way(direct(), Some(1.0)), way(direct(), None)];
        let drawn = draw(&ways);
        assert!(
            drawn.contains("LAN") && drawn.contains("203.0.113.7:51820") && drawn.contains("0.50 ms"),
            "{drawn}"
        );
        assert!(drawn.contains("1 of 2 ways work"), "{drawn}");
        assert_eq!(complaints(&ways).len(), 1);
        assert!(complaints(&ways)[0].starts_with("a → b: IPv4 answers, IPv6 does not answer; path: LAN"));
    }
}
