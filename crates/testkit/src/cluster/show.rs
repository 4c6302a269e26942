//! What people see of it: what happens, and the table in the end.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Options;
use super::ledger::Tally;
use super::storm::{Calm, Times};
use crate::bench::figure::{Figure, float, table};
use crate::bench::machine::Computer;
use crate::lab::PingReport;
use crate::swarm::{Counts, Histogram};

const BENCH: &str = "cluster";

/// Says what happens now.
pub(super) fn say(text: &str) {
    let _closed = writeln!(std::io::stderr(), "cluster: {text}");
}

/// Says why it failed.
pub(super) fn fail(error: &anyhow::Error) -> ExitCode {
    let _closed = writeln!(std::io::stderr(), "netloom-cluster: {error:#}");
    ExitCode::FAILURE
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) figures: Vec<Figure>,
    /// Everything that was not as it must be.
    pub(super) complaints: Vec<String>,
}

impl Report {
    /// The figures, and an error if anything was not as it must be.
    pub(super) fn show(self, json: bool) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string_pretty(&self.figures)?)?;
        } else {
            writeln!(out, "{}\n{}", Computer::this(), table(&self.figures))?;
        }
        self.judged()
    }

    /// An error if anything was not as it must be.
    pub(super) fn judged(self) -> Result<()> {
        match self.complaints.as_slice() {
            [] => Ok(()),
            complaints => bail!("{} things are wrong:\n{}", complaints.len(), complaints.join("\n")),
        }
    }
}

/// What was measured.
pub(super) struct Measured<'a> {
    pub(super) options: &'a Options,
    pub(super) took: Duration,
    pub(super) tally: [Tally; 2],
    pub(super) commits: &'a Histogram,
    pub(super) conflicts: f64,
    pub(super) times: &'a Times,
    pub(super) calm: &'a Calm,
    pub(super) counts: Counts,
    pub(super) pings: &'a [PingReport],
    pub(super) seq: u64,
    /// Keys for one machine that were shown by two, and those that let nobody in.
    pub(super) joins: (usize, usize),
}

impl Measured<'_> {
    /// As figures.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut figures = self.changes();
        for (part, times) in self.times {
            let what = format!("until all was right after the {part} came back");
            figures.extend(Figure::latencies(BENCH, &what, times.clone()));
        }
        let counts = [
            ("agents' connections that broke", self.counts.lost),
            ("answers to agents that were older than what they held, and refused", self.counts.backward),
            ("pings through the lab's tunnels", self.pings.iter().map(|report| report.sent).sum()),
            ("of them lost", self.pings.iter().map(|report| report.lost.len() as u64).sum()),
            ("keys for one machine that two showed at once", self.joins.0 as u64),
            ("of them let nobody in", self.joins.1 as u64),
            ("commits in the journal", self.seq),
        ];
        figures.extend(counts.map(|(what, count)| Figure::new(BENCH, what, float(count), "")));
        figures
    }

    fn changes(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (number, tally) in (1..).zip(self.tally).take(usize::from(self.options.servers)) {
            let parts =
                [("acknowledged", tally.done), ("refused", tally.refused), ("unknown", tally.unknown)];
            let figure = |(what, count)| {
                Figure::new(BENCH, format!("changes at server {number}, {what}"), float(count), "")
            };
            figures.extend(parts.map(figure));
        }
        let all: u64 = self.tally.iter().map(|tally| tally.done).sum();
        let rates = [
            ("changes acknowledged", float(all) / self.took.as_secs_f64()),
            ("changes acknowledged while all was right", self.calm.rate()),
        ];
        figures.extend(rates.map(|(what, rate)| Figure::new(BENCH, what, rate, "1/s")));
        figures.push(Figure::new(BENCH, "commits decided again", self.conflicts, ""));
        for rank in [50, 99] {
            let time = self.commits.percentile(rank).unwrap_or_default();
            let what = format!("a change until it is acknowledged, p{rank} of {}", self.commits.count());
            figures.push(Figure::new(BENCH, what, time.as_secs_f64() * 1000.0, "ms"));
        }
        figures
    }
}
