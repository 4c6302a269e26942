//! Many hosts that enrol at once: while the stage is set, and as a burst among many that are there.

use std::time::Instant;

use anyhow::Result;

use super::stage::{Filling, Stage};
use super::window::Window;
use crate::bench::figure::{Figure, float};
use crate::bench::progress::bar;

const KIB: f64 = 1024.0;

/// What setting the stage came to.
pub(super) fn setup(filling: &Filling) -> Vec<Figure> {
    let Filling { agents, times, enrolling, connecting, empty, registered, connected } = filling;
    let count = float(*agents as u64);
    let figure = |what: String, value, unit| Figure::new("setup", what, value, unit);
    let each = |bytes: &u64, before: &u64| float(bytes.saturating_sub(*before)) / count / KIB;
    let wire = float(connecting.counts.http_wire) / count / KIB;
    let mut figures = vec![
        figure(format!("{agents} hosts enrolled"), enrolling.time.as_secs_f64(), "s"),
        figure("server's processor time for each".to_owned(), enrolling.server / count * 1e3, "ms"),
    ];
    figures.extend(Figure::latencies("setup", "hello and registration of one host", times.clone()));
    figures.extend([
        figure(format!("{agents} agents connected, with their maps"), connecting.time.as_secs_f64(), "s"),
        figure("server's processor time for each".to_owned(), connecting.server / count * 1e3, "ms"),
        figure("bytes for each agent's map, on the wire".to_owned(), wire, "KiB"),
        figure("server's memory for each host that is registered".to_owned(), each(registered, empty), "KiB"),
        figure(
            "server's memory more for each that is connected".to_owned(),
            each(connected, registered),
            "KiB",
        ),
        figure("server's memory in all".to_owned(), float(*connected) / KIB / KIB, "MiB"),
    ]);
    figures.extend(enrolling.troubles("setup", "enrolling"));
    figures.extend(connecting.troubles("setup", "connecting"));
    figures
}

/// So many more hosts, as guests.
pub(super) async fn invite(stage: &mut Stage, count: usize) -> Result<()> {
    let progress = bar("guests that come", 2 * count);
    let enrolled = stage.swarm.enrol(count, 64, &progress).await?;
    let machines = enrolled.into_iter().map(|(machine, _)| machine).collect();
    stage.swarm.connect(machines, 64, &progress).await?;
    progress.finish_and_clear();
    stage.guests += count;
    stage.settle("guests that came").await
}

/// A burst of enrolments among those who are there; then they all leave at once.
pub(super) async fn burst(stage: &mut Stage) -> Result<Vec<Figure>> {
    let count = stage.options.burst;
    let window = Window::open(stage)?;
    let start = Instant::now();
    let progress = bar("hosts that enrol at once", count);
    let enrolled = stage.swarm.enrol(count, count, &progress).await?;
    progress.finish_and_clear();
    let registered = start.elapsed();
    let (machines, times) = enrolled.into_iter().unzip();
    let progress = bar("agents that connect at once", count);
    stage.swarm.connect(machines, count, &progress).await?;
    progress.finish_and_clear();
    let connected = start.elapsed();
    stage.guests += count;
    stage.settle("a burst of enrolments").await?;
    let used = window.close(stage)?;
    stage.verify("a burst of enrolments").await?;
    let settled = start.elapsed();
    let gone = depart(stage, count).await?;
    let seconds =
        |what: String, time: std::time::Duration| Figure::new("enrol", what, time.as_secs_f64(), "s");
    let mut figures = vec![
        seconds(format!("{count} hosts at once, all enrolled"), registered),
        seconds(format!("{count} hosts at once, all connected with their maps"), connected),
        seconds(format!("{count} hosts at once, every map of everybody checked and right"), settled),
        seconds(format!("{count} hosts leave at once, all answered"), gone),
    ];
    figures.extend(Figure::latencies("enrol", "hello and registration of one host", times));
    figures.extend(used.figures("enrol", "a burst", count));
    Ok(figures)
}

/// So many guests leave at once; how long until all were answered.
async fn depart(stage: &mut Stage, count: usize) -> Result<std::time::Duration> {
    let first = stage.swarm.members.len() - count;
    let start = Instant::now();
    stage.swarm.leave_together(first).await?;
    let took = start.elapsed();
    stage.swarm.members.truncate(first);
    stage.guests -= count;
    stage.settle("a burst of leaves").await?;
    Ok(took)
}
