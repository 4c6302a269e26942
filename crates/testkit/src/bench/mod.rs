//! The benchmarks of `cargo xtask bench`: the real programs, simulated agents over real TLS and MQTT, figures with what
//! they stand beside.
//!
//! Not for tests: nothing here fails because something was slow. It keeps true that each figure says what was measured
//! and in which unit, and that latencies come as a middle and a near-worst value, never as an average.

mod commits;
mod converge;
pub mod dns;
mod enrol;
pub(crate) mod figure;
mod firewall;
mod first_ping;
pub(crate) mod machine;
pub(crate) mod progress;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use figure::Figure;
use machine::Computer;

use crate::fleet::{Administrator, ServerProcess};
use crate::programs;

/// Measures what Netloom does, with the real programs
#[derive(Debug, Parser)]
#[command(name = "netloom-bench")]
struct Arguments {
    /// Which benchmark; all of them where none is named
    name: Option<Bench>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Agents that follow changes (converge)
    #[arg(long, default_value_t = 100)]
    agents: usize,
    /// Changes of each kind that are timed (converge)
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Hosts that enrol (enrol)
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Machines that join and ping (join)
    #[arg(long, default_value_t = 10)]
    machines: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// From `netclient join` to the first ping, in the lab
    Join,
    /// From a change to the last of many agents having applied it
    Converge,
    /// Commits per second of every database, beside bare SQLite and pgbench
    Commits,
    /// Many hosts that enrol at once
    Enrol,
    /// A large firewall made, changed and looked at, beside `nft -f`
    Firewall,
}

impl Bench {
    const ALL: [Self; 5] = [Self::Commits, Self::Firewall, Self::Enrol, Self::Converge, Self::Join];
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Computer,
    figures: Vec<Figure>,
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "netloom-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &Arguments) -> Result<()> {
    let mut figures = Vec::new();
    for bench in arguments.name.map_or(Bench::ALL.to_vec(), |name| vec![name]) {
        figures.extend(measure(bench, arguments).with_context(|| format!("{bench:?} failed"))?);
    }
    let report = Report { machine: Computer::this(), figures };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    writeln!(out, "{}\n\n{}", report.machine, figure::table(&report.figures))?;
    Ok(())
}

fn measure(bench: Bench, arguments: &Arguments) -> Result<Vec<Figure>> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match bench {
        Bench::Join => first_ping::measure(arguments.machines),
        Bench::Commits => commits::measure(),
        Bench::Converge => runtime()?.block_on(converge::measure(arguments.agents, arguments.changes)),
        Bench::Firewall => firewall::measure(),
        Bench::Enrol => runtime()?.block_on(enrol::measure(arguments.hosts)),
    }
}

/// A server of its own with one network, and a token that lets in any number.
struct Stage {
    server: ServerProcess,
    token: wire::Token,
    _data: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Result<Self> {
        let data = tempfile::tempdir().context("a data folder")?;
        let server = ServerProcess::start(&programs::find("netloom-server")?, data.path())?;
        let administrator = Administrator::set_up(&server.site, &server.setup_code()?).await?;
        administrator.network("bench", "10.0.0.0/12").await?;
        let (_, token) = administrator.key("bench", &["bench"], None).await?;
        Ok(Self { server, token, _data: data })
    }
}
