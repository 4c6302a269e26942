//! What was used between two moments: the server's processor, this process's own, and what agents counted.
//!
//! Keeps true that several windows can be added, so that what happens between them does not count.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::stage::Stage;
use crate::bench::figure::{Figure, float};
use crate::swarm::Counts;

/// A window that is open.
pub(super) struct Window {
    start: Instant,
    counts: Counts,
    server: f64,
    own: f64,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) time: Duration,
    pub(super) counts: Counts,
    /// Seconds of the server's processor.
    pub(super) server: f64,
    /// Seconds of this process's.
    pub(super) own: f64,
}

impl Window {
    pub(super) fn open(stage: &Stage) -> Result<Self> {
        let server = stage.server.process()?.cpu_seconds()?;
        Ok(Self { start: Instant::now(), counts: stage.swarm.counts(), server, own: own_seconds()? })
    }

    pub(super) fn close(self, stage: &Stage) -> Result<Used> {
        Ok(Used {
            time: self.start.elapsed(),
            counts: stage.swarm.counts().since(&self.counts),
            server: stage.server.process()?.cpu_seconds()? - self.server,
            own: own_seconds()? - self.own,
        })
    }
}

/// The processor time of this process, in seconds.
fn own_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    crate::fleet::cpu_seconds_of(&stat)
}

impl AddAssign for Used {
    fn add_assign(&mut self, more: Self) {
        self.time += more.time;
        self.counts += more.counts;
        self.server += more.server;
        self.own += more.own;
    }
}

impl Used {
    /// The server's processor time for each message that was pushed, in microseconds.
    pub(super) fn server_per_message(&self) -> f64 {
        self.server / float(self.counts.pushed) * 1e6
    }

    /// What so many changes cost, each told to all.
    pub(super) fn figures(&self, bench: &'static str, what: &str, changes: usize) -> Vec<Figure> {
        let each = |value: f64| value / float(changes as u64);
        let message = |value: f64| value / float(self.counts.pushed);
        let pushed = float(self.counts.pushed);
        let figure = |text: &str, value, unit| Figure::new(bench, format!("{what}: {text}"), value, unit);
        let mut figures = vec![
            figure("messages for each change", each(pushed), ""),
            figure("reports for each change", each(float(self.counts.reports)), ""),
            figure("server's processor time for each change", each(self.server) * 1e3, "ms"),
            figure("server's processor time for each message", self.server_per_message(), "µs"),
            figure("this program's own for each message", message(self.own) * 1e6, "µs"),
            figure("a message, sealed", message(float(self.counts.pushed_sealed)), "bytes"),
        ];
        figures.extend(self.troubles(bench, what));
        figures
    }

    /// What should not have happened, where it did.
    pub(super) fn troubles(&self, bench: &'static str, what: &str) -> Vec<Figure> {
        let Counts { put_off, failed, refused, lost, misfits, unreadable, .. } = self.counts;
        let troubles = [
            ("requests that were put off (Retry-After)", put_off),
            ("requests that failed otherwise", failed),
            ("attempts to connect that failed", refused),
            ("connections that broke", lost),
            ("deltas that did not fit", misfits),
            ("messages that could not be read", unreadable),
        ];
        let happened = troubles.into_iter().filter(|(_, count)| *count > 0);
        happened
            .map(|(text, count)| Figure::new(bench, format!("{what}: {text}, in all"), float(count), ""))
            .collect()
    }
}
