//! The demo: a server and some machines, each in namespaces of its own, join a network and show who reaches whom.
//!
//! Not for tests of details: the mesh's tests have those. It keeps true that it ends within its time when it is to show
//! one table, that its exit code says whether every pair works, and that nothing is left when it ends, however it ends.
//!
//! ```text
//!   cargo xtask demo ── netloom-demo (takes Ctrl-C) ── the same again, out of the terminal's reach ── the lab
//! ```

mod measure;
mod street;
mod table;
mod typing;
mod watch;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use street::Street;

/// Set for the process that does the work.
const INNER: &str = "NETLOOM_DEMO_INNER";
/// How long a step that is under way may delay the end; then the lab is ended from outside.
const GRACE: Duration = Duration::from_secs(3);

/// Start a server and machines in namespaces, and show who reaches whom
#[derive(Debug, Parser)]
#[command(name = "netloom-demo")]
struct Options {
    /// End after the first complete table; the exit code is 0 only if every pair works
    #[arg(long)]
    once: bool,
    /// How many machines
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    machines: u8,
    /// How long every pair may take to work
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    within: u64,
}

/// All of the program.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let done = if std::env::var_os(INNER).is_some() { perform(&options) } else { guard() };
    done.unwrap_or_else(|error| {
        say(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Starts this program once more where the terminal's Ctrl-C does not reach it or anything in its lab, and ends it by
/// closing its input.
fn guard() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut command = Command::new(std::env::current_exe().context("the running program has no path")?);
        command.args(std::env::args_os().skip(1)).env(INNER, "1").stdin(Stdio::piped()).process_group(0);
        let mut child = tokio::process::Command::from(command).spawn().context("cannot start the demo")?;
        // Taken out, because waiting for the child would close it.
        let lifeline = child.stdin.take();
        let status = tokio::select! {
            status = child.wait() => status?,
            () = async { tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} } } => {
                drop(lifeline);
                child.wait().await?
            }
        };
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    })
}

/// Tells when standard input ends: whoever holds its other end wants this to end, or has ended itself.
fn end_of_input() -> Receiver<()> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        // The receiver is gone when all is over anyway.
        let _ = sender.send(());
        std::thread::sleep(GRACE);
        std::process::exit(130);
    });
    receiver
}

fn perform(options: &Options) -> Result<ExitCode> {
    let end = end_of_input();
    let deadline = Instant::now() + Duration::from_secs(options.within);
    let street = Street::build(options.machines)?;
    let guide = typing::write_guide(&street)?;
    if options.once { watch::once(&street, deadline, &end) } else { watch::live(&street, &guide, &end) }
}

/// A line about what happens, beside the table.
fn say(text: &str) {
    // Nowhere is left to say that this failed.
    let _ = writeln!(std::io::stderr().lock(), "» {text}");
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("the table cannot be shown")
}

fn on_a_screen() -> bool {
    std::io::stdout().is_terminal()
}
