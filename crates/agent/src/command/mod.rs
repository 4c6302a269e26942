//! The commands: what each is called, and what they share.
//!
//! Not for what the daemon does. It keeps true that a failure is one sentence and an exit code other than 0: 1 where
//! something could not be done, 2 where it was asked for wrongly.

mod early;
mod join;
mod leave;
mod output;
mod ping;
mod serverlist;
mod service;
mod show;
mod status;
mod undo;
mod update;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::control::Daemon;
use crate::engine::Session;
use crate::link::install_crypto_provider;
use crate::logging::{self, Verbosity};
use crate::options::{OptionFlags, Options};
use crate::places::Places;
use crate::state::{MachineMark, State};
use crate::view::Idle;
use output::Output;

/// How long the daemon may take for what it is asked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Netloom's agent: joins this machine to private WireGuard networks, and keeps it there
#[derive(Debug, Parser)]
#[command(name = "netclient", version, max_term_width = 100)]
struct Arguments {
    /// How much is logged: 0 errors, 1 warnings, 2 what happens, 3 every step, 4 everything
    #[arg(short = 'v', long, global = true, value_name = "0-4", env = "NETCLIENT_VERBOSITY", value_parser = clap::value_parser!(u8).range(0..=4))]
    verbosity: Option<u8>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Whether a daemon is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DaemonChoice {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join networks with a token
    #[command(visible_alias = "register")]
    Join {
        /// The token that `netloom key create` printed; `-` reads it from standard input [env: NETCLIENT_TOKEN]
        #[arg(short, long)]
        token: Option<String>,
        /// `off` joins without a daemon; `netclient pull` brings this machine up to date then
        #[arg(long, value_enum, default_value = "on")]
        daemon: DaemonChoice,
        /// An address this machine would have in a network that it joins; may be given for each [default: any that is free]
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<IpAddr>,
        #[command(flatten)]
        options: OptionFlags,
    },
    /// Leave a network; the last one takes everything of netclient off this machine
    Leave {
        /// The network's name
        network: String,
        /// Clean up this machine although the server cannot be told
        #[arg(long)]
        force: bool,
    },
    /// Take part in a network again
    Connect {
        /// The network's name
        network: String,
    },
    /// Pause in a network: addresses are kept, peers are not
    Disconnect {
        /// The network's name
        network: String,
    },
    /// List the networks of this machine
    List,
    /// List the peers, and how each is reached
    Peers {
        /// Only those in this network
        network: Option<String>,
    },
    /// Ask the server for the newest state and carry it out
    Pull,
    /// Tell the server what is set on this machine
    Push {
        #[command(flatten)]
        options: OptionFlags,
    },
    /// Ping peers through the tunnels
    Ping {
        /// A network or a peer [default: every peer]
        target: Option<String>,
        /// How many pings each
        #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
        count: u16,
    },
    /// Say what works, what does not, and what to do
    Status,
    /// Run in the foreground
    Daemon {
        /// In a session of its own
        #[arg(long, hide = true)]
        detach: bool,
    },
    /// Set up the service that starts with the machine
    Install,
    /// Leave all networks and remove everything of netclient from this machine
    Uninstall,
    /// Print the version
    Version,
    /// Servers this machine has joined
    #[command(subcommand)]
    Server(ServerCommand),
    /// Shut a full tunnel that was on, before the network is there
    #[command(hide = true)]
    Early,
    /// The userspace WireGuard device
    #[command(hide = true)]
    Device {
        /// The interface's name
        interface: String,
    },
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// List them
    List,
    /// Use another one
    Switch {
        /// The server's name
        name: String,
    },
    /// Leave one, with all its networks
    Leave {
        /// The server's name [default: the one in use]
        name: Option<String>,
        /// Forget it although it cannot be told
        #[arg(long)]
        force: bool,
    },
}

/// What the commands share.
pub struct Context {
    /// Where things are.
    pub places: Places,
    /// What is on disk.
    pub state: State,
    environment: Vec<(String, String)>,
    output: Output,
}

impl Context {
    fn new(json: bool) -> Self {
        let places = Places::from_environment(|name| std::env::var_os(name));
        let state = State::new(&places.state);
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { places, state, environment, output: Output::new(json) }
    }

    /// The options of this machine, with these flags.
    pub fn options(&self, flags: &OptionFlags) -> anyhow::Result<Options> {
        Options::load(flags, &self.state.options()?, self.environment.iter().cloned(), &self.places)
    }

