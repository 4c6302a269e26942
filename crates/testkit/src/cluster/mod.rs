//! `cargo xtask bench cluster`: several servers on one database, with a broker between them and thousands of simulated agents,
//! while one after the other is killed, the database and the broker too, and changes go on at every server.
//!
//! What it holds: no acknowledged change is lost and none is applied twice, no address is given twice, all maps are right soon
//! after each repair, and the lab's tunnels lose no packet. Not for single behaviours, and slowness is a failure only where a
//! limit was promised.
//!
//! ```text
//!   lanes, contests ──▶ server 1 ─┬─▶ PostgreSQL ◀── judge: ledger against database and journal
//!        │       └────▶ server 2 ─┤
//!      ledger                     └─▶ broker ──▶ swarm, and machines of the lab behind a bridge
//! ```

mod bridge;
mod conduct;
mod contest;
mod dice;
mod joins;
mod judge;
mod lane;
mod ledger;
mod look;
mod plant;
mod post;
mod show;
mod speak;
mod stage;
mod storm;
mod tunnels;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::programs;
use show::{Report, fail, say};

/// Several servers, one database, one broker, many agents: everything is killed, again and again, while changes go on
///
/// Everything runs on this machine and shares its processors. What was acknowledged is held against what the database and its
/// journal have in the end, and every agent's map against the definition. The exit code is 0 only if all was as it must be.
#[derive(Debug, Clone, Parser)]
#[command(name = "netloom-cluster")]
struct Arguments {
    #[command(subcommand)]
    inner: Option<Inner>,
    #[command(flatten)]
    options: Options,
    /// The server's program; where nothing is said the one that was built with this program
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What this program is in a machine of the lab.
#[derive(Debug, Clone, Subcommand)]
enum Inner {
    /// Lead ports of this machine to sockets in a folder
    #[command(hide = true)]
    Bridge {
        /// The folder
        folder: PathBuf,
        /// The ports
        ports: Vec<u16>,
    },
}

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BrokerKind {
    /// The servers' own
    Embedded,
    /// Mosquitto, a process of its own
    Mosquitto,
}

/// The sizes of everything.
#[derive(Debug, Clone, clap::Args)]
struct Options {
    /// Simulated agents
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Networks, over which the agents are spread evenly
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(2..=100))]
    networks: u8,
    /// Servers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    servers: u8,
    /// The broker between servers and agents
    #[arg(long, value_enum, default_value_t = BrokerKind::Mosquitto)]
    broker: BrokerKind,
    /// Changes in a second, at each server
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Of these changes, the share that must be made while all is right
    #[arg(long, default_value_t = 0.9)]
    enough: f64,
    /// How often each is killed
    #[arg(long, default_value_t = 10)]
    deaths: usize,
    /// What is killed; everything where nothing is said
    #[arg(long = "kill", value_enum, value_delimiter = ',', value_name = "PART,…")]
    kills: Vec<plant::PartKind>,
    /// Seconds that all is well, at most, before one is killed
    #[arg(long, default_value_t = 4.0)]
    well: f64,
    /// Machines in the lab whose tunnels carry pings; 0: no lab
    #[arg(long, default_value_t = 3)]
    tunnels: usize,
    /// Change things in the network of these machines, too: clients of one of them, policies, records
    #[arg(long)]
    stir: bool,
    /// Seconds after a repair within which every map must be right
    #[arg(long, default_value_t = 10.0)]
    limit: f64,
    /// The seed of everything that is left to chance; where nothing is said a new one
    #[arg(long)]
    seed: Option<u64>,
}

impl Options {
    fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.limit.clamp(0.1, 1_000.0))
    }
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match &arguments.inner {
                Some(Inner::Bridge { folder, ports }) => bridge::cross(folder, ports).await,
                None => perform(&arguments).await.and_then(|report| report.show(arguments.json)),
            }
        }),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Plays what these arguments say and shows nothing: for tests.
pub async fn play(arguments: &[&str]) -> Result<()> {
    let arguments = std::iter::once("netloom-cluster").chain(arguments.iter().copied());
    perform(&Arguments::try_parse_from(arguments)?).await?.judged()
}

async fn perform(arguments: &Arguments) -> Result<Report> {
    let options = &arguments.options;
    let seed = options.seed.unwrap_or_else(|| u64::from_le_bytes(crate::fleet::random()) >> 16);
    say(&format!("seed {seed}"));
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => programs::find("netloom-server")?,
    };
    let storm = stage::set(&program, options, seed).await.with_context(|| format!("seed {seed}"))?;
    stage::play(storm, options, seed).await.with_context(|| format!("seed {seed}"))
}

fn broker(kind: BrokerKind) -> Result<Option<Box<dyn plant::Post>>> {
    match kind {
        BrokerKind::Embedded => Ok(None),
        BrokerKind::Mosquitto => Ok(Some(Box::new(post::Office::open()?))),
    }
}
