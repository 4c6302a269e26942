//! One measured figure, and the table that people read.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

/// A figure with its unit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    bench: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
}

impl Figure {
    /// A figure.
    pub(crate) fn new(bench: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { bench, what: what.into(), value, unit }
    }

    /// The middle of many latencies, and the 99th percentile; of few, the worst.
    pub(crate) fn latencies(bench: &'static str, what: &str, times: Vec<Duration>) -> Vec<Self> {
        let mut millis: Vec<f64> = times.into_iter().map(millis).collect();
        millis.sort_by(f64::total_cmp);
        let count = millis.len();
        let high = if count < 100 { ("worst", 100) } else { ("p99", 99) };
        let parts = [("p50", 50), high].map(|(name, rank)| (name, percentile(&millis, rank)));
        let figure = |(name, value)| Self::new(bench, format!("{what}, {name} of {count}"), value, "ms");
        parts.into_iter().map(figure).collect()
    }
}

/// A time in milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The smallest value that at least this many of a hundred do not exceed.
fn percentile(sorted: &[f64], of_hundred: usize) -> f64 {
    let rank = (sorted.len() * of_hundred).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// A count as a number that can be divided.
#[expect(clippy::cast_precision_loss, reason = "counts of benchmarks are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// For people.
pub(crate) fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.set_header(["", "measured", "value", "unit"]);
    let mut last = "";
    for figure in figures {
        let name = if figure.bench == last { "" } else { figure.bench };
        last = figure.bench;
        let value = Cell::new(readable(figure.value)).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(name), Cell::new(&figure.what), value, Cell::new(figure.unit)]);
    }
    table
}

fn readable(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (100.0, 198.0));
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn of_few_latencies_the_worst_is_told() {
        let times = |count| (1..=count).map(Duration::from_millis).collect::<Vec<_>>();
        let of =
            |count| Figure::latencies("a", "x", times(count)).pop().map(|figure| (figure.what, figure.value));
        assert_eq!(of(10), Some(("x, worst of 10".to_owned(), 10.0)));
        assert_eq!(of(200), Some(("x, p99 of 200".to_owned(), 198.0)));
    }

    #[test]
    fn the_table_names_each_benchmark_once() {
        let figures = [Figure::new("a", "x", 1234.5, "ms"), Figure::new("a", "y", 0.25, "ms")];
        let text = table(&figures).to_string();
        assert_eq!(text.matches(" a ").count(), 1, "{text}");
        assert!(text.contains("1234") && text.contains("0.25"), "{text}");
    }
}
