//! `netloom gateway`: which nodes do what for others, in one table; and the two duties that are a switch of the node.
//!
//! The API has no list of gateways: it is put together of nodes, networks and egress ranges. It keeps true that `--json` names
//! the same as the table.

use api::{PatchNode, path};
use clap::{Subcommand, ValueEnum};
use model::NetworkName;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::command::node;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::render::{View, counted, joined, online, or_dash, table};

/// Nodes with duties.
#[derive(Debug, Subcommand)]
pub enum Gateway {
    /// List who does what, in one network or in all
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: Option<String>,
    },
    /// Give a node a duty
    Enable(Switch),
    /// Take a duty from a node
    Disable(Switch),
}

/// Which duty of which node.
#[derive(Debug, clap::Args)]
pub struct Switch {
    /// The duty
    #[arg(value_enum)]
    duty: Duty,
    /// The network's name or id
    network: String,
    /// The host's name or id, or the node's id
    host: String,
}

/// A duty that is a switch of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Duty {
    /// Let remote access clients in
    RemoteAccess,
    /// Be a way to everything, for those who choose it
    Internet,
    /// Not a switch of this node: others name it
    #[value(hide = true)]
    Relay,
    /// The same
    #[value(hide = true)]
    Hub,
    /// The same
    #[value(hide = true)]
    Egress,
}

/// A duty of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    network: NetworkName,
    host: String,
    #[serde(flatten)]
    duty: Does,
    online: bool,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "duty", rename_all = "snake_case")]
enum Does {
    RemoteAccess { clients: u64 },
    Internet { users: u64 },
    Hub { users: u64 },
    Relay { users: Vec<String> },
    Egress { egress: String, range: ipnet::IpNet, priority: u16, place: Place },
}

/// A router's place among those of an egress range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    First,
    Behind,
    Offline,
    Disabled,
}

impl Gateway {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::List { network } => {
                let mut rows = Vec::new();
                for network in networks(&client, network).await? {
                    rows.extend(look(&client, &network).await?);
                }
                let answer =
                    serde_json::to_value(rows).map_err(|error| Failure::Answer(error.to_string()))?;
                console.show(&answer, |rows: &Vec<Row>, view| all(rows, view))
            }
            Self::Enable(switch) => switch.turn(&client, console, true).await,
            Self::Disable(switch) => switch.turn(&client, console, false).await,
        }
    }
}

impl Switch {
    async fn turn(self, client: &Client, console: &mut Console, on: bool) -> Result<(), Failure> {
        let Self { duty, network, host } = &self;
        let body = match duty {
            Duty::RemoteAccess => Ok(PatchNode { remote_access: Some(on), ..PatchNode::default() }),
            Duty::Internet => Ok(PatchNode { internet_gateway: Some(on), ..PatchNode::default() }),
            Duty::Relay => {
                Err(format!("`netloom node update {network} NODE --relay {host}`, or `--relay none`"))
            }
            Duty::Hub => Err(format!("`netloom network update {network} --hub {host}`, or `--hub none`")),
            Duty::Egress => {
                Err(format!("`netloom egress create {network} NAME RANGE --router {host}`, or `update`"))
            }
        };
        let body = body.map_err(|how| {
            Failure::Usage(format!("that is no switch of a node: it is whom others name, as in {how}"))
        })?;
        let answer = client.patch(&path::fill(path::NODE, &[network, host]), &body).await?;
        console.show(&answer, node::one)
    }
}

async fn networks(client: &Client, wanted: Option<String>) -> Result<Vec<api::Network>, Failure> {
    match wanted {
        Some(name) => Ok(vec![meaning(&client.get(&path::fill(path::NETWORK, &[&name]), &[]).await?)?]),
        None => meaning(&client.list(path::NETWORKS, &[], None).await?),
    }
}

async fn look(client: &Client, network: &api::Network) -> Result<Vec<Row>, Failure> {
    let id = network.id.to_string();
    let list = |template| path::fill(template, &[&id]);
    let nodes: Vec<api::Node> = meaning(&client.list(&list(path::NODES), &[], None).await?)?;
    let clients: Vec<api::Client> = meaning(&client.list(&list(path::CLIENTS), &[], None).await?)?;
    let egresses: Vec<api::Egress> = meaning(&client.list(&list(path::EGRESSES), &[], None).await?)?;
    Ok(rows(network, &nodes, &clients, &egresses))
}

fn rows(
    network: &api::Network,
    nodes: &[api::Node],
    clients: &[api::Client],
    egresses: &[api::Egress],
) -> Vec<Row> {
    let mut rows = Vec::new();
    for node in nodes {
        let duties = of_node(network, node, nodes, clients).into_iter().chain(of_router(node, egresses));
        rows.extend(duties.map(|duty| Row {
            network: network.name.clone(),
            host: node.host_name.to_string(),
            duty,
            online: node.online,
        }));
    }
    rows.sort_by(|a, b| a.host.cmp(&b.host));
    rows
}

