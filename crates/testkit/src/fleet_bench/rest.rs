//! A day at rest, compressed: nothing happens for a while, and what agents do all the same is counted.
//!
//! Keepalives go by the clock alone, so their number in a day follows from that in a minute; nothing else is extrapolated: what
//! is 0 here is told as 0 for the time that was watched.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::stage::Stage;
use super::window::Window;
use crate::bench::figure::{Figure, float};
use crate::bench::progress::bar;

const BENCH: &str = "rest";
const DAY: f64 = 86_400.0;

pub(super) async fn rest(stage: &mut Stage) -> Result<Vec<Figure>> {
    stage.settle("whatever was before").await?;
    let time = Duration::from_secs_f64(stage.options.rest_seconds);
    let steps = 100;
    let progress = bar("rest", steps);
    let (window, start) = (Window::open(stage)?, Instant::now());
    while start.elapsed() < time {
        tokio::time::sleep(time / u32::try_from(steps)?).await;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let used = window.close(stage)?;
    let agents = float(stage.swarm.members.len() as u64);
    let seconds = used.time.as_secs_f64();
    let counts = used.counts;
    let each = |count: u64| float(count) / agents;
    let in_time = |what: &str| format!("{what} for each agent in {seconds:.0} s");
    let bytes = each(counts.broker_wire) / each(counts.pings).max(f64::MIN_POSITIVE);
    Ok(vec![
        Figure::new(BENCH, in_time("requests"), each(counts.requests), ""),
        Figure::new(BENCH, in_time("reports"), each(counts.reports), ""),
        Figure::new(BENCH, in_time("messages"), each(counts.pushed), ""),
        Figure::new(BENCH, in_time("connections"), each(counts.connected), ""),
        Figure::new(BENCH, in_time("keepalives"), each(counts.pings), ""),
        Figure::new(
            BENCH,
            "keepalives for each agent in a day, by the clock",
            each(counts.pings) * DAY / seconds,
            "",
        ),
        Figure::new(BENCH, "a keepalive's answer on the wire, with TLS", bytes, "bytes"),
        Figure::new(BENCH, "server's processor, all agents at rest", used.server / seconds * 100.0, "%"),
        Figure::new(
            BENCH,
            "server's memory in all",
            float(stage.server.process()?.resident_bytes()?) / 1024.0 / 1024.0,
            "MiB",
        ),
    ])
}
