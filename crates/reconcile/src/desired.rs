//! What this machine should have, derived from its host map and its own settings.
//!
//! Addresses stand alone (/32, /128) and each range has an explicit route with our mark and a preferred source. With the
//! range's prefix on the address instead, the kernel would make routes without our mark, broadcast addresses and
//! secondary addresses that vanish with their primary; and with several networks on one interface it would choose the
//! source address by itself, and the peers would drop what comes from the wrong one.
//!
//! It keeps true that nothing is allowed that the map does not give: an address counts only within a range of a network
//! that this host takes part in, is never this host's own, and belongs to one peer alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Endpoint, Keepalive, Mtu, WgPublicKey};
use wire::{HostMap, Membership, Peer};

use crate::{LinkKind, LinkName, LocalSettings};

/// What should exist under the link's name. Holds no private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The link's name.
    pub link: LinkName,
    /// This host's key: a WireGuard link with another key is somebody else's, whatever its name.
    pub key: WgPublicKey,
    /// The interface; none when the machine is to be as if we had never been there.
    pub interface: Option<Interface>,
}

/// The one interface of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Whose WireGuard.
    pub kind: LinkKind,
    /// Its MTU.
    pub mtu: Mtu,
    /// Its UDP port.
    pub port: u16,
    /// Its addresses, each alone (/32, /128): the ranges are reached by `routes`.
    pub addresses: BTreeSet<IpAddr>,
    /// The networks' ranges and the address to speak from there.
    pub routes: BTreeMap<IpNet, IpAddr>,
    /// Its WireGuard peers, those of the rendezvous too.
    pub peers: BTreeMap<WgPublicKey, DesiredPeer>,
}

/// A WireGuard peer as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredPeer {
    /// Its addresses; no two peers share one. Empty for the rendezvous.
    pub allowed: BTreeSet<IpNet>,
    /// Its persistent keepalive.
    pub keepalive: Keepalive,
    /// Where to start. A peer that has an endpoint already keeps it: WireGuard's own roaming and `Paths` move it.
    pub endpoint: Option<Endpoint>,
}

impl Desired {
    /// Nothing of ours.
    pub const fn absent(link: LinkName, key: WgPublicKey) -> Self {
        Self { link, key, interface: None }
    }
}

/// What this machine should have. `endpoints` are those of `Paths::endpoints`.
pub fn desired(
    map: &HostMap,
    settings: &LocalSettings,
    endpoints: &BTreeMap<WgPublicKey, Endpoint>,
) -> Desired {
    let interface = Interface {
        kind: settings.kind,
        mtu: settings.mtu.unwrap_or(map.host.mtu),
        port: settings.port,
        addresses: connected(map).flat_map(|membership| membership.addresses.iter()).collect(),
        routes: connected(map).flat_map(routes).collect(),
        peers: peers(map, settings.key, endpoints),
    };
    Desired { link: settings.link.clone(), key: settings.key, interface: Some(interface) }
}

/// One peer as it should be, without looking at the others: for a change that touches it alone.
pub fn desired_peer(map: &HostMap, peer: &Peer, endpoint: Option<Endpoint>) -> DesiredPeer {
    let given = peer.nodes.iter().flat_map(|node| {
        let membership = map.networks.get(&node.network).filter(|membership| membership.connected);
        let within = move |ip: &IpAddr| membership.is_some_and(|membership| membership.ranges.contains(*ip));
        node.addresses.iter().filter(within)
    });
    let ours =
        |ip: &IpAddr| connected(map).any(|membership| membership.addresses.iter().any(|own| own == *ip));
    let allowed = given.filter(|ip| !ours(ip)).map(IpNet::from).collect();
    DesiredPeer { allowed, keepalive: keepalive(map, peer), endpoint }
}

/// The keepalive to a peer: the shortest of the networks shared with it.
pub(crate) fn keepalive(map: &HostMap, peer: &Peer) -> Keepalive {
    let shared = peer.nodes.iter().filter_map(|node| map.networks.get(&node.network));
    shared.map(|membership| membership.keepalive).min().unwrap_or(Keepalive::DEFAULT)
}

fn connected(map: &HostMap) -> impl Iterator<Item = &Membership> {
    map.networks.values().filter(|membership| membership.connected)
}

fn routes(membership: &Membership) -> impl Iterator<Item = (IpNet, IpAddr)> {
    let v4 = membership.ranges.v4().map(IpNet::from).zip(membership.addresses.v4.map(IpAddr::from));
    let v6 = membership.ranges.v6().map(IpNet::from).zip(membership.addresses.v6.map(IpAddr::from));
    v4.into_iter().chain(v6)
}

fn peers(
    map: &HostMap,
    own: WgPublicKey,
    endpoints: &BTreeMap<WgPublicKey, Endpoint>,
) -> BTreeMap<WgPublicKey, DesiredPeer> {
    let mut peers = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let keyed = map.peers.values().filter_map(|peer| Some((peer.key.filter(|key| *key != own)?, peer)));
    for (key, peer) in keyed {
        let mut wanted = desired_peer(map, peer, endpoints.get(&key).copied());
        wanted.allowed.retain(|address| taken.insert(*address));
        peers.entry(key).or_insert(wanted);
    }
    for rendezvous in map.server.rendezvous.iter().filter(|rendezvous| rendezvous.key != own) {
        let endpoint = endpoints.get(&rendezvous.key).copied();
        peers.entry(rendezvous.key).or_insert_with(|| desired_door(endpoint));
    }
    peers
}

/// An identity of the rendezvous as it should be.
pub(crate) const fn desired_door(endpoint: Option<Endpoint>) -> DesiredPeer {
    DesiredPeer { allowed: BTreeSet::new(), keepalive: Keepalive::DEFAULT, endpoint }
}
