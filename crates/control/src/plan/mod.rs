//! The plan: what each host must know. `host_map` is the definition; `Touched` and `deltas` are the fast way to the same,
//! at the cost of what changed.
//!
//! Not for sending, numbering or keeping maps: that is the server's. It keeps true that a host learns of another only where
//! `may_talk` says so, that this is symmetric, and that the same input gives the same map.

mod deltas;
mod touched;

use std::collections::{BTreeMap, BTreeSet};

use model::{Generation, Host, HostId, Mtu, NetworkId, Node};
use wire::{HostMap, Membership, OwnHost, Peer, PeerNode, ServerLinks};

pub use deltas::{Deltas, HostDelta, deltas};
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
    let picture = Picture {
        intent,
        inventory,
        links,
    };
    let own = own_host(&picture, host)?;
    let networks = intent.nodes_of_host(host);
    let networks = networks
        .filter_map(|node| Some((node.network, membership(intent, node)?)))
        .collect();
    let peers = peers_of(intent, host).into_iter();
    let peers: BTreeMap<_, _> = peers
        .filter_map(|peer| Some((peer, peer_entry(&picture, peer, &shared(intent, host, peer))?)))
        .collect();
    Some(HostMap {
        generation,
        host: own,
        server: links.clone(),
        networks,
        peers,
    })
}

/// Whether the two may talk: they share a network in which both take part.
pub fn may_talk(intent: &Intent, one: HostId, other: HostId) -> bool {
    !shared(intent, one, other).is_empty()
}

/// Everybody whom this host may talk to.
pub fn peers_of(intent: &Intent, host: HostId) -> BTreeSet<HostId> {
    let own = intent.nodes_of_host(host).filter(|node| node.connected);
    let nodes = own.flat_map(|node| intent.nodes_in_network(node.network, None));
    nodes
        .filter(|node| node.connected && node.host != host)
        .map(|node| node.host)
        .collect()
}

/// The networks in which both take part, by id.
fn shared(intent: &Intent, one: HostId, other: HostId) -> Vec<NetworkId> {
    if one == other {
        return Vec::new();
    }
    let own = intent.nodes_of_host(one).filter(|node| node.connected);
    let takes_part = |network: &NetworkId| intent.node_of(other, *network).is_some_and(|node| node.connected);
    own.map(|node| node.network).filter(takes_part).collect()
}

fn own_host(picture: &Picture<'_>, host: HostId) -> Option<OwnHost> {
    let Host { id, name, mtu, .. } = picture.intent.host(host)?;
    let seen = picture.inventory.host(host);
    Some(OwnHost {
        id: *id,
        name: name.clone(),
        mtu: mtu.unwrap_or(Mtu::DEFAULT),
        seen: seen.map(HostInventory::seen).unwrap_or_default(),
        nat: seen.map(HostInventory::nat).unwrap_or_default(),
    })
}

fn membership(intent: &Intent, node: &Node) -> Option<Membership> {
    let network = intent.network(node.network)?;
    Some(Membership {
        name: network.name.clone(),
        ranges: network.ranges,
        addresses: node.addresses,
        connected: node.connected,
        keepalive: network.keepalive,
    })
}

/// A host as those see it that share these networks with it. Nothing in it depends on who looks, beside the networks.
fn peer_entry(picture: &Picture<'_>, peer: HostId, shared: &[NetworkId]) -> Option<Peer> {
    let Host {
        name,
        wireguard_key,
        static_endpoint,
        ..
    } = picture.intent.host(peer)?;
    let node = |network: &NetworkId| picture.intent.node_of(peer, *network);
    let nodes = shared.iter().filter_map(node);
    let nodes = nodes
        .map(|node| PeerNode {
            network: node.network,
            addresses: node.addresses,
        })
        .collect();
    let seen = picture.inventory.host(peer);
    Some(Peer {
        name: name.clone(),
        key: *wireguard_key,
        nodes,
        seen: seen.map(HostInventory::seen).unwrap_or_default(),
        local: seen.map(|seen| seen.local.clone()).unwrap_or_default(),
        fixed: *static_endpoint,
        nat: seen.map(HostInventory::nat).unwrap_or_default(),
    })
}
