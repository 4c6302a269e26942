//! `netloom node`: hosts in a network.

use std::net::{Ipv4Addr, Ipv6Addr};

use api::{AddNode, HostSelector, PatchNode, path};
use clap::Subcommand;

use crate::arguments::AtMost;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, addresses, details, online, table, yes_no};

/// Machines in a network.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List a network's nodes
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
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
    },
    /// Show one
    Show(Place),
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
    node: String,
}

impl Place {
    fn path(&self) -> String {
        path::fill(path::NODE, &[&self.network, &self.node])
    }
}

impl Node {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        let answer = match self {
            Self::List { network, most } => {
                let answer = client.list(&path::fill(path::NODES, &[&network]), &[], most.limit).await?;
                return console.show(&answer, |nodes: &Vec<api::Node>, view| all(nodes, view));
            }
            Self::Add { network, host, v4, v6 } => {
                client
                    .post(&path::fill(path::NODES, &[&network]), &AddNode { v4, v6, ..AddNode::of(host) })
                    .await?
            }
            Self::Show(place) => client.get(&place.path(), &[]).await?,
            Self::Connect(place) => client.patch(&place.path(), &PatchNode::connected(true)).await?,
            Self::Disconnect(place) => client.patch(&place.path(), &PatchNode::connected(false)).await?,
            Self::Remove(place) => {
                console.confirm(&format!("take `{}` out of network `{}`", place.node, place.network))?;
                let answer = client.delete(&place.path(), &[]).await?;
                let words = format!("`{}` is no longer in network `{}`.", place.node, place.network);
                return console.done(&answer, &words);
            }
        };
        console.show(&answer, one)
    }
}

fn all(nodes: &[api::Node], view: &View) -> String {
    table(
        view,
        ["host", "addresses", "connected", "state"],
        nodes,
        |node| {
            let addresses = addresses(node.v4, node.v6);
            [node.host_name.to_string(), addresses, yes_no(node.connected), online(node.online)]
        },
        "No host is in this network yet.",
    )
}

fn one(node: &api::Node, view: &View) -> String {
    details(
        view,
        &[
            ("Host", node.host_name.to_string()),
            ("Network", node.network_name.to_string()),
            ("Id", node.id.to_string()),
            ("Addresses", addresses(node.v4, node.v6)),
            ("Connected", yes_no(node.connected)),
            ("State", online(node.online)),
            ("Created", view.moment(node.created)),
        ],
    )
}
