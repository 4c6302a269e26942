//! `netloom network`.

use api::{CreateNetwork, PatchNetwork, path};
use clap::Subcommand;
use ipnet::{Ipv4Net, Ipv6Net};
use model::{Keepalive, NetworkName};

use crate::arguments::AtMost;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, details, joined, table};

/// Networks.
#[derive(Debug, Subcommand)]
pub enum Network {
    /// List them
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        most: AtMost,
    },
    /// Make one; where no range is given, the server finds free ones
    Create {
        /// Its name
        name: NetworkName,
        /// Its IPv4 range, such as 10.20.0.0/16
        #[arg(long, value_name = "RANGE")]
        v4: Option<Ipv4Net>,
        /// Its IPv6 range, such as fd00:20::/64
        #[arg(long, value_name = "RANGE")]
        v6: Option<Ipv6Net>,
        /// Seconds between keepalives of its nodes
        #[arg(long, value_name = "SECONDS")]
        keepalive: Option<Keepalive>,
    },
    /// Show one
    Show {
        /// Its name or id
        network: String,
    },
    /// Change one
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// Its name or id
        network: String,
        /// Its new name
        #[arg(long, group = "change")]
        name: Option<NetworkName>,
        /// Seconds between keepalives of its nodes
        #[arg(long, value_name = "SECONDS", group = "change")]
        keepalive: Option<Keepalive>,
    },
    /// Delete one
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name or id
        network: String,
        /// Also when hosts are in it: they are taken out
        #[arg(long)]
        force: bool,
    },
}

impl Network {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::List { most } => {
                let answer = client.list(path::NETWORKS, &[], most.limit).await?;
                console.show(&answer, |networks: &Vec<api::Network>, view| all(networks, view))
            }
            Self::Create { name, v4, v6, keepalive } => {
                let body = CreateNetwork { v4, v6, keepalive, ..CreateNetwork::named(name) };
                let answer = client.post(path::NETWORKS, &body).await?;
                console.show(&answer, one)
            }
            Self::Show { network } => {
                let answer = client.get(&path::fill(path::NETWORK, &[&network]), &[]).await?;
                console.show(&answer, one)
            }
            Self::Update { network, name, keepalive } => {
                let body = PatchNetwork { name, keepalive, ..PatchNetwork::default() };
                let answer = client.patch(&path::fill(path::NETWORK, &[&network]), &body).await?;
                console.show(&answer, one)
            }
            Self::Delete { network, force } => {
                console.confirm(&format!("delete network `{network}`"))?;
                let query = [("force", force.to_string())];
                let answer = client.delete(&path::fill(path::NETWORK, &[&network]), &query).await?;
                console.done(&answer, &format!("Network `{network}` is deleted."))
            }
        }
    }
}

fn ranges(network: &api::Network) -> String {
    let v4 = network.v4.map(|range| range.to_string());
    joined(v4.into_iter().chain(network.v6.map(|range| range.to_string())))
}

fn all(networks: &[api::Network], view: &View) -> String {
    let head = ["name", "ranges", "nodes", "created"];
    let empty = "No networks yet. Make one with `netloom network create NAME`.";
    table(
        view,
        head,
        networks,
        |n| [n.name.to_string(), ranges(n), n.nodes.to_string(), view.moment(n.created)],
        empty,
    )
}

fn one(network: &api::Network, view: &View) -> String {
    details(
        view,
        &[
            ("Name", network.name.to_string()),
            ("Id", network.id.to_string()),
            ("Ranges", ranges(network)),
            ("Keepalive", format!("{} seconds", network.keepalive)),
            ("Nodes", network.nodes.to_string()),
            ("Created", view.moment(network.created)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    #[test]
    fn networks_are_shown_with_both_ranges() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let network = api::Network {
            id: model::NetworkId::from_bytes([1; 16]),
            name: "home".parse().unwrap(),
            v4: Some("10.1.0.0/16".parse().unwrap()),
            v6: Some("fd00:1::/64".parse().unwrap()),
            keepalive: Keepalive::DEFAULT,
            access: api::Access::Allow,
            approval: false,
            hub: None,
            domain: None,
            nodes: 3,
            created: now,
        };
        let view = View { now, width: None };
        assert_eq!(
            all(std::slice::from_ref(&network), &view),
            "NAME  RANGES                    NODES  CREATED\n\
             home  10.1.0.0/16, fd00:1::/64  3      2027-01-15T08:00:00.000Z"
        );
        assert!(one(&network, &view).contains("Keepalive  20 seconds"));
    }
}
