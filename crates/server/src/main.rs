//! `netloom-server`: reads its arguments, starts the parts, and waits for the end.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use server::serve::Server;
use server::settings::{Flags, Settings};
use server::telemetry::{self, Telemetry};
use store::Existing;
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

fn main() -> ExitCode {
    match perform(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "netloom-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: Arguments) -> Result<()> {
    match arguments.command {
        None | Some(Command::Run) => run(&arguments.flags),
        Some(Command::Openapi) => {
            let document = server::http::document()?;
            std::io::stdout().write_all(document.as_bytes()).context("the document cannot be printed")
        }
        Some(Command::Restore { backup, replace }) => {
            let settings = Settings::load(&arguments.flags)?;
            server::identity::create_private_folder(&settings.data)?;
            server::front::install_crypto_provider();
            let existing = if replace { Existing::Replace } else { Existing::Keep };
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.context("the runtime cannot be started")?;
            Ok(runtime.block_on(store::restore(&backup, &settings.database, existing))?)
        }
    }
}

fn run(flags: &Flags) -> Result<()> {
    let settings = Settings::load(flags)?;
    telemetry::start_log(&settings.log, settings.log_format)?;
    server::front::install_crypto_provider();
    server::serve::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(serve(settings))
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
