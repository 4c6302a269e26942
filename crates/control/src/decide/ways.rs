//! Who is reached through whom: relays, hubs, gateways, and the way to the internet.
//!
//! Not for what hosts are told (`plan`). It keeps true that there are no chains: a node that is reached through another one,
//! its own relay or its network's hub, is no gateway, router, relay or hub; and that it reaches the internet the same way. A host
//! has one way to the internet over all of its networks, and is none for others then.

use model::{InternetUse, Network, NetworkId, Node, NodeId};

use super::{names, node};
use crate::{Intent, Names, Rejection, WayOut};

/// A node of the network that has been let in, to be named as somebody's way.
pub(super) fn named(intent: &Intent, network: NetworkId, id: NodeId) -> Result<&Node, Rejection> {
    let found = node::find(intent, id)?;
    if found.network != network {
        let network = names::of_network(intent, network);
        return Err(Rejection::NodeElsewhere { node: names::at(intent, found), network });
    }
    if found.pending {
        return Err(Rejection::NodePending { node: names::at(intent, found) });
    }
    Ok(found)
}

/// What a node is to others, in words.
fn serves(intent: &Intent, node: &Node) -> Vec<String> {
    let mut duties = Vec::new();
    if node.duties.remote_access {
        duties.push("a remote access gateway".to_owned());
    }
    if node.duties.internet {
        duties.push("an internet gateway".to_owned());
    }
    if intent.network(node.network).is_some_and(|network| network.hub == Some(node.id)) {
        duties.push("the hub".to_owned());
    }
    duties.extend(intent.egresses_of_router(node.id).map(|egress| format!("a router of `{}`", egress.name)));
    let relayed = intent.nodes_of_relay(node.id);
    duties.extend(relayed.map(|other| format!("the relay of `{}`", names::of_host(intent, other))));
    duties
}

/// Refuses a node that is reached through another one and is a way for others, or itself goes more ways than one.
pub(super) fn check(intent: &Intent, node: &Node) -> Result<(), Rejection> {
    if let Some(relay) = intent.relay_of(node) {
        check_relayed(intent, node, relay)?;
    }
    check_elsewhere(intent, node)?;
    let Some(used) = node.internet else {
        return Ok(());
    };
    if let Some(gateway) = used.gateway {
        let gateway = named(intent, node.network, gateway)?;
        if gateway.id == node.id {
            return Err(Rejection::ThroughItself { node: names::at(intent, node) });
        }
        if !gateway.duties.internet {
            return Err(Rejection::NotAnInternetGateway { node: names::at(intent, gateway) });
        }
    }
    if node.duties.internet {
        let gateway = way_out(intent, node, used);
        return Err(Rejection::InternetGatewayUses { node: names::at(intent, node), gateway });
    }
    Ok(())
}

/// The internet gateway that a node uses, in a sentence.
fn way_out(intent: &Intent, node: &Node, used: InternetUse) -> WayOut {
    let gateway = used.gateway.and_then(|gateway| intent.node(gateway));
    WayOut {
        gateway: gateway.map(|gateway| names::of_host(intent, gateway)),
        network: names::of_network(intent, node.network),
    }
}

/// Refuses what does not go together with the way to the internet of the same host in another network: what it carries there
/// would go on through the next gateway, or round in a loop.
fn check_elsewhere(intent: &Intent, node: &Node) -> Result<(), Rejection> {
    let gateway = |node: &Node| node.internet.map(|used| way_out(intent, node, used));
    let own = gateway(node);
    for other in intent.nodes_of_host(node.host).filter(|other| other.id != node.id) {
        let (serving, used) = match (own.clone(), gateway(other)) {
            (Some(gateway), Some(other)) => {
                let host = names::of_host(intent, node);
                return Err(Rejection::InternetUsedTwice { host, gateway, other });
            }
            (Some(gateway), None) => (other, gateway),
            (None, Some(gateway)) => (node, gateway),
            (None, None) => continue,
        };
        if serving.duties.internet {
            let node = names::at(intent, serving);
            return Err(Rejection::InternetGatewayUsesElsewhere { node, gateway: used });
        }
    }
    Ok(())
}

fn check_relayed(intent: &Intent, node: &Node, relay: &Node) -> Result<(), Rejection> {
    named(intent, node.network, relay.id)?;
    let at = || names::at(intent, node);
    let name = names::of_host(intent, relay);
    if let Some(next) = intent.relay_of(relay) {
        let next = names::of_host(intent, next);
        return Err(Rejection::RelayChain { node: at(), relay: name, next });
    }
    let duties = serves(intent, node);
    if !duties.is_empty() {
        return Err(Rejection::RelayedServes { node: at(), relay: name, duties: Names(duties) });
    }
    let other = node.internet.and_then(|used| used.gateway).filter(|gateway| *gateway != relay.id);
    match other.and_then(|gateway| intent.node(gateway)) {
        Some(gateway) => {
            let gateway = names::of_host(intent, gateway);
            Err(Rejection::RelayedInternet { node: at(), relay: name, gateway })
        }
        None => Ok(()),
    }
}

/// Refuses a node that is reached through another one as this.
pub(super) fn check_free_for(intent: &Intent, node: &Node, duty: String) -> Result<(), Rejection> {
    match intent.relay_of(node) {
        None => Ok(()),
        Some(relay) => {
            let relay = names::of_host(intent, relay);
            let node = names::at(intent, node);
            Err(Rejection::RelayedServes { node, relay, duties: Names(vec![duty]) })
        }
    }
}

/// Refuses a hub that is reached through another node, and one whose spokes are ways for others.
pub(super) fn check_hub(intent: &Intent, network: &Network) -> Result<(), Rejection> {
    let Some(hub) = network.hub else {
        return Ok(());
    };
    let hub = named(intent, network.id, hub)?;
    check_free_for(intent, hub, "the hub".to_owned())?;
    let mut serving = Vec::new();
    for spoke in intent.nodes_in_network(network.id, None).filter(|node| node.id != hub.id) {
        let duties = serves(intent, spoke);
        if !duties.is_empty() {
            serving.push(format!("`{}` ({})", names::of_host(intent, spoke), Names(duties)));
        }
    }
    if !serving.is_empty() {
        let hub = names::of_host(intent, hub);
        return Err(Rejection::HubServes { hub, network: network.name.clone(), serving: Names(serving) });
    }
    Ok(())
}
