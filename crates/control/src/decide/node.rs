//! Nodes: which host is in which network, with which addresses, and whether it takes part.

use std::collections::BTreeSet;

use model::{Addresses, Duties, Host, HostId, Network, NetworkId, NetworkName, Node, NodeId, Tag, Timestamp};
use wire::NodeSwitch;

use super::{Decision, bounds, changed, draft::Draft, egress, host, names, network, removal, token, ways};
use crate::{AddressList, Edit, Env, Intent, Names, NodeEdit, RecordChange, Rejection, allocate};

/// A node to make.
pub(super) struct New {
    pub(super) host: HostId,
    pub(super) network: NetworkId,
    pub(super) addresses: Option<Addresses>,
    pub(super) tags: BTreeSet<Tag>,
}

/// A new node of a host in a network.
pub(super) fn new(
    intent: &Intent,
    host: &Host,
    network: &Network,
    wanted: Addresses,
    tags: BTreeSet<Tag>,
    env: &mut Env<'_>,
) -> Result<Node, Rejection> {
    names::check(intent, network, &host.name, Some(host.id.into()))?;
    egress::check_host(intent, host, network)?;
    let addresses = allocate::addresses(intent, network, wanted)?;
    let id = NodeId::new(env.now, env.bytes());
    Ok(Node {
        id,
        host: host.id,
        network: network.id,
        addresses,
        connected: true,
        pending: false,
        tags,
        duties: Duties::default(),
        relay: None,
        internet: None,
        expires: None,
        created: env.now,
    })
}

/// Whether the node has every address that is wanted.
fn has(node: &Node, wanted: Addresses) -> bool {
    wanted.iter().all(|wanted| node.addresses.iter().any(|ip| ip == wanted))
}

pub(super) fn add(intent: &Intent, new: New, env: &mut Env<'_>) -> Decision {
    let host = host::find(intent, new.host)?;
    let network = network::find(intent, new.network)?;
    let wanted = new.addresses.unwrap_or_default();
    bounds::tags(&new.tags)?;
    match intent.node_of(host.id, network.id) {
        None => Ok(vec![RecordChange::made(self::new(intent, host, network, wanted, new.tags, env)?)]),
        Some(node) if has(node, wanted) && new.tags.is_subset(&node.tags) => Ok(Vec::new()),
        Some(node) => Err(Rejection::NodeExists {
            host: host.name.clone(),
            network: network.name.clone(),
            addresses: AddressList(node.addresses),
        }),
    }
}

pub(super) fn find(intent: &Intent, node: NodeId) -> Result<&Node, Rejection> {
    intent.node(node).ok_or(Rejection::NoSuchNode { node })
}

pub(super) fn update(intent: &Intent, node: NodeId, edit: NodeEdit, now: Timestamp) -> Decision {
    let before = find(intent, node)?;
    let after = edited(intent, before, edit, now)?;
    refuse_missed(intent, before, &after)?;
    let mut draft = Draft::of(intent);
    draft.put(after.clone());
    check(draft.now(), Some(before), &after)?;
    Ok(draft.finish())
}

/// Whether a node can be so, where it is other than before; `intent` is with it as it is to be.
pub(super) fn check(intent: &Intent, before: Option<&Node>, after: &Node) -> Result<(), Rejection> {
    bounds::tags(&after.tags)?;
    let ways = |node: &Node| (node.duties, node.relay, node.internet);
    if before.is_some_and(|before| ways(before) == ways(after)) {
        return Ok(());
    }
    ways::check(intent, after)
}

fn edited(intent: &Intent, before: &Node, edit: NodeEdit, now: Timestamp) -> Result<Node, Rejection> {
    let mut after = before.clone();
    after.connected = edit.connected.unwrap_or(after.connected);
    after.pending &= !edit.approve;
    if let Some(wanted) = edit.addresses {
        let network = network::find(intent, before.network)?;
        after.addresses = allocate::renumber(intent, network, before.addresses, wanted)?;
    }
    edit.tags.apply(&mut after.tags);
    after.duties.remote_access = edit.remote_access.unwrap_or(after.duties.remote_access);
    after.duties.internet = edit.internet_gateway.unwrap_or(after.duties.internet);
    if let Edit::Set(relay) = edit.relay {
        if relay == before.id {
            return Err(Rejection::ThroughItself { node: names::at(intent, before) });
        }
        ways::named(intent, before.network, relay)?;
    }
    edit.relay.apply(&mut after.relay);
    edit.internet.apply(&mut after.internet);
    if let Edit::Set(expires) = edit.expires {
        token::check_expiry(Some(expires), now)?;
    }
    edit.expires.apply(&mut after.expires);
    Ok(after)
}

/// Refuses to take a duty from a node that others need it for.
fn refuse_missed(intent: &Intent, before: &Node, after: &Node) -> Result<(), Rejection> {
    let at = || names::at(intent, before);
    if before.duties.remote_access && !after.duties.remote_access {
        let clients = Names::quoted(intent.clients_of_gateway(before.id).map(|client| &client.name));
        if !clients.0.is_empty() {
            return Err(Rejection::GatewayInUse { node: at(), clients });
        }
    }
    if before.duties.internet && !after.duties.internet {
        let nodes = intent.nodes_of_internet(before.id).map(|node| names::of_host(intent, node));
        let clients = intent.clients_of_gateway(before.id).filter(|client| client.full_tunnel);
        let users = Names::quoted(nodes.chain(clients.map(|client| client.name.clone())));
        if !users.0.is_empty() {
            return Err(Rejection::InternetGatewayInUse { node: at(), users });
        }
    }
    Ok(())
}

pub(super) fn remove(intent: &Intent, node: NodeId) -> Decision {
    removal::refuse_needed(intent, find(intent, node)?)?;
    let mut draft = Draft::of(intent);
    removal::node(&mut draft, node);
    Ok(draft.finish())
}

/// The node of a host in a network that it names. To a host, a network that it is not in and one that does not exist
/// are the same.
pub(super) fn own<'a>(
    intent: &'a Intent,
    host: HostId,
    network: &NetworkName,
) -> Result<&'a Node, Rejection> {
    let Host { name, .. } = host::find(intent, host)?;
    let found = intent.network_by_name(network).and_then(|network| intent.node_of(host, network.id));
    found.ok_or_else(|| Rejection::NotInNetwork { host: name.clone(), network: network.clone() })
}

pub(super) fn own_switch(intent: &Intent, host: HostId, switch: &NodeSwitch) -> Decision {
    let node = own(intent, host, &switch.network)?;
    Ok(changed(node, Node { connected: switch.connected, ..node.clone() }))
}
