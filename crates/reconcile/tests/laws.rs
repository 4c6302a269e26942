//! The laws of DESIGN 4 for `desired` and `reconcile`, over arbitrary maps, settings and machines.
//!
//! The machine is a value; what an op does to it is `Actual::apply`, the same meaning that `platform` gives it.

#![expect(clippy::unwrap_used, reason = "a test may end where its own making fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use model::{
    Addresses, Endpoint, Generation, HostId, HostName, Keepalive, MemberId, Mtu, NetworkId, NetworkName,
    Ranges, Timestamp, WgPublicKey,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use reconcile::{
    Actual, ActualPeer, Derived, Desired, DesiredPeer, Device, Interface, Link, LinkKind, LinkName,
    LocalSettings, Op, Route, conflict, desired, desired_peer, reconcile, reconcile_link, reconcile_peers,
};
use wire::{HostMap, Membership, NatMapping, OwnHost, Peer, PeerNode, Rendezvous, ServerLinks};

const OURS: WgPublicKey = WgPublicKey::from_bytes([200; 32]);

fn key() -> impl Strategy<Value = WgPublicKey> {
    (0u8..6).prop_map(|n| WgPublicKey::from_bytes([n; 32]))
}

fn ip() -> impl Strategy<Value = IpAddr> {
    (0u8..3, 1u8..6).prop_map(|(net, host)| IpAddr::V4(Ipv4Addr::new(10, net, 0, host)))
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (1u8..5).prop_map(|n| Endpoint::new(([192, 0, 2, n], 51_820).into()).unwrap())
}

fn keepalive() -> impl Strategy<Value = Keepalive> {
    (20u16..23).prop_map(|seconds| Keepalive::new(seconds).unwrap())
}

fn kind() -> impl Strategy<Value = LinkKind> {
    select(vec![LinkKind::Kernel, LinkKind::Userspace])
}

/// Each address belongs to one peer at most, as the kernel and `desired` have it.
fn owners() -> impl Strategy<Value = BTreeMap<IpAddr, WgPublicKey>> {
    btree_map(ip(), key(), 0..8)
}

fn owned(owners: &BTreeMap<IpAddr, WgPublicKey>, key: &WgPublicKey) -> BTreeSet<IpNet> {
    owners.iter().filter(|(_, owner)| *owner == key).map(|(ip, _)| IpNet::from(*ip)).collect()
}

fn range() -> impl Strategy<Value = IpNet> {
    (0u8..3).prop_map(|net| IpNet::new([10, net, 0, 0].into(), 24).unwrap())
}

fn interface() -> impl Strategy<Value = Interface> {
    let peers = (owners(), btree_map(key(), (keepalive(), proptest::option::of(endpoint())), 0..6)).prop_map(
        |(owners, peers)| -> BTreeMap<_, _> {
            let peer = |(key, (keepalive, endpoint))| {
                (key, DesiredPeer { allowed: owned(&owners, &key), keepalive, endpoint })
            };
            peers.into_iter().map(peer).collect()
        },
    );
    (kind(), 1300u16..1302, 1u16..3, btree_set(ip(), 0..4), btree_map(range(), ip(), 0..3), peers).prop_map(
        |(kind, mtu, port, addresses, routes, peers)| Interface {
            kind,
            mtu: Mtu::new(mtu).unwrap(),
            port,
            addresses,
            routes,
            peers,
        },
    )
}

fn wanted() -> impl Strategy<Value = Desired> {
    proptest::option::weighted(0.8, interface()).prop_map(|interface| Desired {
        link: LinkName::default(),
        key: OURS,
        interface,
    })
}

fn route() -> impl Strategy<Value = Route> {
    let foreign = (range(), select(vec![0u32, 50, 1024]), select(vec![2u8, 3, 4, 16]))
        .prop_map(|(destination, metric, protocol)| Route { destination, source: None, metric, protocol });
    prop_oneof![foreign, (range(), ip()).prop_map(|(destination, source)| Route::ours(destination, source))]
}

