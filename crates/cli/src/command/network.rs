//! `netloom network`.

use api::{CreateNetwork, HostSelector, PatchNetwork, path};
use clap::Subcommand;
use ipnet::{Ipv4Net, Ipv6Net};
use model::{DnsName, Keepalive, NetworkName};

use crate::arguments::AtMost;
use crate::client::Client;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::render::{View, details, joined, on_off, table};
use crate::value::{Access, OnOff, OrNone, switched};

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
        /// What happens to what no policy speaks of
        #[arg(long, value_enum)]
        access: Option<Access>,
        /// Whether new nodes wait until somebody lets them in
        #[arg(long, value_enum, value_name = "ON|OFF")]
        approval: Option<OnOff>,
        /// The domain of its names; without it its name below the server's domain
        #[arg(long)]
        domain: Option<DnsName>,
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
        /// What happens to what no policy speaks of
        #[arg(long, value_enum, group = "change")]
        access: Option<Access>,
        /// Whether new nodes wait until somebody lets them in
        #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
        approval: Option<OnOff>,
        /// Hub and spoke: the host through which all others reach one another, or none
        #[arg(long, value_name = "HOST", group = "change")]
        hub: Option<OrNone<HostSelector>>,
        /// The domain of its names, or none: its name below the server's domain
        #[arg(long, group = "change")]
        domain: Option<OrNone<DnsName>>,
        /// Change nothing; say who would gain and who would lose access
        #[arg(long)]
        dry_run: bool,
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
            Self::Create { name, v4, v6, keepalive, access, approval, domain } => {
                let (access, approval) = (access.map(Into::into), approval.is_some_and(bool::from));
                let body = CreateNetwork { name, v4, v6, keepalive, access, approval, domain };
                let answer = client.post(path::NETWORKS, &body).await?;
                console.show(&answer, |network, view| one(network, None, view))
            }
            Self::Show { network } => {
                let answer = client.get(&path::fill(path::NETWORK, &[&network]), &[]).await?;
                let waiting =
                    if console.global.json { None } else { Some(waiting(&client, &network).await?) };
                console.show(&answer, |network, view| one(network, waiting, view))
            }
            Self::Update { network, name, keepalive, access, approval, hub, domain, dry_run } => {
                let body = PatchNetwork {
                    name,
                    keepalive,
                    access: access.map(Into::into),
                    approval: switched(approval),
                    hub: OrNone::edit(hub),
                    domain: OrNone::edit(domain),
                };
                let path = path::fill(path::NETWORK, &[&network]);
                let answer = client.patch_or_try(&path, &body, dry_run).await?;
                console.show_written(&answer, dry_run, |network, view| one(network, None, view))
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

/// How many nodes wait to be let in.
async fn waiting(client: &Client, network: &str) -> Result<usize, Failure> {
    let nodes = client.list(&path::fill(path::NODES, &[network]), &[], None).await?;
    let nodes: Vec<api::Node> = meaning(&nodes)?;
    Ok(nodes.iter().filter(|node| node.pending).count())
}

fn access(access: api::Access) -> String {
    match access {
        api::Access::Allow => "allow",
        api::Access::Deny => "deny",
    }
    .to_owned()
}

fn ranges(network: &api::Network) -> String {
    let v4 = network.v4.map(|range| range.to_string());
    joined(v4.into_iter().chain(network.v6.map(|range| range.to_string())))
}

fn all(networks: &[api::Network], view: &View) -> String {
    let head = ["name", "ranges", "access", "nodes", "created"];
    let empty = "No networks yet. Make one with `netloom network create NAME`.";
    table(
        view,
        head,
        networks,
        |n| [n.name.to_string(), ranges(n), access(n.access), n.nodes.to_string(), view.moment(n.created)],
        empty,
    )
}

/// `waiting` nodes are to be let in, where they were counted.
fn one(network: &api::Network, waiting: Option<usize>, view: &View) -> String {
    let waiting = waiting.filter(|count| network.approval || *count > 0);
    let hub = network.hub.as_ref().map(|hub| hub.host_name.to_string());
    let domain = network.domain.as_ref().map(ToString::to_string);
    details(
        view,
        &[
            ("Name", network.name.to_string()),
            ("Id", network.id.to_string()),
            ("Ranges", ranges(network)),
            ("Keepalive", format!("{} seconds", network.keepalive)),
            ("Access", access(network.access)),
            ("Approval", on_off(network.approval)),
            ("Hub", hub.unwrap_or_default()),
            ("Domain", domain.unwrap_or_else(|| format!("{}, below the server's domain", network.name))),
            ("Nodes", network.nodes.to_string()),
            ("Waiting", waiting.map(|count| format!("{count} to be let in")).unwrap_or_default()),
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
            "NAME  RANGES                    ACCESS  NODES  CREATED\n\
             home  10.1.0.0/16, fd00:1::/64  allow   3      2027-01-15T08:00:00.000Z"
        );
        let text = one(&network, Some(2), &view);
        for line in [
            "Keepalive  20 seconds",
            "Domain     home, below the server's domain",
            "Waiting    2 to be let in",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!one(&network, Some(0), &view).contains("Waiting") && !text.contains("Hub"));
    }
}
