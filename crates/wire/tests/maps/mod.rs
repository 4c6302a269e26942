//! Random host maps of the same host. Few ids, so that maps have much in common.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses the part it needs")]

use model::{
    Addresses, Endpoint, Generation, HostId, HostName, Keepalive, Mtu, NetworkId, Ranges, WgPublicKey,
};
use proptest::prelude::*;
use wire::{HostMap, Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks};

fn name(number: u8) -> HostName {
    HostName::nearest("web").numbered(u32::from(number))
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let endpoint = (0u8..3).prop_map(|last| Endpoint::new(([203, 0, 113, last], 51820).into()).unwrap());
    prop::collection::vec(endpoint, 0..3)
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let one = |v4: Option<u8>, v6: Option<u8>| Addresses {
        v4: v4.map(|last| [10, 0, 0, last].into()),
        v6: v6.map(|last| [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into()),
    };
    (any::<Option<u8>>(), any::<Option<u8>>()).prop_map(move |(v4, v6)| one(v4, v6))
}

fn nat() -> impl Strategy<Value = NatMapping> {
    prop_oneof![Just(NatMapping::Unknown), Just(NatMapping::Endpoint), Just(NatMapping::PerDestination)]
}

fn membership() -> impl Strategy<Value = Membership> {
    let ranges = Ranges::new(Some("10.0.0.0/24".parse().unwrap()), None).unwrap();
    (addresses(), any::<bool>(), 1u16..3).prop_map(move |(addresses, connected, keepalive)| Membership {
        name: "office".parse().unwrap(),
        ranges,
        addresses,
        connected,
        keepalive: Keepalive::new(keepalive).unwrap(),
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    let node = (network(), addresses()).prop_map(|(network, addresses)| PeerNode { network, addresses });
    let nodes = prop::collection::vec(node, 0..3);
    let parts = (0u8..2, 0u8..2, nodes, endpoints(), endpoints(), nat());
    parts.prop_map(|(named, key, nodes, seen, local, nat)| Peer {
        name: name(named),
        key: WgPublicKey::from_bytes([key; 32]),
        nodes,
        fixed: local.first().copied(),
        seen,
        local,
        nat,
    })
}

fn network() -> impl Strategy<Value = NetworkId> {
    (0u8..4).prop_map(|number| NetworkId::from_bytes([number; 16]))
}

/// Any map of one host.
pub fn map() -> impl Strategy<Value = HostMap> {
    let networks = prop::collection::btree_map(network(), membership(), 0..4);
    let host = (0u8..6).prop_map(|number| HostId::from_bytes([number; 16]));
    let peers = prop::collection::btree_map(host, peer(), 0..6);
    let parts = (any::<u64>(), 0u8..2, endpoints(), nat(), 0usize..2, networks, peers);
    parts.prop_map(|(generation, named, seen, nat, brokers, networks, peers)| HostMap {
        generation: Generation::from_number(generation),
        host: OwnHost { id: HostId::from_bytes([9; 16]), name: name(named), mtu: Mtu::DEFAULT, seen, nat },
        server: ServerLinks { brokers: vec!["wss://a/mqtt".to_owned(); brokers], ..ServerLinks::default() },
        networks,
        peers,
    })
}

/// A map as a planner makes it: peers are in networks in which the host takes part, once in each.
pub fn planned() -> impl Strategy<Value = HostMap> {
    map().prop_map(|mut map| {
        let networks = map.networks.clone();
        for peer in map.peers.values_mut() {
            peer.nodes.retain(|node| networks.get(&node.network).is_some_and(|network| network.connected));
            peer.nodes.sort_by_key(|node| node.network);
            peer.nodes.dedup_by_key(|node| node.network);
        }
        map.peers.retain(|_, peer| !peer.nodes.is_empty());
        map
    })
}
