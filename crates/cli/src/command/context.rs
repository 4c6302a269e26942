//! `netloom context`: the servers this command line knows.

use std::path::PathBuf;

use clap::Subcommand;
use model::Digest;
use serde_json::json;
use tls::Trust;

use crate::command::setup::acceptance;
use crate::connection::server_address;
use crate::console::Console;
use crate::contexts;
use crate::failure::Failure;
use crate::render::{or_dash, table};
use crate::trust::meet;

/// Servers this command line knows.
#[derive(Debug, Subcommand)]
pub enum Context {
    /// Add a server, and use it from now on
    ///
    /// The address is given with --server. Without --pin and --ca the server is asked for its certificate: one that
    /// this machine trusts is taken, any other has to be accepted.
    Add {
        /// What to call it
        name: String,
        /// The pin of its certificate, as the server logs it
        #[arg(long, conflicts_with = "ca")]
        pin: Option<Digest>,
        /// A PEM file with the authorities that sign its certificate
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Trust the certificate that the server shows, without asking
        #[arg(long)]
        accept_pin: bool,
    },
    /// Use another server from now on
    Use {
        /// Its name
        name: String,
    },
    /// List them
    #[command(visible_alias = "ls")]
    List,
    /// Forget a server and the log-in to it
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        name: String,
    },
}

impl Context {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::Add { name, pin, ca, accept_pin } => add(console, &name, pin, ca, accept_pin).await,
            Self::Use { name } => choose(console, &name),
            Self::List => list(console),
            Self::Remove { name } => remove(console, &name),
        }
    }
}

async fn add(
    console: &mut Console,
    name: &str,
    pin: Option<Digest>,
    ca: Option<PathBuf>,
    accept_pin: bool,
) -> Result<(), Failure> {
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(Failure::Usage(
            "a context's name has 1 to 64 characters, none of them control characters".to_owned(),
        ));
    }
    let given = console.global.server.as_deref().or(console.environment.server.as_deref());
    let given = given
        .ok_or_else(|| Failure::Usage("give the server's address: --server https://HOST:PORT".to_owned()))?;
    let server = server_address(given)?;
    let ca = ca.map(|path| std::path::absolute(&path).unwrap_or(path));
    let trust = match (pin, ca) {
        (Some(pin), _) => Trust::Pin(pin),
        (None, Some(path)) => Trust::AuthorityFile(path),
        (None, None) => meet(&server, acceptance(accept_pin), &mut console.terminal).await?,
    };
    // A file that holds no certificate is better found now than at the next command.
    tls::client_config(&trust).map_err(anyhow::Error::from)?;
    let mut contexts = console.contexts()?;
    contexts.put(name, contexts::Context::new(server.clone(), &trust));
    contexts.save()?;
    let words = format!("Context `{name}` is {server}. Log in with `netloom login`.");
    console.done(&json!({ "name": name, "server": server }), &words)
}

fn choose(console: &mut Console, name: &str) -> Result<(), Failure> {
    let mut contexts = console.contexts()?;
    contexts.choose(name)?;
    contexts.save()?;
    let server = contexts.get(name)?.server.clone();
    console.done(&json!({ "name": name, "server": server }), &format!("Now using `{name}` ({server})."))
}

fn list(console: &mut Console) -> Result<(), Failure> {
    let contexts = console.contexts()?;
    let current = contexts.current();
    // What is shown of a context: never its token.
    let items: Vec<_> = contexts
        .iter()
        .map(|(name, context)| {
            json!({
                "name": name, "current": current == Some(name), "server": context.server, "others": context.others,
                "pin": context.pin,
                "ca": context.ca, "user": context.user, "expires": context.expires,
            })
        })
        .collect();
    if console.global.json {
        return console.show_json(&items);
    }
    let view = console.view();
    let rows: Vec<_> = contexts.iter().collect();
    let text = table(
        &view,
        ["", "name", "server", "user", "log-in ends"],
        &rows,
        |(name, context)| {
            [
                if current == Some(name) { "*" } else { "" }.to_owned(),
                (*name).clone(),
                context.server.clone(),
                or_dash(context.user.clone().unwrap_or_default()),
                view.moment_or(context.expires, "-"),
            ]
        },
        "No servers yet. Add one with `netloom context add NAME --server https://HOST:PORT`.",
    );
    console.terminal.print(&text)
}

fn remove(console: &mut Console, name: &str) -> Result<(), Failure> {
    let mut contexts = console.contexts()?;
    contexts.get(name)?;
    console.confirm(&format!("forget context `{name}`"))?;
    contexts.remove(name)?;
    contexts.save()?;
    console.done(&json!({}), &format!("Context `{name}` is forgotten."))
}
