//! `netloom-server`: reads its arguments, starts the parts, and waits for the end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use server::check::{self, State};
use server::owner;
use server::rekey::{self, Abandoned};
use server::restore::{self, Restored};
use server::serve::Server;
use server::settings::{Flags, Settings, Tls};
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
    /// Take back a change that was begun and not finished; no server may run meanwhile. Where hosts have gone over to the next keys,
    /// they are told to come back first
    Abandon {
        /// Remove the next keys even where hosts speak by them: these have to join again
        #[arg(long)]
        force: bool,
    },
    /// Make the database this server's own, because the keys of its former servers are lost: every host has to join again
    Adopt,
}

const BEGUN: &str = "\
The next keys are made, in `keys/next` and `tls/next`.
1. Make a backup of `keys` and `tls` now: hosts change to the next keys from the next start on, and an older copy does not have them.
2. Copy both folders to the other servers of this database, if there are any, and start each server again.
3. `netloom server status` says how many hosts have not heard of the next keys yet. When there are none, stop all servers, and say
   `netloom-server rekey finish` at each.
It may stay like this for as long as you like. `netloom-server rekey abandon`, with the servers stopped, takes it back.
";
const FINISHED: &str = "\
The next keys are in force here. Make a backup of `keys` and `tls`, and one of the database: older ones belong to the older keys.
With several servers, say this at each of them. Then start the server.
";
const ABANDONED: &str = "\
The next keys are gone: the change is taken back. With several servers, say this at each of them before you start any. Then start the server.
Make a backup of the database: an older one may hold hosts that speak by the keys that are gone.
";
const TURNED: &str = "\
The change is being taken back; until that is over both keys work.
1. With several servers, say this at each of them before you start any, or copy `keys` and `tls` to them. Then start each again.
2. `netloom server status` says how many hosts still speak by the next keys. When there are none, stop all servers, and say
   `netloom-server rekey abandon` at each once more.
";
/// Where the certificate is the server's own.
const OTHER_PIN: &str = "\
The certificate is another one: tokens that were handed out before lead nowhere any more, so make new ones; whoever administers says
`netloom context add … --accept-pin`.
";

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
        Some(Command::Rekey { step }) => rekey(&arguments.flags, &step)?,
        Some(Command::Openapi) => print(&server::http::document()?)?,
        Some(Command::Restore { backup, replace }) => restore(&arguments.flags, &backup, replace)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings, for a command that makes something in the data folder.
fn settings_of_owner(flags: &Flags) -> Result<Settings> {
    let settings = Settings::load(flags)?;
    owner::work_as_owner_of(&settings.data)?;
    Ok(settings)
}

fn rekey(flags: &Flags, step: &Rekey) -> Result<()> {
    let settings = settings_of_owner(flags)?;
    let runtime = runtime()?;
    match step {
        Rekey::Begin => rekey::begin(&settings).and_then(|()| print(BEGUN)),
        Rekey::Finish { force } => {
            runtime.block_on(rekey::finish(&settings, *force))?;
            let more = if settings.tls == Tls::SelfSigned { OTHER_PIN } else { "" };
            print(&(FINISHED.to_owned() + more))
        }
        Rekey::Abandon { force } => match runtime.block_on(rekey::abandon(&settings, *force))? {
            Abandoned::Removed { lost: 0 } => print(ABANDONED),
            Abandoned::Removed { lost } => {
                print(&format!("{ABANDONED}Hosts that have to join again: {lost}.\n"))
            }
            Abandoned::Turned { hosts } => print(&format!("{TURNED}Hosts that come back: {hosts}.\n")),
        },
        Rekey::Adopt => {
            let lost = runtime.block_on(rekey::adopt(&settings))?;
            print(&format!("The database is this server's now. Hosts that have to join again: {lost}.\n"))
        }
    }
}

fn restore(flags: &Flags, backup: &Path, replace: bool) -> Result<()> {
    let settings = settings_of_owner(flags)?;
    let existing = if replace { Existing::Replace } else { Existing::Keep };
    let Restored { seq, aside } = runtime()?.block_on(restore::restore(&settings, backup, existing))?;
    let place = settings.database.place();
    let aside = aside.map(|aside| format!(" What was there before is now {aside}.")).unwrap_or_default();
    print(&format!("{} was restored into {place}, up to change {seq}.{aside}\n", backup.display()))
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