fn device() -> impl Strategy<Value = Device> {
    let peer = (proptest::option::of(endpoint()), proptest::option::of(keepalive()), any::<u16>());
    let device_key = prop_oneof![6 => Just(Some(OURS)), 2 => Just(None), 1 => key().prop_map(Some)];
    (kind(), device_key, 0u16..3, owners(), btree_map(key(), peer, 0..6)).prop_map(
        |(kind, key, port, owners, peers)| {
            let peer = |(key, (endpoint, keepalive, rx)): (WgPublicKey, (_, _, u16))| {
                let last_handshake = (rx > 0).then(|| Timestamp::from_millis(i64::from(rx)));
                let (rx, allowed) = (u64::from(rx), owned(&owners, &key));
                (key, ActualPeer { endpoint, allowed, keepalive, last_handshake, rx, tx: 0 })
            };
            let peers = peers.into_iter().map(peer).collect();
            Device { kind, at: Timestamp::from_millis(100_000), key, port, peers }
        },
    )
}

fn machine() -> impl Strategy<Value = Actual> {
    let address = prop_oneof![
        (ip(), select(vec![32u8, 24])).prop_map(|(ip, prefix)| IpNet::new(ip, prefix).unwrap()),
        Just("fe80::1/64".parse().unwrap()),
    ];
    let link = (
        any::<bool>(),
        1300u32..1302,
        btree_set(address, 0..4),
        btree_set(route(), 0..5),
        proptest::option::weighted(0.9, device()),
    )
        .prop_map(|(up, mtu, addresses, routes, device)| Link {
            index: 3,
            up,
            mtu,
            addresses,
            routes,
            device,
        });
    proptest::option::weighted(0.8, link).prop_map(|link| Actual { link })
}

fn after(actual: &Actual, ops: &[Op]) -> Actual {
    let mut machine = actual.clone();
    ops.iter().for_each(|op| machine.apply(op));
    machine
}

fn allowed(actual: &Actual) -> BTreeMap<WgPublicKey, BTreeSet<IpNet>> {
    let device = actual.link.iter().filter_map(|link| link.device.as_ref());
    device.flat_map(|device| &device.peers).map(|(key, peer)| (*key, peer.allowed.clone())).collect()
}

#[track_caller]
fn assert_is(desired: &Desired, actual: &Actual) {
    let Some(interface) = &desired.interface else {
        assert_eq!(actual.link, None);
        return;
    };
    let link = actual.link.as_ref().expect("the link is there");
    let device = link.device.as_ref().expect("it is WireGuard");
    assert_eq!((device.key, device.port, device.kind), (Some(OURS), interface.port, interface.kind));
    assert_eq!((link.up, link.mtu), (true, u32::from(interface.mtu.get())));
    let addresses = link.addresses.iter().filter(|net| matches!(net, IpNet::V4(_))).copied();
    assert_eq!(
        addresses.collect::<Vec<_>>(),
        interface.addresses.iter().map(|ip| IpNet::from(*ip)).collect::<Vec<_>>()
    );
    let routes = link.routes.iter().filter(|route| route.is_ours()).copied();
    let wanted = interface.routes.iter().map(|(range, source)| Route::ours(*range, *source));
    assert_eq!(routes.collect::<BTreeSet<_>>(), wanted.collect());
    assert!(device.peers.keys().eq(interface.peers.keys()));
    for (key, peer) in &interface.peers {
        assert_eq!(
            (&device.peers[key].allowed, device.peers[key].keepalive),
            (&peer.allowed, Some(peer.keepalive))
        );
    }
}