fn of_node(
    network: &api::Network,
    node: &api::Node,
    nodes: &[api::Node],
    clients: &[api::Client],
) -> Vec<Does> {
    let mut duties = Vec::new();
    if node.remote_access {
        let comes = |client: &&api::Client| client.gateways.iter().any(|gateway| gateway.id == node.id);
        duties.push(Does::RemoteAccess { clients: clients.iter().filter(comes).count() as u64 });
    }
    if node.internet_gateway {
        let goes = |other: &&api::Node| {
            other.internet.as_ref().and_then(|used| used.gateway.as_ref()).is_some_and(|by| by.id == node.id)
        };
        duties.push(Does::Internet { users: nodes.iter().filter(goes).count() as u64 });
    }
    if network.hub.as_ref().is_some_and(|hub| hub.id == node.id) {
        let behind = |other: &&api::Node| {
            other.relay.is_none() && other.relayed_by.as_ref().is_some_and(|by| by.id == node.id)
        };
        duties.push(Does::Hub { users: nodes.iter().filter(behind).count() as u64 });
    }
    let names = |other: &&api::Node| other.relay.as_ref().is_some_and(|relay| relay.id == node.id);
    let users: Vec<String> = nodes.iter().filter(names).map(|other| other.host_name.to_string()).collect();
    if !users.is_empty() {
        duties.push(Does::Relay { users });
    }
    duties
}

fn of_router(node: &api::Node, egresses: &[api::Egress]) -> Vec<Does> {
    let mut duties = Vec::new();
    for egress in egresses {
        let Some(router) = egress.routers.iter().find(|router| router.node.id == node.id) else {
            continue;
        };
        let first = egress.routers.iter().find(|router| router.online);
        let place = match (egress.enabled, router.online) {
            (false, _) => Place::Disabled,
            (true, false) => Place::Offline,
            (true, true) if first.is_some_and(|first| first.node.id == node.id) => Place::First,
            (true, true) => Place::Behind,
        };
        duties.push(Does::Egress {
            egress: egress.name.to_string(),
            range: egress.reached_as,
            priority: router.priority,
            place,
        });
    }
    duties
}

fn all(rows: &[Row], view: &View) -> String {
    table(
        view,
        ["network", "host", "duty", "for", "state"],
        rows,
        |row| {
            let (duty, whom) = told(&row.duty);
            [row.network.to_string(), row.host.clone(), duty, or_dash(whom), online(row.online)]
        },
        "No node has a duty yet. Give one: `netloom gateway enable remote-access NETWORK HOST`.",
    )
}

fn told(duty: &Does) -> (String, String) {
    let (duty, whom) = match duty {
        Does::RemoteAccess { clients } => ("remote access", counted(*clients, "client")),
        Does::Internet { users } => ("internet", counted(*users, "node")),
        Does::Hub { users } => ("hub", counted(*users, "node")),
        Does::Relay { users } => ("relay", joined(users)),
        Does::Egress { egress, range, priority, place } => {
            let place = match place {
                Place::First => "first in line",
                Place::Behind => "behind another",
                Place::Offline => "offline",
                Place::Disabled => "disabled",
            };
            ("egress", format!("{egress} ({range}), priority {priority}, {place}"))
        }
    };
    (duty.to_owned(), whom)
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn id(number: u8) -> String {
        model::NodeId::from_bytes([number; 16]).to_string()
    }

    fn named(number: u8, host: &str) -> Value {
        json!({ "id": id(number), "host": id(number + 100), "host_name": host })
    }

    fn node(number: u8, host: &str, more: Value) -> api::Node {
        let mut node = json!({
            "id": id(number), "network": id(1), "network_name": "home", "host": id(number + 100),
            "host_name": host, "connected": true, "online": number != 4, "created": NOW,
        });
        for (key, value) in more.as_object().unwrap() {
            node[key] = value.clone();
        }
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn every_duty_is_a_line() {
        let hub = named(2, "gw");
        let network: api::Network = serde_json::from_value(json!({
            "id": id(1), "name": "home", "v4": null, "v6": null, "keepalive": 20, "hub": hub, "nodes": 3,
            "created": NOW,
        }))
        .unwrap();
        let nodes = [
            node(2, "gw", json!({ "remote_access": true, "internet_gateway": true })),
            node(3, "web", json!({ "relayed_by": hub, "internet": { "gateway": hub, "lan": true } })),
            node(4, "db", json!({ "relay": named(3, "web"), "relayed_by": named(3, "web") })),
        ];
        let router = |number: u8, host: &str, online: bool| json!({ "node": named(number, host), "priority": number, "online": online });
        let egress: api::Egress = serde_json::from_value(json!({
            "id": id(7), "network": id(1), "network_name": "home", "name": "office", "range": "10.9.0.0/16",
            "mapped": null, "reached_as": "10.9.0.0/16", "nat": true, "enabled": true, "created": NOW,
            "routers": [router(4, "db", false), router(2, "gw", true), router(3, "web", true)],
        }))
        .unwrap();
        let rows = rows(&network, &nodes, &[], &[egress]);
        let expected = "\
NETWORK  HOST  DUTY           FOR                                              STATE
home     db    egress         office (10.9.0.0/16), priority 4, offline        offline
home     gw    remote access  0 clients                                        online
home     gw    internet       1 node                                           online
home     gw    hub            1 node                                           online
home     gw    egress         office (10.9.0.0/16), priority 2, first in line  online
home     web   relay          db                                               online
home     web   egress         office (10.9.0.0/16), priority 3, behind another  online";
        let text = all(&rows, &View { now: NOW, width: None });
        let squeezed = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(squeezed(&text), squeezed(expected));
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[0]["duty"], "egress");
        assert_eq!(serde_json::from_value::<Vec<Row>>(json).unwrap(), rows);
    }
}
