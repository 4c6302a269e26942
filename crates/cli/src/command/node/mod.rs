//! `netloom node`: hosts in a network.

mod show;
mod update;

use std::net::{Ipv4Addr, Ipv6Addr};

use api::{AddNode, HostSelector, PatchNode, path};
use clap::Subcommand;
use model::Tag;
use serde_json::json;

use crate::arguments::AtMost;
use crate::command::removal::remove;
use crate::console::Console;
use crate::failure::Failure;

/// Machines in a network.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List a network's nodes
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
        /// Only those that wait to be let in
        #[arg(long)]
        pending: bool,
        #[command(flatten)]
        most: AtMost,
    },
    /// Put a host into a network
    Add {
        /// The network's name or id
        network: String,
        /// The host's name or id
        host: HostSelector,
        /// Its IPv4 address there; without it one is handed out
        #[arg(long, value_name = "ADDRESS")]
        v4: Option<Ipv4Addr>,
        /// Its IPv6 address there; without it one is handed out
        #[arg(long, value_name = "ADDRESS")]
        v6: Option<Ipv6Addr>,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
        tags: Vec<Tag>,
    },
    /// Show one
    Show(Place),
    /// Change one: its addresses and tags, its duties, its ways to others, its end
    Update(Box<update::Update>),
    /// Let a host in that waits for it
    Approve(Place),
    /// Let a host take part in a network again
    Connect(Place),
    /// Let a host pause in a network: it keeps its addresses and has no peers
    Disconnect(Place),
    /// Take a host out of a network
    #[command(visible_aliases = ["delete", "rm"])]
    Remove(Place),
}

/// Which node.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The network's name or id
    network: String,
    /// The host's name or id, or the node's id
    #[arg(value_name = "HOST")]
    node: String,
}

impl Place {
    fn fill(&self, template: &str) -> String {
        path::fill(template, &[&self.network, &self.node])
    }

    /// The node's path.
    pub(crate) fn path(&self) -> String {
        self.fill(path::NODE)
    }
}

impl Node {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        let answer = match self {
            Self::List { network, pending, most } => {
                // What is left out is left out here: the API does not choose.
                let limit = most.limit.filter(|_| !pending);
                let mut answer = client.list(&path::fill(path::NODES, &[&network]), &[], limit).await?;
                if let Some(nodes) = answer.as_array_mut().filter(|_| pending) {
                    nodes.retain(|node| node["pending"] == true);
                    nodes.truncate(most.count());
                }
                return console.show(&answer, |nodes: &Vec<api::Node>, view| show::all(nodes, view));
            }
            Self::Add { network, host, v4, v6, tags } => {
                let body = AddNode { host, v4, v6, tags: tags.into_iter().collect() };
                client.post(&path::fill(path::NODES, &[&network]), &body).await?
            }
            Self::Show(place) => client.get(&place.path(), &[]).await?,
            Self::Update(update) => update.send(&client).await?,
            Self::Approve(place) => client.post(&place.fill(path::NODE_APPROVE), &json!({})).await?,
            Self::Connect(place) => client.patch(&place.path(), &PatchNode::connected(true)).await?,
            Self::Disconnect(place) => client.patch(&place.path(), &PatchNode::connected(false)).await?,
            Self::Remove(place) => {
                let order = format!("take `{}` out of network `{}`", place.node, place.network);
                let done = format!("`{}` is no longer in network `{}`.", place.node, place.network);
                return remove(&client, console, &place.path(), &order, &done).await;
            }
        };
        console.show(&answer, show::one)
    }
}

/// One node's properties.
pub(crate) use show::one;
