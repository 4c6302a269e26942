//! `netloom-server`: reads its arguments, starts the parts, and waits for the end.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use server::check::{self, State};
use server::rekey;
use server::serve::Server;
use server::settings::{Flags, Settings};
use server::telemetry::{self, Telemetry};
use store::Existing;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// The server of Netloom: private WireGuard networks
#[derive(Parser)]
#[command(name = "netloom-server", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a command, too)
    Run,
    /// Look whether everything is there that a server with these settings needs, and say what is wrong
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give the server other keys of its own, without any host having to join again
    Rekey {
        #[command(subcommand)]
        step: Rekey,
    },
    /// Print the OpenAPI document of the API
    Openapi,
    /// Put a backup into the database, whichever database it is from; no server may use it meanwhile
    Restore {
        /// The file that `netloom backup` wrote
        backup: PathBuf,
        /// Replace what the database holds already (a SQLite file is put aside)
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Subcommand)]
enum Rekey {
    /// Make the next keys; from the servers' next start on hosts are told of them
    Begin,
    /// Put the next keys in the place of the old ones; no server may run meanwhile
    Finish {
        /// Even where hosts have not heard of them: these have to join again
        #[arg(long)]
        force: bool,
    },
    /// Make the database this server's own, because the keys of its former servers are lost: every host has to join again
    Adopt,
}

const BEGUN: &str = "\
The next keys are made. Copy the folders `keys` and `tls` to the other servers of this database, if there are any, and start
each server again. `netloom server status` says how many hosts have not heard of the next keys yet; when there are none,
stop all servers, say `netloom-server rekey finish` at one of them, copy the folders again, and start them.
";
const FINISHED: &str =
    "The next keys are in force. Make a backup of `keys` and `tls`, and start the server again.\n";

fn main() -> ExitCode {
    match perform(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "netloom-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        None | Some(Command::Run) => run(&arguments.flags)?,
        Some(Command::Check { json }) => return check(&arguments.flags, json),
        Some(Command::Rekey { step }) => {
            let settings = Settings::load(&arguments.flags)?;
            let runtime = runtime()?;
            match step {
                Rekey::Begin => rekey::begin(&settings).and_then(|()| print(BEGUN))?,
                Rekey::Finish { force } => {
                    runtime.block_on(rekey::finish(&settings, force))?;
                    print(FINISHED)?;
                }
                Rekey::Adopt => {
                    let lost = runtime.block_on(rekey::adopt(&settings))?;
                    print(&format!(
                        "The database is this server's now. Hosts that have to join again: {lost}.\n"
                    ))?;
                }
            }
        }
        Some(Command::Openapi) => print(&server::http::document()?)?,
        Some(Command::Restore { backup, replace }) => {
            let settings = Settings::load(&arguments.flags)?;
            server::identity::create_private_folder(&settings.data)?;
            let existing = if replace { Existing::Replace } else { Existing::Keep };
            runtime()?.block_on(store::restore(&backup, &settings.database, existing))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("the answer cannot be printed")
}

fn runtime() -> Result<Runtime> {
    server::front::install_crypto_provider();
    Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")
}

/// Fails where something is wrong; what is doubtful is only said.
fn check(flags: &Flags, json: bool) -> Result<ExitCode> {
    let settings = Settings::load(flags)?;
    let findings = runtime()?.block_on(check::check(&settings));
    match json {
        true => print(&(serde_json::to_string_pretty(&findings)? + "\n"))?,
        false => findings.iter().try_for_each(|finding| print(&format!("{finding}\n")))?,
    }
    let is_wrong = findings.iter().any(|finding| finding.state == State::Wrong);
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run(flags: &Flags) -> Result<()> {
    let settings = Settings::load(flags)?;
    telemetry::start_log(&settings.log, settings.log_format)?;
    server::serve::raise_open_files();
    runtime()?.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<()> {
    let mut server = Server::start(settings, Telemetry::install()?).await?;
    let urls = server.urls.join(", ");
    let pin = server.pin.map(|pin| pin.to_string()).unwrap_or_default();
    let [first, second] = server.rendezvous;
    tracing::info!(listen = %server.address(), urls, pin, rendezvous = %format!("{first}, {second}"), "the server is up");
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("signals cannot be received")?,
        () = server.brain_ended() => bail!("the server's brain has ended, the log says why; start the server again"),
    }
    tracing::info!("shutting down");
    server.shutdown().await;
    Ok(())
}
