//! From a change to the last of many agents having applied it: a host that joins, and an endpoint that moves.
//!
//! Time runs from the request being sent to the last agent having patched its map; the server gathers changes for its
//! usual window (20 ms) in between. What a message has around it on the wire is computed: it is the same each time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use model::{Endpoint, HostId};
use tokio::time::Instant;
use wire::{HostMap, HostTopic, Leave, TopicKind};

use super::Stage;
use super::figure::{Figure, float};
use super::progress::bar;
use crate::fleet::{Agent, Application, Connected, Habits, Keys, Wish, connect_all, join_all};

const BENCH: &str = "converge";
const AT_ONCE: usize = 32;
/// TLS 1.3 record: head, kind, tag.
const TLS: u64 = 5 + 1 + 16;
/// A WebSocket frame of 126 bytes or more, from the server.
const WEBSOCKET: u64 = 4;

/// Measures all.
pub(super) async fn measure(agents: usize, changes: usize) -> Result<Vec<Figure>> {
    let stage = Stage::set().await?;
    let joined = join_all(&stage.token, agents, AT_ONCE).await?;
    let fleet = connect_all(joined, Habits::default(), AT_ONCE).await?;
    let progress = bar("changes", 2 * changes);
    let mut figures = joins(&stage, &fleet, changes, &progress).await?;
    figures.extend(roams(&stage, &fleet, changes, &progress).await?);
    progress.finish_and_clear();
    figures.push(server_cost(&stage, agents)?);
    Ok(figures)
}

/// Hosts that join one after the other, and leave again.
async fn joins(
    stage: &Stage,
    fleet: &[Connected],
    changes: usize,
    progress: &ProgressBar,
) -> Result<Vec<Figure>> {
    let mut times = Vec::new();
    let (mut bytes, mut cpu) = (0, 0.0);
    for number in 0..changes {
        let wish = Wish::of_token(&stage.token, &format!("guest-{number}"));
        let application = Application::prepare(&stage.server.site, &Keys::generate(), &wish).await?;
        let (pushed, used) = (pushed_bytes(fleet), stage.server.cpu_seconds()?);
        let start = Instant::now();
        let guest = application.send().await?;
        times.push(last(fleet, start, |map| map.peers.contains_key(&guest.host.into())).await?);
        bytes += pushed_bytes(fleet) - pushed;
        cpu += stage.server.cpu_seconds()? - used;
        guest.leave(&Leave::Server).await?;
        last(fleet, start, |map| !map.peers.contains_key(&guest.host.into())).await?;
        progress.inc(1);
    }
    let messages = float((fleet.len() * changes) as u64);
    let sealed = float(bytes) / messages;
    let agents = fleet.len();
    let mut figures =
        Figure::latencies(BENCH, &format!("a host joins, the last of {agents} agents knows"), times);
    let around = float(around(fleet[0].agent.host));
    figures.push(Figure::new(BENCH, "a join to each agent, sealed", sealed, "bytes"));
    figures.push(Figure::new(BENCH, "the same with MQTT, WebSocket and TLS", sealed + around, "bytes"));
    let cpu = cpu / float(changes as u64) * 1000.0;
    figures.push(Figure::new(BENCH, format!("server's processor time, a join told to {agents}"), cpu, "ms"));
    Ok(figures)
}

/// What MQTT, WebSocket and TLS add to each message.
fn around(host: HostId) -> u64 {
    let topic = HostTopic { host, kind: TopicKind::Map }.to_string().len() as u64;
    let mqtt = 1 + 2 + 2 + topic + 2;
    mqtt + WEBSOCKET + TLS
}

/// One host that reports another local endpoint again and again.
async fn roams(
    stage: &Stage,
    fleet: &[Connected],
    changes: usize,
    progress: &ProgressBar,
) -> Result<Vec<Figure>> {
    let (roamer, others) = fleet.split_first().context("there are agents")?;
    let host = roamer.agent.host;
    let mut times = Vec::new();
    for number in 0..changes {
        let port = 1024 + u16::try_from(number % 60_000).unwrap_or(0);
        let local: Endpoint = format!("192.168.1.20:{port}").parse()?;
        let report = Agent::report_of(roamer.look(crate::fleet::View::generation), &[local]);
        let start = Instant::now();
        roamer.report(&report).await?;
        let knows = |map: &HostMap| map.peers.get(&host.into()).is_some_and(|peer| peer.local == [local]);
        times.push(last(others, start, knows).await?);
        progress.inc(1);
    }
    let _running = &stage.server;
    let what = format!("an endpoint moves, the last of {} peers knows", others.len());
    Ok(Figure::latencies(BENCH, &what, times))
}

fn pushed_bytes(fleet: &[Connected]) -> u64 {
    fleet.iter().map(|one| one.look(|view| view.pushed_bytes)).sum()
}

/// When the last agent's map became so.
async fn last(fleet: &[Connected], start: Instant, so: impl Fn(&HostMap) -> bool) -> Result<Duration> {
    let mut latest = Duration::ZERO;
    for connected in fleet {
        connected.wait("the change", |view| view.map.as_ref().is_some_and(&so)).await?;
        let changed = connected.look(|view| view.changed).context("its map has changed")?;
        latest = latest.max(changed.saturating_duration_since(start));
    }
    Ok(latest)
}

fn server_cost(stage: &Stage, agents: usize) -> Result<Figure> {
    let resident = float(stage.server.resident_bytes()?) / 1024.0 / 1024.0;
    Ok(Figure::new(BENCH, format!("server's memory in all, {agents} agents connected"), resident, "MiB"))
}