    /// The way to the daemon.
    fn daemon(&self) -> Daemon {
        Daemon::new(self.places.socket())
    }

    /// The registration in use.
    fn session(&self) -> anyhow::Result<Session> {
        let identity = self.state.identity()?;
        let identity = identity.with_context(|| Idle::NotJoined.to_string())?;
        if identity.is_of_another(MachineMark::here().as_ref()) {
            anyhow::bail!("{}", Idle::Copied);
        }
        let record = self.state.active()?.with_context(|| Idle::NotJoined.to_string())?;
        Session::new(record, identity)
    }
}

/// The command line's spelling of `-daemon=off` is another program's, and taken.
fn spelled(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    arguments
        .map(|argument| match argument.to_str() {
            Some(text) if text == "-daemon" || text.starts_with("-daemon=") => format!("-{text}").into(),
            Some(_) | None => argument,
        })
        .collect()
}

/// All that can be typed, for those who check what is written about it.
pub fn definition() -> clap::Command {
    Arguments::command()
}

/// The program.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(spelled(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to standard output, mistakes to standard error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let json = arguments.json;
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let sentence = if json {
                serde_json::json!({ "error": format!("{error:#}") }).to_string()
            } else {
                format!("netclient: {error:#}")
            };
            let _ = writeln!(std::io::stderr(), "{sentence}");
            ExitCode::from(if error.is::<settings::Mistakes>() { 2 } else { 1 })
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let long_lived = matches!(arguments.command, Command::Daemon { .. } | Command::Device { .. });
    logging::start(Verbosity(arguments.verbosity.unwrap_or(if long_lived { 2 } else { 1 })));
    if let Command::Daemon { detach: true } = arguments.command {
        // Already a session's head where a service manager started it.
        let _ = rustix::process::setsid();
    }
    install_crypto_provider();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if !matches!(arguments.command, Command::Device { .. }) {
        runtime.worker_threads(2);
    }
    let runtime = runtime.enable_all().build().context("the runtime cannot be started")?;
    let context = Context::new(arguments.json);
    let done = runtime.block_on(perform(&context, arguments.command));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn perform(context: &Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Join { token, daemon, address, options } => {
            let wish = join::Wish { token, addresses: address, daemon: daemon == DaemonChoice::On };
            join::join(context, wish, &options).await
        }
        Command::Leave { network, force } => leave::network(context, &network, force).await,
        Command::Connect { network } => update::switch(context, &network, true).await,
        Command::Disconnect { network } => update::switch(context, &network, false).await,
        Command::List => show::list(context).await,
        Command::Peers { network } => show::peers(context, network.as_deref()).await,
        Command::Pull => update::pull(context).await,
        Command::Push { options } => update::push(context, &options).await,
        Command::Ping { target, count } => ping::ping(context, target.as_deref(), count).await,
        Command::Status => status::status(context).await,
        Command::Daemon { detach: _ } => crate::daemon::run(context).await,
        Command::Install => service::install(context).await,
        Command::Uninstall => leave::uninstall(context).await,
        Command::Version => show::version(context),
        Command::Server(ServerCommand::List) => serverlist::list(context),
        Command::Server(ServerCommand::Switch { name }) => serverlist::switch(context, &name).await,
        Command::Server(ServerCommand::Leave { name, force }) => {
            leave::server(context, name.as_deref(), force).await
        }
        Command::Early => early::early(context).await,
        Command::Device { interface } => device(context, interface).await,
    }
}

async fn device(context: &Context, interface: String) -> anyhow::Result<()> {
    let options =
        dataplane::device::DeviceOptions { name: interface, socket_dir: context.places.wireguard.clone() };
    dataplane::device::run(options, || ()).await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(spelled(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn both_spellings_of_daemon_off_are_taken() {
        for line in [
            "netclient join -t x --daemon=off",
            "netclient register -daemon=off -t x",
            "netclient join -t x --daemon off",
        ] {
            let Command::Join { daemon, token, .. } = parse(line).unwrap().command else { panic!("{line}") };
            assert_eq!((daemon, token.as_deref()), (DaemonChoice::Off, Some("x")), "{line}");
        }
    }

    #[test]
    fn verbosity_has_bounds_and_may_stand_anywhere() {
        assert_eq!(parse("netclient -v 4 status").unwrap().verbosity, Some(4));
        assert_eq!(parse("netclient status -v 0 --json").unwrap().verbosity, Some(0));
        assert_eq!(parse("netclient -v 5 status").unwrap_err().exit_code(), 2);
    }
}