proptest! {
    #[test]
    fn reconcile_converges_and_then_there_is_nothing_to_do(desired in wanted(), actual in machine()) {
        let end = after(&actual, &reconcile(&desired, &actual));
        prop_assert_eq!(reconcile(&desired, &end), vec![]);
        if conflict(&desired, &actual).is_none() {
            assert_is(&desired, &end);
        }
    }

    #[test]
    fn any_part_of_the_ops_and_a_second_run_converge(desired in wanted(), actual in machine(), cut in 0.0..1.0f64) {
        let ops = reconcile(&desired, &actual);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the list")]
        let cut = (ops.len() as f64 * cut) as usize;
        let broken = after(&actual, &ops[..cut]);
        let end = after(&broken, &reconcile(&desired, &broken));
        prop_assert_eq!(reconcile(&desired, &end), vec![]);
        if conflict(&desired, &actual).is_none() {
            assert_is(&desired, &end);
        }
    }

    #[test]
    fn nothing_is_open_in_between_that_is_not_open_before_or_after(desired in wanted(), actual in machine()) {
        let ops = reconcile(&desired, &actual);
        let (before, end) = (allowed(&actual), allowed(&after(&actual, &ops)));
        for cut in 0..=ops.len() {
            let mut seen = BTreeSet::new();
            for (key, nets) in allowed(&after(&actual, &ops[..cut])) {
                let of = |map: &BTreeMap<WgPublicKey, BTreeSet<IpNet>>| map.get(&key).cloned().unwrap_or_default();
                let (before, end) = (of(&before), of(&end));
                prop_assert!(nets.iter().all(|net| before.contains(net) || end.contains(net)));
                prop_assert!(nets.iter().all(|net| seen.insert(*net)), "an address with two peers");
            }
        }
    }

    #[test]
    fn what_is_not_ours_stays(desired in wanted(), actual in machine()) {
        let ops = reconcile(&desired, &actual);
        if conflict(&desired, &actual).is_some() {
            prop_assert_eq!(ops, vec![]);
            return Ok(());
        }
        for op in &ops {
            if let Op::RemoveRoute(route) | Op::AddRoute(route) = op {
                prop_assert!(route.is_ours());
            }
        }
        if ops.contains(&Op::DeleteLink) {
            return Ok(());
        }
        let foreign = |actual: &Actual| -> Vec<Route> {
            actual.link.iter().flat_map(|link| &link.routes).filter(|route| !route.is_ours()).copied().collect()
        };
        prop_assert_eq!(foreign(&after(&actual, &ops)), foreign(&actual));
    }

    #[test]
    fn a_peer_that_stays_keeps_its_session_and_its_endpoint(desired in wanted(), actual in machine()) {
        let Some(Link { device: Some(device), .. }) = &actual.link else { return Ok(()) };
        let Some(interface) = &desired.interface else { return Ok(()) };
        if device.kind != interface.kind {
            return Ok(());
        }
        for op in reconcile(&desired, &actual) {
            match op {
                Op::DeleteLink | Op::CreateLink(_) => prop_assert!(false, "{op}"),
                Op::RemovePeer(key) => prop_assert!(!interface.peers.contains_key(&key)),
                Op::AddPeer(key, _) => prop_assert!(!device.peers.contains_key(&key)),
                Op::SetEndpoint(key, _) => prop_assert!(device.peers[&key].endpoint.is_none()),
                Op::Poke(..) => prop_assert!(false, "pokes are the paths' own"),
                Op::SetKey(_) | Op::SetPort(_) | Op::SetMtu(_) | Op::SetUp | Op::AddAddress(_) | Op::RemoveAddress(_)
                | Op::AddRoute(_) | Op::RemoveRoute(_) | Op::AllowMore(..) | Op::SetAllowed(..) | Op::SetKeepalive(..) => {}
            }
        }
    }

    #[test]
    fn the_peers_that_changed_alone_give_the_same_ops(before in interface(), more in interface()) {
        let desired = |interface: &Interface| Desired { link: LinkName::default(), key: OURS, interface: Some(interface.clone()) };
        let actual = after(&Actual::default(), &reconcile(&desired(&before), &Actual::default()));
        let device = actual.link.as_ref().unwrap().device.as_ref().unwrap();
        let next = Interface { peers: more.peers, ..before.clone() };
        let keys: BTreeSet<_> = before.peers.keys().chain(next.peers.keys()).collect();
        let changed = keys.into_iter().filter(|key| before.peers.get(*key) != next.peers.get(*key));
        prop_assert_eq!(reconcile_peers(&next, device, changed), reconcile(&desired(&next), &actual));
    }
}

