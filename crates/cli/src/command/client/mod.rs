//! `netloom client`: remote access clients, plain WireGuard apps that come in through gateways.
//!
//! It keeps true that a private key is made on this machine unless the server is asked to, so that the server never sees it, and
//! that it is shown or saved once.

mod config;
mod create;
mod hand_over;
mod new_key;
mod show;
mod update;

use api::{PatchClient, path};
use clap::{Args, Subcommand};

use crate::arguments::AtMost;
use crate::command::removal::remove;
use crate::console::Console;
use crate::failure::Failure;

/// Remote access clients.
#[derive(Debug, Subcommand)]
pub enum Client {
    /// List a network's
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
        #[command(flatten)]
        most: AtMost,
    },
    /// Make one, with its configuration (shown or saved this once)
    Create(Box<create::Create>),
    /// Show one
    Show(Place),
    /// Change one
    Update(Box<update::Update>),
    /// Let one in again
    Enable(Place),
    /// Cut one off
    Disable(Place),
    /// Delete one
    #[command(visible_alias = "rm")]
    Delete(Place),
    /// Print the configuration of one, for wg-quick and every WireGuard app
    Config(config::Config),
    /// Show the configuration of one as a QR code
    Qr(config::Qr),
    /// Give one a new key, with its configuration (shown or saved this once); the old key is worth nothing then
    NewKey(new_key::NewKey),
}

/// Which one.
#[derive(Debug, Args)]
pub struct Place {
    /// The network's name or id
    network: String,
    /// Its name or id
    client: String,
}

impl Place {
    fn fill(&self, template: &str) -> String {
        path::fill(template, &[&self.network, &self.client])
    }

    fn path(&self) -> String {
        self.fill(path::CLIENT)
    }
}

impl Client {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        let answer = match self {
            Self::List { network, most } => {
                let answer = client.list(&path::fill(path::CLIENTS, &[&network]), &[], most.limit).await?;
                return console.show(&answer, |clients: &Vec<api::Client>, view| show::all(clients, view));
            }
            Self::Create(create) => return create.run(&client, console).await,
            Self::Config(config) => return config.run(&client, console).await,
            Self::Qr(qr) => return qr.run(&client, console).await,
            Self::NewKey(new_key) => return new_key.run(&client, console).await,
            Self::Show(place) => client.get(&place.path(), &[]).await?,
            Self::Update(update) => update.send(&client).await?,
            Self::Enable(place) => client.patch(&place.path(), &enabled(true)).await?,
            Self::Disable(place) => client.patch(&place.path(), &enabled(false)).await?,
            Self::Delete(place) => {
                let order = format!("delete client `{}` of network `{}`", place.client, place.network);
                let done = format!("Client `{}` is deleted from network `{}`.", place.client, place.network);
                return remove(&client, console, &place.path(), &order, &done).await;
            }
        };
        console.show(&answer, show::one)
    }
}

fn enabled(enabled: bool) -> PatchClient {
    PatchClient { enabled: Some(enabled), ..PatchClient::default() }
}
