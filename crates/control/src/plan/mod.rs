//! The plan: what each host must know. `host_map` is the definition. `Touched`, `Roster` and `deltas` are the fast way to the
//! same, at the cost of what changed and of who hears of it; `Roster::answer` and `catch_up` are, for a host that was away.
//!
//! Not for sending, numbering or keeping maps: that is the server's. It keeps true that a host learns of another only where
//! `may_talk` says so, that this is symmetric, and that the same input gives the same map.

mod answer;
mod changes;
mod deltas;
mod log;
mod roster;
mod touched;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use model::{Generation, Host, HostId, Mtu, NetworkId, Node};
use wire::{HostMap, Membership, OwnHost, Peer, PeerNode, ServerLinks};

pub use answer::Differing;
pub use deltas::{Deltas, HostDelta, MOST_TOLD, deltas, deltas_within};
pub use log::{Log, catch_up};
pub use roster::{Bucket, Roster};
pub use touched::Touched;

use crate::{HostInventory, Intent, Inventory};

/// All that maps are made of, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// What people want.
    pub intent: &'a Intent,
    /// What was seen.
    pub inventory: &'a Inventory,
    /// The server's doors.
    pub links: &'a ServerLinks,
}

/// All that this host must know; none for a host that does not exist.
pub fn host_map(
    intent: &Intent,
    inventory: &Inventory,
    links: &ServerLinks,
    host: HostId,
    generation: Generation,
) -> Option<HostMap> {
    let picture = Picture { intent, inventory, links };
    let own = own_host(&picture, host)?;
    let networks = memberships(intent, host).collect();
    let peers = nodes_of_peers(intent, host).into_iter();
    let peers =
        peers.filter_map(|(peer, nodes)| Some((peer.into(), peer_entry(&picture, peer, nodes)?))).collect();
    Some(HostMap { generation, host: own, server: links.clone(), networks, peers })
}

/// Whether the two may talk: they share a network in which both take part.
pub fn may_talk(intent: &Intent, one: HostId, other: HostId) -> bool {
    !shared(intent, one, other).is_empty()
}

/// Everybody whom this host may talk to.
pub fn peers_of(intent: &Intent, host: HostId) -> BTreeSet<HostId> {
    let nodes = takes_part(intent, host).flat_map(|network| others(intent, network, Some(host)));
    nodes.map(|node| node.host).collect()
}

/// The networks in which the host takes part, by id.
fn takes_part(intent: &Intent, host: HostId) -> impl Iterator<Item = NetworkId> {
    intent.nodes_of_host(host).filter(|node| node.connected).map(|node| node.network)
}

/// Who takes part in the network, but for this host.
fn others(intent: &Intent, network: NetworkId, but: Option<HostId>) -> impl Iterator<Item = &Node> {
    intent.nodes_in_network(network, None).filter(move |node| node.connected && Some(node.host) != but)
}

/// Everybody whom this host may talk to, with their nodes in the networks they share. One walk over these networks.
fn nodes_of_peers(intent: &Intent, host: HostId) -> BTreeMap<HostId, Vec<PeerNode>> {
    let mut peers: BTreeMap<HostId, Vec<PeerNode>> = BTreeMap::new();
    for network in takes_part(intent, host) {
        for node in others(intent, network, Some(host)) {
            peers.entry(node.host).or_default().push(as_seen(node));
        }
    }
    peers
}

fn as_seen(node: &Node) -> PeerNode {
    PeerNode::new(node.network, node.addresses)
}

/// The networks in which both take part, by id.
fn shared(intent: &Intent, one: HostId, other: HostId) -> Vec<NetworkId> {
    if one == other {
        return Vec::new();
    }
    let both = |network: &NetworkId| intent.node_of(other, *network).is_some_and(|node| node.connected);
    takes_part(intent, one).filter(both).collect()
}

fn own_host(picture: &Picture<'_>, host: HostId) -> Option<OwnHost> {
    let Host { id, name, mtu, rotate, .. } = picture.intent.host(host)?;
    let seen = picture.inventory.host(host);
    Some(OwnHost {
        id: *id,
        name: name.clone(),
        mtu: mtu.unwrap_or(Mtu::DEFAULT),
        seen: seen.map(HostInventory::seen).unwrap_or_default(),
        nat: seen.map(HostInventory::nat).unwrap_or_default(),
        rotate: *rotate,
    })
}

/// What the host is in, by network id.
fn memberships(intent: &Intent, host: HostId) -> impl Iterator<Item = (NetworkId, Membership)> {
    let nodes = intent.nodes_of_host(host);
    nodes.filter_map(|node| Some((node.network, membership(intent, node)?)))
}

fn membership(intent: &Intent, node: &Node) -> Option<Membership> {
    let network = intent.network(node.network)?;
    Some(Membership {
        addresses: node.addresses,
        connected: node.connected,
        pending: node.pending,
        keepalive: network.keepalive,
        ..Membership::plain(network.name.clone(), network.ranges)
    })
}

/// A host as those see it that share these nodes' networks with it. Nothing else in it depends on who looks.
fn peer_entry(picture: &Picture<'_>, peer: HostId, nodes: Vec<PeerNode>) -> Option<Peer> {
    let Host { name, wireguard_key, static_endpoint, .. } = picture.intent.host(peer)?;
    let seen = picture.inventory.host(peer);
    Some(Peer {
        name: name.clone(),
        key: Some(*wireguard_key),
        nodes,
        seen: seen.map(HostInventory::seen).unwrap_or_default(),
        local: seen.map(|seen| seen.local.clone()).unwrap_or_default(),
        fixed: *static_endpoint,
        nat: seen.map(HostInventory::nat).unwrap_or_default(),
    })
}
