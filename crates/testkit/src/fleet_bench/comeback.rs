//! Everybody loses the server at once and comes back: the server ends and starts again, or only the broker's connections break.
//!
//! The embedded broker lives in the server, so it cannot be restarted alone. What agents see of a broker that is restarted is
//! made from their side: all connections to it are reset at the same instant, while HTTP goes on. A broker of its own that is
//! restarted would refuse connections for a moment more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::series::spread;
use super::stage::{LIMIT, Stage};
use super::window::{Used, Window};
use crate::bench::figure::{Figure, float};
use crate::bench::progress::bar;
use crate::swarm::{Histogram, Order};

/// How the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is asked to (SIGTERM).
    Asked,
    /// It is killed (SIGKILL).
    Killed,
}

/// The server ends and is started again at once.
pub(super) async fn restart(stage: &mut Stage, ending: Ending) -> Result<Vec<Figure>> {
    let bench = match ending {
        Ending::Asked => "restart",
        Ending::Killed => "kill",
    };
    let progress = bar("agents that come back", stage.swarm.members.len());
    let start = Instant::now();
    match ending {
        Ending::Asked => drop(stage.server.stop()?),
        Ending::Killed => stage.server.kill(),
    }
    let ended = start.elapsed();
    stage.noticed().await;
    let up = stage.server.start_again()?;
    let (back, window) = (stage.swarm.await_back(), Window::open(stage)?);
    let used = watch(stage, window, &progress).await?;
    let mut figures = vec![
        Figure::new(bench, "the server has ended", ended.as_secs_f64(), "s"),
        Figure::new(bench, "the server is up again", up.as_secs_f64(), "s"),
    ];
    figures.extend(comeback(stage, bench, "from the server being up", &back, &used)?);
    Ok(figures)
}

/// All connections to the broker break at the same instant.
pub(super) async fn broker(stage: &mut Stage) -> Result<Vec<Figure>> {
    let progress = bar("agents that come back", stage.swarm.members.len());
    stage.server.process()?.forget_peak();
    let (back, window) = (stage.swarm.await_back(), Window::open(stage)?);
    cut_all(stage).await;
    stage.noticed().await;
    let used = watch(stage, window, &progress).await?;
    comeback(stage, "broker", "from the cut", &back, &used)
}

/// Resets every connection to the broker.
pub(super) async fn cut_all(stage: &Stage) {
    for member in 0..stage.swarm.members.len() {
        stage.swarm.order(member, Order::Cut).await;
    }
}

/// Shows how many are back, until all are.
async fn watch(stage: &Stage, window: Window, progress: &indicatif::ProgressBar) -> Result<Used> {
    let all = stage.swarm.members.len();
    let start = Instant::now();
    while stage.swarm.gauges().current.count() < all && start.elapsed() < LIMIT {
        progress.set_position(stage.swarm.gauges().current.count() as u64);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    progress.finish_and_clear();
    stage.settle_those(all).await;
    window.close(stage)
}

fn comeback(
    stage: &Stage,
    bench: &'static str,
    from: &str,
    back: &Arc<Histogram>,
    used: &Used,
) -> Result<Vec<Figure>> {
    let all = stage.swarm.members.len();
    let counts = used.counts;
    let each = |count: u64| float(count) / float(all as u64);
    let figure = |what: &str, value, unit| Figure::new(bench, what, value, unit);
    let mut figures = spread(bench, &format!("an agent is back with a current map, {from}"), back);
    figures.extend([
        figure(
            "agents that are not back",
            float((all - stage.swarm.gauges().current.count().min(all)) as u64),
            "",
        ),
        figure("attempts to connect that failed, for each agent", each(counts.refused), ""),
        figure("requests for maps, for each agent", each(counts.requests), ""),
        figure("requests that were put off (Retry-After), in all", float(counts.put_off), ""),
        figure("requests that failed otherwise, in all", float(counts.failed), ""),
        figure("answers: current", float(counts.answers_current), ""),
        figure("answers: a delta", float(counts.answers_delta), ""),
        figure("answers: buckets", float(counts.answers_parts), ""),
        figure("buckets for each agent", each(counts.parts), ""),
        figure("bytes of answers for each agent, with TLS", each(counts.http_wire), "bytes"),
        figure("server's processor time for each agent", used.server / float(all as u64) * 1e3, "ms"),
        figure("this program's own for each agent", used.own / float(all as u64) * 1e3, "ms"),
    ]);
    let broken = float(counts.misfits + counts.unreadable);
    figures.push(figure("messages that did not fit or could not be read, in all", broken, ""));
    figures.extend(peak(stage, bench)?);
    Ok(figures)
}

/// The server's memory now and at its most.
pub(super) fn peak(stage: &Stage, bench: &'static str) -> Result<Vec<Figure>> {
    let process = stage.server.process()?;
    let mib = |bytes| float(bytes) / 1024.0 / 1024.0;
    Ok(vec![
        Figure::new(bench, "server's memory at its most", mib(process.peak_bytes()?), "MiB"),
        Figure::new(bench, "server's memory in the end", mib(process.resident_bytes()?), "MiB"),
    ])
}
