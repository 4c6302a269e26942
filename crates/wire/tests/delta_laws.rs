//! The laws of deltas, over random host maps of the same host. Few ids, so that maps have much in common.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use model::{
    Addresses, Endpoint, Generation, HostId, HostName, Keepalive, Mtu, NetworkId, Ranges, WgPublicKey,
};
use proptest::prelude::*;
use wire::{
    Delta, HostMap, Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks, WrongBase, delta, patch,
};

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

fn map() -> impl Strategy<Value = HostMap> {
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

fn patched(map: &HostMap, delta: Delta) -> Result<HostMap, WrongBase> {
    let mut map = map.clone();
    patch(&mut map, delta).map(|()| map)
}

proptest! {
    #[test]
    fn a_map_patched_with_the_delta_to_another_is_the_other(from in map(), to in map()) {
        let change = delta(&from, &to);
        prop_assert_eq!(patched(&from, change.clone()), Ok(to.clone()));
        let received: Delta = wire::decode(&wire::encode(&change)).unwrap();
        prop_assert_eq!(patched(&from, received), Ok(to));
    }

    #[test]
    fn deltas_follow_each_other(one in map(), two in map(), three in map()) {
        let at_two = patched(&one, delta(&one, &two)).unwrap();
        prop_assert_eq!(patched(&at_two, delta(&two, &three)), Ok(three));
    }

    #[test]
    fn a_delta_is_empty_exactly_where_nothing_but_the_generation_differs(from in map(), to in map()) {
        let renumbered = HostMap { generation: to.generation, ..from.clone() };
        prop_assert!(delta(&from, &renumbered).is_empty());
        prop_assert_eq!(delta(&from, &to).is_empty(), renumbered == to);
    }

    #[test]
    fn a_delta_names_only_what_differs(from in map(), to in map()) {
        let change = delta(&from, &to);
        let differs = |id: &HostId| from.peers.get(id) != to.peers.get(id);
        prop_assert!(change.peers.keys().chain(&change.peers_gone).all(differs));
        let differs = |id: &NetworkId| from.networks.get(id) != to.networks.get(id);
        prop_assert!(change.networks.keys().chain(&change.networks_gone).all(differs));
        let twice: BTreeMap<_, _> = change.peers_gone.iter().map(|id| (id, ())).collect();
        prop_assert!(twice.len() == change.peers_gone.len() && !twice.keys().any(|id| change.peers.contains_key(*id)));
    }

    #[test]
    fn a_wrong_base_changes_nothing(from in map(), to in map(), other: u64) {
        let base = Generation::from_number(other);
        prop_assume!(base != from.generation);
        let mut map = from.clone();
        let refused = patch(&mut map, Delta { base, ..delta(&from, &to) });
        prop_assert_eq!(refused, Err(WrongBase { base, have: from.generation }));
        prop_assert_eq!(map, from);
    }
}