fn is_about_a_peer(op: &Op) -> bool {
    matches!(
        op,
        Op::AddPeer(..)
            | Op::RemovePeer(_)
            | Op::AllowMore(..)
            | Op::SetAllowed(..)
            | Op::SetKeepalive(..)
            | Op::SetEndpoint(..)
            | Op::Poke(..)
    )
}

proptest! {
    #[test]
    fn no_op_of_a_plan_takes_anything_from_a_peer_it_does_not_name(desired in wanted(), actual in machine()) {
        let (mut exact, mut alone) = (actual.clone(), actual.clone());
        for op in reconcile(&desired, &actual) {
            exact.apply(&op);
            alone.apply_alone(&op);
            prop_assert_eq!(&exact, &alone, "{}", op);
        }
    }

    #[test]
    fn the_link_alone_gives_the_same_ops_but_for_the_peers(desired in wanted(), actual in machine()) {
        let all = reconcile(&desired, &actual);
        let alone = reconcile_link(&desired, &actual);
        if all.contains(&Op::DeleteLink) || actual.link.is_none() {
            prop_assert_eq!(alone, all);
        } else {
            prop_assert_eq!(alone, all.into_iter().filter(|op| !is_about_a_peer(op)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn following_changes_of_single_peers_is_deriving_everything_anew(
        map in host_map(),
        settings in settings(),
        history in vec(btree_map(host(), proptest::option::of(peer()), 0..3), 0..12),
    ) {
        let endpoints: BTreeMap<_, _> = (0..6).map(|n| (WgPublicKey::from_bytes([n; 32]), there(n))).collect();
        let mut map = map;
        let mut derived = Derived::new(&map, &settings, &endpoints);
        let mut actual = after(&Actual::default(), &reconcile(derived.desired(), &Actual::default()));
        for change in history {
            let hosts: BTreeSet<MemberId> = change.keys().copied().collect();
            for (host, peer) in change {
                match peer {
                    Some(peer) => drop(map.peers.insert(host, peer)),
                    None => drop(map.peers.remove(&host)),
                }
            }
            let keys = derived.follow(&map, &hosts, |key| endpoints.get(key).copied());
            let anew = desired(&map, &settings, &endpoints);
            prop_assert_eq!(derived.desired(), &anew);
            let device = actual.device().unwrap();
            let ops = reconcile_peers(derived.interface().unwrap(), device, &keys);
            prop_assert_eq!(&ops, &reconcile(&anew, &actual));
            let exact = after(&actual, &ops);
            ops.iter().for_each(|op| actual.apply_alone(op));
            prop_assert_eq!(&actual, &exact);
        }
    }
}

fn there(n: u8) -> Endpoint {
    Endpoint::new(([192, 0, 2, n + 1], 51_820).into()).unwrap()
}

fn network(n: u8) -> NetworkId {
    NetworkId::from_bytes([n; 16])
}

fn v4(ip: IpAddr) -> Addresses {
    match ip {
        IpAddr::V4(v4) => Addresses { v4: Some(v4), v6: None },
        IpAddr::V6(v6) => Addresses { v4: None, v6: Some(v6) },
    }
}

fn host() -> impl Strategy<Value = MemberId> {
    (0u8..6).prop_map(|n| MemberId::from_bytes([n; 16]))
}

fn peer() -> impl Strategy<Value = Peer> {
    let node = (0u8..4, ip()).prop_map(|(net, ip)| PeerNode::new(network(net), v4(ip)));
    (key(), vec(node, 0..4)).prop_map(|(key, nodes)| Peer {
        name: HostName::nearest("peer"),
        key: Some(key),
        nodes,
        seen: vec![],
        local: vec![],
        fixed: None,
        nat: NatMapping::Unknown,
    })
}

/// Any map, also such as no honest server would send.
fn host_map() -> impl Strategy<Value = HostMap> {
    let membership =
        (0u8..3, ip(), any::<bool>(), keepalive()).prop_map(|(net, own, connected, keepalive)| {
            let range = format!("10.{net}.0.0/24").parse().unwrap();
            let name: NetworkName = "net".parse().unwrap();
            Membership {
                addresses: v4(own),
                connected,
                keepalive,
                ..Membership::plain(name, Ranges::new(Some(range), None).unwrap())
            }
        });
    let rendezvous = key().prop_map(|key| Rendezvous { key, port: 51_821, host: None });
    (
        btree_map((0u8..3).prop_map(network), membership, 0..3),
        btree_map(host(), peer(), 0..5),
        vec(rendezvous, 0..3),
    )
        .prop_map(|(networks, peers, rendezvous)| HostMap {
            generation: Generation::from_number(1),
            host: OwnHost {
                id: HostId::from_bytes([9; 16]),
                name: HostName::nearest("own"),
                mtu: Mtu::DEFAULT,
                seen: vec![],
                nat: NatMapping::Unknown,
                rotate: false,
            },
            server: ServerLinks { rendezvous, ..ServerLinks::default() },
            networks,
            peers,
        })
}

fn settings() -> impl Strategy<Value = LocalSettings> {
    let link = select(vec!["netloom0", "wg0"]).prop_map(|name| name.parse().unwrap());
    let mtu = proptest::option::of((1280u16..9000).prop_map(|mtu| Mtu::new(mtu).unwrap()));
    (link, kind(), prop_oneof![Just(OURS), key()], any::<u16>(), mtu)
        .prop_map(|(link, kind, key, port, mtu)| LocalSettings { link, kind, key, port, mtu })
}

proptest! {
    #[test]
    fn settings_and_odd_maps_never_widen_access(map in host_map(), settings in settings()) {
        let interface = desired(&map, &settings, &BTreeMap::new()).interface.unwrap();
        let connected: Vec<_> = map.networks.iter().filter(|(_, membership)| membership.connected).collect();
        let mut seen = BTreeSet::new();
        for (key, peer) in &interface.peers {
            let given: BTreeSet<IpNet> = map.peers.values().filter(|peer| peer.key == Some(*key)).flat_map(|peer| &peer.nodes)
                .filter(|node| connected.iter().any(|(id, m)| **id == node.network && node.addresses.iter().all(|ip| m.ranges.contains(ip))))
                .flat_map(|node| node.addresses.iter()).map(IpNet::from).collect();
            prop_assert!(peer.allowed.is_subset(&given));
            prop_assert!(peer.allowed.iter().all(|net| seen.insert(*net)), "an address with two peers");
            prop_assert!(peer.allowed.iter().all(|net| !interface.addresses.contains(&net.addr())), "our own address");
        }
        prop_assert!(!interface.peers.contains_key(&settings.key));
    }

    #[test]
    fn a_peer_alone_is_what_it_is_among_all(map in host_map(), settings in settings()) {
        let interface = desired(&map, &settings, &BTreeMap::new()).interface.unwrap();
        let mut keys = BTreeSet::new();
        let keyed = map.peers.values().filter_map(|peer| Some((peer.key?, peer)));
        for (key, peer) in keyed.filter(|(key, _)| *key != settings.key && keys.insert(*key)) {
            let alone = desired_peer(&map, peer, None);
            let among = &interface.peers[&key];
            prop_assert_eq!(among.keepalive, alone.keepalive);
            prop_assert!(among.allowed.is_subset(&alone.allowed));
        }
    }
}
