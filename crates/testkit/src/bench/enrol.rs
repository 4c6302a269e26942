//! Many hosts that enrol at once, each over a TLS connection of its own, and what each costs the server.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Stage;
use super::figure::{Figure, float};
use super::progress::bar;
use crate::fleet::{Agent, Habits, connect_all, each};

const BENCH: &str = "enrol";
/// Registrations on their way at the same time.
const AT_ONCE: usize = 200;
/// Agents that connect and fetch their maps at the same time; server and agents share this machine.
const CONNECTING: usize = 64;

/// Measures all.
pub(super) async fn measure(hosts: usize) -> Result<Vec<Figure>> {
    let stage = Stage::set().await?;
    let progress = bar("hosts that enrol", hosts);
    let used = stage.server.cpu_seconds()?;
    let start = Instant::now();
    let joined = each(0..hosts, AT_ONCE, |number| {
        let (token, progress) = (stage.token.clone(), progress.clone());
        async move {
            let begun = Instant::now();
            let agent = Agent::join(&token, &format!("host-{number}")).await?;
            progress.inc(1);
            Ok((agent, begun.elapsed()))
        }
    })
    .await?;
    let took = start.elapsed();
    progress.finish_and_clear();
    let cpu = stage.server.cpu_seconds()? - used;
    let (agents, times): (Vec<Agent>, Vec<Duration>) = joined.into_iter().unzip();
    let count = float(hosts as u64);
    let mut figures = vec![
        Figure::new(BENCH, format!("{hosts} hosts enrolled, {AT_ONCE} at a time"), took.as_secs_f64(), "s"),
        Figure::new(BENCH, "hosts enrolled in a second", count / took.as_secs_f64(), "1/s"),
        Figure::new(BENCH, "server's processor time for each", cpu / count * 1000.0, "ms"),
    ];
    figures.extend(Figure::latencies(BENCH, "hello and registration of one host", times));
    figures.extend(connections(&stage, agents).await?);
    Ok(figures)
}

/// All of them connect to the broker and fetch their maps.
async fn connections(stage: &Stage, agents: Vec<Agent>) -> Result<Vec<Figure>> {
    let hosts = agents.len();
    let count = float(hosts as u64);
    let (before, used, start) = (stage.server.resident_bytes()?, stage.server.cpu_seconds()?, Instant::now());
    let fleet = connect_all(agents, Habits::default(), CONNECTING).await?;
    let took = start.elapsed();
    let cpu = stage.server.cpu_seconds()? - used;
    // Connections for requests are kept a while; they are not what an agent at rest costs.
    let settle = Duration::from_secs(if cfg!(debug_assertions) { 1 } else { 35 });
    tokio::time::sleep(settle).await;
    let grown = float(stage.server.resident_bytes()?.saturating_sub(before));
    drop(fleet);
    Ok(vec![
        Figure::new(BENCH, format!("{hosts} agents connected, with their maps"), took.as_secs_f64(), "s"),
        Figure::new(BENCH, "server's processor time for each", cpu / count * 1000.0, "ms"),
        Figure::new(BENCH, "server's memory for each connected agent", grown / count / 1024.0, "KiB"),
    ])
}
