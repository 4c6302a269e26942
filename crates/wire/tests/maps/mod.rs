//! Random host maps of the same host. Few ids, so that maps have much in common.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses the part it needs")]

use std::collections::BTreeMap;

use model::{
    Addresses, Endpoint, Generation, HostId, HostName, Keepalive, MemberId, Mtu, NetworkId, Ranges,
    RecordData, ToldRecord, WgPublicKey,
};
use proptest::prelude::*;
use wire::{Class, HostMap, Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks, Way};

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
    let bits = (any::<bool>(), any::<bool>(), any::<bool>());
    let parts = (addresses(), bits, 1u16..3, prop::option::weighted(0.2, host()), classes(), records());
    parts.prop_map(move |(addresses, (connected, pending, guarded), keepalive, via, classes, records)| {
        Membership {
            records: if connected && !pending { records } else { Vec::new() },
            addresses,
            connected,
            pending,
            guarded,
            keepalive: Keepalive::new(keepalive).unwrap(),
            via,
            classes,
            ..Membership::plain("office".parse().unwrap(), ranges)
        }
    })
}

/// In order, each once: as maps have them.
fn records() -> impl Strategy<Value = Vec<ToldRecord>> {
    let name = prop::option::of((0u8..3).prop_map(|number| format!("n{number}").parse().unwrap()));
    let address = (0u8..3).prop_map(|last| RecordData::A { address: [192, 0, 2, last].into() });
    let record = (name, 1u32..3, address).prop_map(|(name, ttl, data)| ToldRecord { name, ttl, data });
    prop::collection::btree_set(record, 0..6).prop_map(|records| records.into_iter().collect())
}

fn peer() -> impl Strategy<Value = Peer> {
    let via = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(host(), 1..3)];
    let node = (network(), addresses(), via, classes(), any::<bool>());
    let node = node.prop_map(|(network, addresses, via, classes, relayed)| PeerNode {
        via,
        classes,
        relayed,
        ..PeerNode::new(network, addresses)
    });
    let nodes = prop::collection::vec(node, 0..3);
    let parts = (0u8..2, 0u8..2, nodes, endpoints(), endpoints(), nat());
    parts.prop_map(|(named, key, nodes, seen, local, nat)| Peer {
        name: name(named),
        key: Some(WgPublicKey::from_bytes([key; 32])),
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

fn host() -> impl Strategy<Value = HostId> {
    prop_oneof![5 => 0u8..6, 1 => Just(9)].prop_map(|number| HostId::from_bytes([number; 16]))
}

fn classes() -> impl Strategy<Value = Vec<Class>> {
    prop::collection::vec((0u64..3).prop_map(Class::from_number), 0..2)
}

/// Any map of one host.
pub fn map() -> impl Strategy<Value = HostMap> {
    let networks = prop::collection::btree_map(network(), membership(), 0..4);
    let member = (0u8..6).prop_map(|number| MemberId::from_bytes([number; 16]));
    let peers = prop::collection::btree_map(member, peer(), 0..6);
    let parts = (any::<u64>(), 0u8..2, endpoints(), nat(), 0usize..2, networks, peers);
    parts.prop_map(|(generation, named, seen, nat, brokers, networks, peers)| HostMap {
        generation: Generation::from_number(generation),
        host: OwnHost { id: OWN, name: name(named), mtu: Mtu::DEFAULT, seen, nat, rotate: false },
        server: ServerLinks { brokers: vec!["wss://a/mqtt".to_owned(); brokers], ..ServerLinks::default() },
        networks,
        peers,
    })
}

/// The host of all these maps.
const OWN: HostId = HostId::from_bytes([9; 16]);

/// Whether the host of these maps has a session with the member by this node.
pub fn is_direct(networks: &BTreeMap<NetworkId, Membership>, member: MemberId, node: &PeerNode) -> bool {
    networks.get(&node.network).is_some_and(|membership| membership.way(OWN, member, node) == Way::Direct)
}

/// A map as a planner makes it: peers are in networks in which the host takes part, once in each.
pub fn planned() -> impl Strategy<Value = HostMap> {
    map().prop_map(|mut map| {
        let networks = map.networks.clone();
        for (member, peer) in &mut map.peers {
            peer.nodes.retain(|node| networks.get(&node.network).is_some_and(Membership::takes_part));
            peer.nodes.sort_by_key(|node| node.network);
            peer.nodes.dedup_by_key(|node| node.network);
            let direct = peer.nodes.iter().any(|node| is_direct(&networks, *member, node));
            *peer = peer.by_nodes(peer.nodes.clone(), direct);
        }
        map.peers.retain(|_, peer| !peer.nodes.is_empty());
        map
    })
}
