//! `cargo xtask bench fleet`: thousands of simulated agents against the real server on the same machine, what changes cost and
//! how long they take, on quiet days and on bad ones.
//!
//! Not for tests of single behaviours, and nothing here fails because something was slow: it fails when an agent's map is not
//! what the definition says. It keeps true that after each scenario every map of every agent was compared.

mod comeback;
mod curve;
mod enrol;
mod faults;
mod plot;
mod rest;
mod series;
mod single;
mod stage;
mod window;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::bench::figure::{Figure, table};
use crate::bench::machine::Computer;
use crate::programs;
use crate::swarm::Vice;

use comeback::Ending;
use curve::Point;
use faults::Breaks;
use stage::Stage;

/// Thousands of simulated agents against the real server: latencies, costs, and maps that are checked
///
/// Server and agents run on this machine and share its processors. Each agent has its own keys and its own connections (TLS 1.3,
/// WebSocket, MQTT 3.1.1), opens and applies every message, and reports what it carried out. After each scenario every agent's
/// map is compared with what the administrators' API shows; a map that is wrong makes the exit code 1, slowness never does.
#[derive(Debug, Clone, Parser)]
#[command(name = "netloom-fleet")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// What to play, in this order; everything where nothing is said
    #[arg(long = "scenario", value_delimiter = ',', value_name = "NAME,…")]
    scenarios: Vec<Scenario>,
    /// Once for each of these numbers of agents (join, endpoints and leave, where nothing else is said)
    #[arg(long, value_delimiter = ',', value_name = "AGENTS,…")]
    curve: Vec<usize>,
    /// With --curve: where to write how the cost of a join grows, as SVG
    #[arg(long, value_name = "FILE", requires = "curve")]
    plot: Option<PathBuf>,
    /// The server's program; where nothing is said the one that was built with this program
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// The sizes of everything.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Options {
    /// Agents
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Networks, over which the agents are spread evenly
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    networks: u8,
    /// Of a hundred agents, so many are in a second network as well (with more than one network)
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    shared: u8,
    /// Hosts that join and leave one by one; half as many settings change
    #[arg(long, default_value_t = 20)]
    changes: usize,
    /// Hosts that enrol at once
    #[arg(long, default_value_t = 200)]
    burst: usize,
    /// Endpoint changes in a second; where nothing is said, what makes 10,000 messages
    #[arg(long)]
    rate: Option<f64>,
    /// How long endpoints change
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long agents at rest are watched
    #[arg(long, default_value_t = 60.0)]
    rest_seconds: f64,
    /// Milliseconds after which an agent reports that it carried out a map; the real one waits longer the more peers it has,
    /// 3 to 6 for each of them from a hundred on
    #[arg(long, default_value_t = 300)]
    patience: u64,
}

impl Options {
    fn rate(&self) -> f64 {
        let agents = crate::bench::figure::float(self.agents.max(1) as u64);
        let networks = f64::from(self.networks);
        self.rate.unwrap_or_else(|| (10_000.0 * networks / agents).clamp(1.0, 10.0)).clamp(0.01, 10_000.0)
    }

    /// How many endpoints change in a series.
    fn series(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "both are small and positive"
        )]
        let count = (self.rate() * self.seconds).round() as usize;
        count.max(1)
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.patience)
    }
}

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Hosts join one after the other
    Join,
    /// Endpoint changes at a rate: the quiet figure that bad days are held against
    Endpoints,
    /// A setting that everybody in a network has is changed (its keepalive, for want of anything that weighs more)
    Flip,
    /// Hosts leave one after the other
    Leave,
    /// Many hosts enrol at once, and leave at once
    Enrol,
    /// A day at rest, compressed
    Rest,
    /// The server is asked to end, and started again: everybody comes back
    Restart,
    /// The server is killed and started again: everybody comes back
    Kill,
    /// All connections to the broker are reset at the same instant, while HTTP goes on: what agents see of a broker's restart
    Broker,
    /// Bad day: the server is killed while endpoints change
    KillMidBurst,
    /// Bad day: all connections to the broker break while endpoints change
    BrokerMidBurst,
    /// Bad day: 5 % of the agents neither read nor write
    Hang,
    /// Bad day: some agents send garbage
    Garbage,
    /// Bad day: an agent reconnects in a tight loop
    Loop,
}

