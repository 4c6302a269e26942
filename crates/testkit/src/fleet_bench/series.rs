//! Endpoint changes at a rate, and how long each took to be in the maps of all others.
//!
//! Agents report another local endpoint over their standing connection, as after a change of the NAT mapping: no connection is
//! made anew. Time runs from the order to report. It keeps true that changes come at their times whether or not those before
//! are through, so that a server that falls behind is seen to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};

use super::stage::{LIMIT, Stage};
use super::window::{Used, Window};
use crate::bench::figure::{Figure, float, millis};
use crate::bench::progress::bar;
use crate::swarm::{Change, Histogram, Mark, endpoint_of};

/// The latencies over all pairs that those of a bad day are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// Changes that are under way.
#[derive(Default)]
pub(super) struct Moves {
    pub(super) pairs: Arc<Histogram>,
    changes: Vec<Arc<Change>>,
}

/// What came of it.
pub(super) struct Series {
    /// Of each pair of a change and an agent that is to have it.
    pub(super) pairs: Arc<Histogram>,
    /// Of each change, when the last agent had it.
    pub(super) last: Vec<Duration>,
    pub(super) changes: usize,
    /// Pairs that did not come in time.
    pub(super) missing: u64,
    pub(super) used: Used,
}

impl Stage {
    /// Lets these agents change their endpoints one after the other, at the rate and for the time that the options say.
    pub(super) async fn series(&mut self, members: &[usize]) -> Result<Series> {
        let window = Window::open(self)?;
        let mut series = self.roam(members, &[]).await?;
        self.settle_those(members.len()).await;
        series.used = window.close(self)?;
        Ok(series)
    }

    /// The same without a look at what it costs; `hung` do not hear of it.
    pub(super) async fn roam(&mut self, members: &[usize], hung: &[usize]) -> Result<Series> {
        let moves = self.moves(members, hung, self.options.series()).await?;
        Ok(self.finish(moves).await)
    }

    /// So many changes at the rate, spread over these agents, nobody twice. They are not waited for.
    pub(super) async fn moves(&mut self, members: &[usize], hung: &[usize], most: usize) -> Result<Moves> {
        let mut moves = Moves::default();
        let count = most.min(members.len());
        let progress = bar("endpoints that change", count);
        let mut ticks = interval(Duration::from_secs_f64(1.0 / self.options.rate()));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let stride = (members.len() / count.max(1)).max(1);
        for member in members.iter().step_by(stride).take(count) {
            ticks.tick().await;
            let port = self.fresh_port();
            let machine = Arc::clone(&self.swarm.members[*member].machine);
            let deaf = hung.iter().filter(|one| self.swarm.share(**one, *member));
            let others = self.swarm.members_with(machine.group) - 1 - deaf.count();
            let endpoint = endpoint_of(&machine, port)?;
            let mark = Mark::Local(machine.host.into(), endpoint);
            let change = self.swarm.tracker().begin(mark, u32::try_from(others)?, &moves.pairs);
            self.swarm.move_to(*member, endpoint).await;
            moves.changes.push(change);
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(moves)
    }

    /// Waits until all that are to have the changes have them.
    pub(super) async fn finish(&self, moves: Moves) -> Series {
        let Moves { pairs, changes } = moves;
        let count = changes.len();
        let mut series =
            Series { pairs, last: Vec::new(), changes: count, missing: 0, used: Used::default() };
        for change in &changes {
            series.end(self, change).await;
        }
        series
    }

    /// Waits until so many agents are current and nobody has anything to report.
    pub(super) async fn settle_those(&self, members: usize) {
        let gauges = self.swarm.gauges();
        let settled = || gauges.current.count() >= members && gauges.reporting.count() == 0;
        // Who is not there in the end is found by the check of all maps.
        let _in_time = crate::swarm::wait_until(settled, LIMIT).await;
    }
}

impl Series {
    async fn end(&mut self, stage: &Stage, change: &Change) {
        if change.wait(LIMIT).await {
            self.last.push(change.slowest());
        } else {
            self.missing += u64::from(change.expected().saturating_sub(change.applied()));
        }
        stage.swarm.tracker().end(change);
    }

    /// The middle and the 99th percentile over all pairs.
    pub(super) fn quiet(&self) -> Option<Quiet> {
        Some(Quiet { p50: self.pairs.percentile(50)?, p99: self.pairs.percentile(99)? })
    }

    /// Latencies, over all pairs and of the last of each change.
    pub(super) fn latencies(&self, bench: &'static str, what: &str) -> Vec<Figure> {
        let mut figures = spread(bench, &format!("{what}, each agent"), &self.pairs);
        figures.extend(Figure::latencies(bench, &format!("{what}, the last agent"), self.last.clone()));
        if self.missing > 0 {
            let what = format!("{what}: pairs not seen within {} s", LIMIT.as_secs());
            figures.push(Figure::new(bench, what, float(self.missing), ""));
        }
        figures
    }

    /// The latencies beside the quiet ones.
    pub(super) fn beside(&self, bench: &'static str, what: &str, quiet: Quiet) -> Vec<Figure> {
        let mut figures = self.latencies(bench, what);
        if let Some(now) = self.quiet() {
            let ratio = |now: Duration, quiet: Duration| now.as_secs_f64() / quiet.as_secs_f64();
            let text = |rank| format!("{what}, {rank} of each agent against the quiet figure");
            figures.push(Figure::new(bench, "the quiet figure right before, p50", millis(quiet.p50), "ms"));
            figures.push(Figure::new(bench, "the quiet figure right before, p99", millis(quiet.p99), "ms"));
            figures.push(Figure::new(bench, text("p50"), ratio(now.p50, quiet.p50), "×"));
            figures.push(Figure::new(bench, text("p99"), ratio(now.p99, quiet.p99), "×"));
        }
        figures
    }
}

/// The middle, the 99th percentile and the largest of many.
pub(super) fn spread(bench: &'static str, what: &str, times: &Histogram) -> Vec<Figure> {
    let count = times.count();
    let (Some(p50), Some(p99)) = (times.percentile(50), times.percentile(99)) else {
        return Vec::new();
    };
    let parts = [("p50", p50), ("p99", p99), ("largest", times.most())];
    let figure = |(name, time)| Figure::new(bench, format!("{what}, {name} of {count}"), millis(time), "ms");
    parts.into_iter().map(figure).collect()
}
