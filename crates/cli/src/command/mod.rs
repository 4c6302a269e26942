//! The commands: one file for each noun, with its arguments, its requests and how its answers are shown.

pub(crate) mod backup;
pub(crate) mod client;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod dns;
pub(crate) mod egress;
pub(crate) mod export;
pub(crate) mod gateway;
pub(crate) mod host;
pub(crate) mod journal;
pub(crate) mod key;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod removal;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod setup;
pub(crate) mod token;
pub(crate) mod user;

use crate::arguments::Command;
use crate::console::Console;
use crate::failure::Failure;

/// Runs a command.
pub(crate) async fn run(command: Command, console: &mut Console) -> Result<(), Failure> {
    match command {
        Command::Setup(setup) => setup.run(console).await,
        Command::Login(login) => login.run(console).await,
        Command::Logout => session::logout(console).await,
        Command::Whoami => session::whoami(console).await,
        Command::Context(context) => context.run(console).await,
        Command::Network(network) => network.run(console).await,
        Command::Host(host) => host.run(console).await,
        Command::Node(node) => node.run(console).await,
        Command::Gateway(gateway) => gateway.run(console).await,
        Command::Client(client) => client.run(console).await,
        Command::Egress(egress) => egress.run(console).await,
        Command::Policy(policy) => policy.run(console).await,
        Command::Dns(dns) => dns.run(console).await,
        Command::Key(key) => key.run(console).await,
        Command::User(user) => user.run(console).await,
        Command::Token(token) => token.run(console).await,
        Command::Server(server) => server.run(console).await,
        Command::Journal(journal) => journal.run(console).await,
        Command::Backup(backup) => backup.run(console).await,
        Command::Export(export) => export.run(console).await,
        Command::Import(import) => import.run(console).await,
        Command::Completion(completion) => completion.run(console),
        Command::Version => version(console),
    }
}

fn version(console: &mut Console) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let answer = serde_json::json!({ "version": version });
    console.done(&answer, &format!("netloom {version}"))
}
