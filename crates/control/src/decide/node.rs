//! Nodes: which host is in which network, with which addresses, and whether it takes part.

use std::collections::BTreeSet;

use model::{Addresses, Duties, Host, HostId, Network, NetworkId, NetworkName, Node, NodeId, Tag, Timestamp};
use wire::NodeSwitch;

use super::{Decision, changed, host, network};
use crate::{AddressList, Env, Intent, NodeEdit, RecordChange, Rejection, allocate};

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
    host: HostId,
    network: &Network,
    wanted: Addresses,
    tags: BTreeSet<Tag>,
    env: &mut Env<'_>,
) -> Result<Node, Rejection> {
    let addresses = allocate::addresses(intent, network, wanted)?;
    let id = NodeId::new(env.now, env.bytes());
    Ok(Node {
        id,
        host,
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
    let Host { id: host, name, .. } = host::find(intent, new.host)?;
    let network = network::find(intent, new.network)?;
    let wanted = new.addresses.unwrap_or_default();
    match intent.node_of(*host, network.id) {
        None => Ok(vec![RecordChange::made(self::new(intent, *host, network, wanted, new.tags, env)?)]),
        Some(node) if has(node, wanted) && new.tags.is_subset(&node.tags) => Ok(Vec::new()),
        Some(node) => Err(Rejection::NodeExists {
            host: name.clone(),
            network: network.name.clone(),
            addresses: AddressList(node.addresses),
        }),
    }
}

fn find(intent: &Intent, node: NodeId) -> Result<&Node, Rejection> {
    intent.node(node).ok_or(Rejection::NoSuchNode { node })
}

pub(super) fn update(intent: &Intent, node: NodeId, edit: NodeEdit, _now: Timestamp) -> Decision {
    let before = find(intent, node)?;
    let mut after = before.clone();
    after.connected = edit.connected.unwrap_or(after.connected);
    after.pending &= !edit.approve;
    after.tags = edit.tags.unwrap_or(after.tags);
    after.duties.remote_access = edit.remote_access.unwrap_or(after.duties.remote_access);
    after.duties.internet = edit.internet_gateway.unwrap_or(after.duties.internet);
    edit.relay.apply(&mut after.relay);
    edit.internet.apply(&mut after.internet);
    edit.expires.apply(&mut after.expires);
    Ok(changed(before, after))
}

pub(super) fn remove(intent: &Intent, node: NodeId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, node)?.clone())])
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