impl Scenario {
    const ALL: [Self; 14] = [
        Self::Join,
        Self::Endpoints,
        Self::Flip,
        Self::Leave,
        Self::Enrol,
        Self::Rest,
        Self::Restart,
        Self::Kill,
        Self::Broker,
        Self::KillMidBurst,
        Self::BrokerMidBurst,
        Self::Hang,
        Self::Garbage,
        Self::Loop,
    ];
    const GROWTH: [Self; 3] = [Self::Join, Self::Endpoints, Self::Leave];

    /// Plays it; the joins of a curve are a point of it.
    async fn play(self, stage: &mut Stage, points: &mut Vec<Point>) -> Result<Vec<Figure>> {
        match self {
            Self::Join => {
                let agents = stage.swarm.members.len();
                let (figures, joins) = single::join(stage).await?;
                points.push(Point::of(agents, &joins));
                Ok(figures)
            }
            Self::Endpoints => faults::endpoints(stage).await,
            Self::Flip => single::flip(stage).await,
            Self::Leave => single::leave(stage).await,
            Self::Enrol => enrol::burst(stage).await,
            Self::Rest => rest::rest(stage).await,
            Self::Restart => comeback::restart(stage, Ending::Asked).await,
            Self::Kill => comeback::restart(stage, Ending::Killed).await,
            Self::Broker => comeback::broker(stage).await,
            Self::KillMidBurst => faults::mid_burst(stage, Breaks::Server).await,
            Self::BrokerMidBurst => faults::mid_burst(stage, Breaks::Broker).await,
            Self::Hang => faults::hang(stage).await,
            Self::Garbage => faults::rogues(stage, Vice::Garbage).await,
            Self::Loop => faults::rogues(stage, Vice::Reconnects).await,
        }
    }
}

/// What was measured with one number of agents.
#[derive(Debug, Serialize)]
struct Run {
    agents: usize,
    figures: Vec<Figure>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Computer,
    options: Options,
    runs: Vec<Run>,
    curve: Vec<Point>,
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let (report, played) = match runtime {
        Ok(runtime) => runtime.block_on(perform(&arguments)),
        Err(error) => return fail(&error.into()),
    };
    // What was measured before something failed is shown all the same.
    match show(&arguments, &report).and(played) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _closed = writeln!(std::io::stderr(), "netloom-fleet: {error:#}");
    ExitCode::FAILURE
}

/// Plays what these arguments say and shows nothing: for tests.
pub async fn play(arguments: &[&str]) -> Result<()> {
    let arguments = std::iter::once("netloom-fleet").chain(arguments.iter().copied());
    perform(&Arguments::try_parse_from(arguments)?).await.1
}

async fn perform(arguments: &Arguments) -> (Report, Result<()>) {
    let Options { agents, .. } = arguments.options;
    let options = arguments.options.clone();
    let mut report = Report { machine: Computer::this(), options, runs: Vec::new(), curve: Vec::new() };
    let sizes = if arguments.curve.is_empty() { vec![agents] } else { arguments.curve.clone() };
    for agents in sizes {
        let mut run = Run { agents, figures: Vec::new() };
        let played = scenarios(arguments, &mut run, &mut report.curve).await;
        report.runs.push(run);
        if played.is_err() {
            return (report, played);
        }
    }
    let drawn = arguments.plot.as_ref().map_or(Ok(()), |file| curve::plot(file, &report.curve));
    (report, drawn)
}

async fn scenarios(arguments: &Arguments, run: &mut Run, points: &mut Vec<Point>) -> Result<()> {
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => programs::find("netloom-server")?,
    };
    let options = Options { agents: run.agents, ..arguments.options.clone() };
    let scenarios = match (arguments.scenarios.as_slice(), arguments.curve.is_empty()) {
        ([], true) => Scenario::ALL.to_vec(),
        ([], false) => Scenario::GROWTH.to_vec(),
        (named, _) => named.to_vec(),
    };
    let mut stage = Stage::empty(&program, &options, run.agents).await?;
    let filling = stage.fill(run.agents).await?;
    run.figures.extend(enrol::setup(&filling));
    stage.verify("setting the stage").await?;
    for scenario in scenarios {
        let figures = scenario.play(&mut stage, points).await;
        run.figures.extend(figures.with_context(|| format!("{scenario:?}"))?);
        stage.verify(&format!("{scenario:?}")).await?;
    }
    Ok(())
}

fn show(arguments: &Arguments, report: &Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    writeln!(out, "{}", report.machine)?;
    for run in &report.runs {
        let networks = report.options.networks;
        writeln!(out, "\n{} agents, networks: {networks}\n{}", run.agents, table(&run.figures))?;
    }
    Ok(())
}
