//! One change at a time: hosts that join one after the other, a setting of the network that everybody has, hosts that leave.
//!
//! Time runs from the request being sent to the agent having patched its map; the server gathers changes for its usual moment
//! in between. The next change comes when all is quiet again, so what a change costs is its own: registration or request, one
//! message to each agent, and the report of each that it is carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use api::{PatchNetwork, path};
use model::Keepalive;

use super::series::spread;
use super::stage::{LIMIT, Stage};
use super::window::{Used, Window};
use crate::bench::figure::{Figure, float};
use crate::bench::progress::bar;
use crate::swarm::{Change, Histogram, LOCAL_PORT, Machine, Mark, endpoint_of};

/// What changes of one kind came to.
#[derive(Default)]
pub(super) struct Singles {
    /// Of each pair of a change and an agent.
    pub(super) pairs: Arc<Histogram>,
    /// Of each change, when the last agent had it.
    pub(super) last: Vec<Duration>,
    /// Of each change, when the request was answered.
    answered: Vec<Duration>,
    pub(super) changes: usize,
    /// Pairs that did not come in time.
    missing: u64,
    /// Until all was quiet again.
    pub(super) used: Used,
    /// Until the last agent had it: without the reports.
    wire: Used,
}

impl Singles {
    /// Waits for the change, and for the quiet after it.
    async fn end(&mut self, stage: &mut Stage, change: &Change, window: Window, wire: Window) -> Result<()> {
        if change.wait(LIMIT).await {
            self.last.push(change.slowest());
        } else {
            self.missing += u64::from(change.expected().saturating_sub(change.applied()));
        }
        self.wire += wire.close(stage)?;
        stage.swarm.tracker().end(change);
        stage.settle("a change").await?;
        self.used += window.close(stage)?;
        self.changes += 1;
        Ok(())
    }

    /// Milliseconds of the server's processor for each change, until the last agent had it.
    pub(super) fn told_ms(&self) -> f64 {
        self.wire.server / float(self.changes as u64) * 1e3
    }

    fn figures(&self, bench: &'static str, what: &str) -> Vec<Figure> {
        let mut figures = spread(bench, &format!("{what}, each agent has it"), &self.pairs);
        figures.extend(Figure::latencies(
            bench,
            &format!("{what}, the last agent has it"),
            self.last.clone(),
        ));
        figures.extend(Figure::latencies(bench, &format!("{what}, answered"), self.answered.clone()));
        if self.missing > 0 {
            let what = format!("{what}: pairs not seen within {} s", LIMIT.as_secs());
            figures.push(Figure::new(bench, what, float(self.missing), ""));
        }
        figures.extend(self.used.figures(bench, what, self.changes));
        let text = format!("{what}: server's processor time until the last agent has it");
        figures.push(Figure::new(bench, text, self.told_ms(), "ms"));
        let wire = float(self.wire.counts.broker_wire) / float(self.wire.counts.pushed);
        figures.push(Figure::new(
            bench,
            format!("{what}: a message on the wire, with MQTT and TLS"),
            wire,
            "bytes",
        ));
        figures
    }
}

/// Hosts that join one after the other. They stay, as guests.
pub(super) async fn join(stage: &mut Stage) -> Result<(Vec<Figure>, Singles)> {
    let (mut singles, whole) = (Singles::default(), Arc::new(Histogram::default()));
    let count = stage.options.changes;
    let progress = bar("hosts that join", count);
    for _ in 0..count {
        let (applicant, group) = stage.swarm.applicant().await?;
        let others = u32::try_from(stage.swarm.members_with(group))?;
        let (window, wire, start) = (Window::open(stage)?, Window::open(stage)?, Instant::now());
        let mark = Mark::Key(applicant.key());
        let change = stage.swarm.tracker().begin(mark, others, &singles.pairs);
        let machine = stage.swarm.register(applicant).await?;
        singles.answered.push(start.elapsed());
        singles.end(stage, &change, window, wire).await?;
        whole.add(arrive(stage, machine, others).await?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let mut figures = singles.figures("join", "a host joins");
    figures.extend(spread("join", "the new host starts and has its map", &whole));
    Ok((figures, singles))
}

/// A host that joined starts: how long until it has its map. Its first report tells everybody its local address, which is
/// another change; it is waited for.
async fn arrive(stage: &mut Stage, machine: Arc<Machine>, others: u32) -> Result<Duration> {
    let mark = Mark::Local(machine.host.into(), endpoint_of(&machine, LOCAL_PORT)?);
    let change = stage.swarm.tracker().begin(mark, others, &Arc::default());
    let start = Instant::now();
    stage.swarm.start(machine, None);
    stage.guests += 1;
    let _in_time = stage.all_back().await;
    let took = stage.swarm.gauges().current.changed().saturating_duration_since(start);
    let _in_time = change.wait(LIMIT).await;
    stage.swarm.tracker().end(&change);
    stage.settle("a first report").await?;
    Ok(took)
}

/// Guests that leave one after the other; where there are none, some join first.
pub(super) async fn leave(stage: &mut Stage) -> Result<Vec<Figure>> {
    let count = stage.options.changes;
    if stage.guests < count {
        super::enrol::invite(stage, count - stage.guests).await?;
    }
    let mut singles = Singles::default();
    let progress = bar("hosts that leave", count);
    for _ in 0..count {
        let at = stage.swarm.members.len() - 1;
        let machine = Arc::clone(&stage.swarm.members[at].machine);
        let others = u32::try_from(stage.swarm.members_with(machine.group) - 1)?;
        let (window, wire, start) = (Window::open(stage)?, Window::open(stage)?, Instant::now());
        let change = stage.swarm.tracker().begin(Mark::Gone(machine.host.into()), others, &singles.pairs);
        stage.swarm.leave(at).await?;
        singles.answered.push(start.elapsed());
        stage.swarm.members.truncate(at);
        stage.guests -= 1;
        singles.end(stage, &change, window, wire).await?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(singles.figures("leave", "a host leaves"))
}

/// Something that everybody in a network has is changed: its keepalive.
pub(super) async fn flip(stage: &mut Stage) -> Result<Vec<Figure>> {
    let mut singles = Singles::default();
    let count = stage.options.changes.div_ceil(2);
    let progress = bar("settings that change", count);
    for number in 0..count {
        let at = number % stage.networks.len();
        stage.flips = stage.flips % 200 + 1;
        let keepalive = Keepalive::new(30 + stage.flips)?;
        let network = stage.networks[at].id;
        let members = u32::try_from(stage.swarm.members_in(at))?;
        let (window, wire, start) = (Window::open(stage)?, Window::open(stage)?, Instant::now());
        let change =
            stage.swarm.tracker().begin(Mark::Keepalive(network, keepalive), members, &singles.pairs);
        let patch = PatchNetwork { keepalive: Some(keepalive), ..PatchNetwork::default() };
        let target = path::fill(path::NETWORK, &[&network.to_string()]);
        let _network: api::Network = stage.administrator.patch(&target, &patch).await?;
        singles.answered.push(start.elapsed());
        singles.end(stage, &change, window, wire).await?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(singles.figures("flip", "a setting of the network changes"))
}
