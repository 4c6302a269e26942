//! How cost grows with the number of agents: the same scenarios at each size, and a plot of what came out.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::plot::{Line, Panel, svg};
use super::single::Singles;
use crate::bench::figure::{float, millis};

/// What joins at one size came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Point {
    agents: usize,
    /// Milliseconds of the server's processor for each join.
    change_ms: f64,
    /// Of these, until the last agent has it: without the reports.
    told_ms: f64,
    /// Microseconds of it for each message.
    message_us: f64,
    /// Milliseconds until an agent has it.
    p50_ms: f64,
    p99_ms: f64,
}

impl Point {
    pub(super) fn of(agents: usize, joins: &Singles) -> Self {
        let time = |rank| joins.pairs.percentile(rank).map_or(f64::NAN, millis);
        Self {
            agents,
            change_ms: joins.used.server / float(joins.changes as u64) * 1e3,
            told_ms: joins.told_ms(),
            message_us: joins.used.server_per_message(),
            p50_ms: time(50),
            p99_ms: time(99),
        }
    }
}

/// Writes the plot.
pub(super) fn plot(file: &Path, points: &[Point]) -> Result<()> {
    let of = |name, value: fn(&Point) -> f64| Line {
        name,
        points: points.iter().map(|point| (float(point.agents as u64), value(point))).collect(),
    };
    let panel = |title, up, lines| Panel { title, across: "agents", up, lines };
    let panels = [
        panel(
            "Server's processor time for a join",
            "ms",
            vec![
                of("with all reports", |point| point.change_ms),
                of("until all have it", |point| point.told_ms),
            ],
        ),
        panel(
            "Server's processor time for a join",
            "µs",
            vec![of("for each message, with its report", |point| point.message_us)],
        ),
        panel(
            "From the request to an agent having it",
            "ms",
            vec![of("p50", |point| point.p50_ms), of("p99", |point| point.p99_ms)],
        ),
    ];
    std::fs::write(file, svg(&panels)).with_context(|| format!("cannot write {}", file.display()))
}
