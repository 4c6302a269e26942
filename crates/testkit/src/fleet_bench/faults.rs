//! Bad days: what one thing that goes wrong does to everybody else, beside the quiet figure of the same run.
//!
//! Each begins from quiet and ends with every map checked. Nothing here fails because something was slow; a map that is wrong
//! does.

use std::time::Duration;

use anyhow::Result;

use super::comeback::{cut_all, peak};
use super::series::{Quiet, Series, spread};
use super::stage::{LIMIT, Stage};
use crate::bench::figure::{Figure, float};
use crate::swarm::{Order, Rogue, Vice, wait_until};

/// Of a hundred agents, so many hang.
const HANGING: usize = 5;
/// Machines that send garbage at the same time.
const ROGUES: usize = 3;

fn all(stage: &Stage) -> Vec<usize> {
    (0..stage.swarm.members.len()).collect()
}

/// The figure that a bad day is held against, measured right before it: what else runs on this machine then counts for both.
async fn quiet(stage: &mut Stage) -> Result<Quiet> {
    let members = all(stage);
    let quiet = stage.series(&members).await?.quiet();
    Ok(quiet.unwrap_or(Quiet { p50: Duration::ZERO, p99: Duration::ZERO }))
}

/// Endpoint changes at a rate: the quiet figure itself.
pub(super) async fn endpoints(stage: &mut Stage) -> Result<Vec<Figure>> {
    let members = all(stage);
    let series = stage.series(&members).await?;
    let what = format!("an endpoint changes, {} in a second", stage.options.rate());
    let mut figures = series.latencies("endpoints", &what);
    figures.extend(series.used.figures("endpoints", &what, series.changes));
    Ok(figures)
}

/// What breaks in the middle of a burst of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    /// The server is killed and started again.
    Server,
    /// Every connection to the broker.
    Broker,
}

/// Something breaks while endpoints change; then the same changes once more, when all are back.
pub(super) async fn mid_burst(stage: &mut Stage, breaks: Breaks) -> Result<Vec<Figure>> {
    let bench = match breaks {
        Breaks::Server => "killed in mid-burst",
        Breaks::Broker => "cut in mid-burst",
    };
    let quiet = quiet(stage).await?;
    stage.server.process()?.forget_peak();
    let members = all(stage);
    let (middle, half) = (members.len() / 2, stage.options.series().div_ceil(2));
    let before = stage.moves(&members[..middle], &[], half).await?;
    let back = stage.swarm.await_back();
    match breaks {
        Breaks::Server => {
            stage.server.kill();
            stage.server.start_again()?;
        }
        Breaks::Broker => cut_all(stage).await,
    }
    let after = stage.moves(&members[middle..], &[], half).await?;
    let (before, after) = (stage.finish(before).await, stage.finish(after).await);
    stage.verify(bench).await?;
    let mut figures = spread(bench, "an agent is back with a current map, from the break", &back);
    figures.extend(before.latencies(bench, "changes before the break"));
    figures.extend(after.latencies(bench, "changes after the break"));
    let after = stage.series(&members).await?;
    figures.extend(after.beside(bench, "changes when all are back", quiet));
    figures.extend(peak(stage, bench)?);
    Ok(figures)
}

/// Some agents neither read nor write, their connections left open.
pub(super) async fn hang(stage: &mut Stage) -> Result<Vec<Figure>> {
    const BENCH: &str = "hanging agents";
    let quiet = quiet(stage).await?;
    stage.server.process()?.forget_peak();
    let every = 100 / HANGING;
    let (hung, others): (Vec<usize>, Vec<usize>) =
        all(stage).into_iter().partition(|member| member % every == every - 1);
    for member in &hung {
        stage.swarm.order(*member, Order::Hang).await;
    }
    let gauges = stage.swarm.gauges();
    wait_until(|| gauges.current.count() <= others.len(), LIMIT).await;
    let series = stage.roam(&others, &hung).await?;
    stage.settle_those(others.len()).await;
    let mut figures = vec![Figure::new(BENCH, "agents that hang", float(hung.len() as u64), "")];
    figures.extend(series.beside(BENCH, "changes among the others", quiet));
    figures.extend(peak(stage, BENCH)?);
    for member in &hung {
        stage.swarm.order(*member, Order::Wake).await;
    }
    Ok(figures)
}

/// Machines with valid credentials that misbehave, while endpoints change.
pub(super) async fn rogues(stage: &mut Stage, vice: Vice) -> Result<Vec<Figure>> {
    let (bench, count) = match vice {
        Vice::Garbage => ("garbage", ROGUES),
        Vice::Reconnects => ("tight loop", 1),
    };
    let quiet = quiet(stage).await?;
    super::enrol::invite(stage, count).await?;
    let members = stage.swarm.members.split_off(stage.swarm.members.len() - count);
    stage.guests -= count;
    let machines: Vec<_> = members.iter().map(|member| member.machine.clone()).collect();
    drop(members);
    stage.settle("the rogues' good days").await?;
    stage.server.process()?.forget_peak();
    let rogues: Vec<Rogue> =
        machines.iter().map(|machine| stage.swarm.corrupt(machine.clone(), vice)).collect();
    let members = all(stage);
    let start = std::time::Instant::now();
    let series: Series = stage.series(&members).await?;
    let tries: u64 = rogues.iter().map(Rogue::tries).sum();
    let rate = float(tries) / start.elapsed().as_secs_f64();
    drop(rogues);
    let mut figures = vec![Figure::new(bench, "connections that misbehave", rate, "1/s")];
    figures.extend(series.beside(bench, "changes among the others", quiet));
    figures.extend(peak(stage, bench)?);
    for machine in machines {
        stage.swarm.dismiss(&machine).await?;
    }
    Ok(figures)
}
