//! Arbitrary machines, and arbitrary wishes for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use model::{Endpoint, Keepalive, Mtu, Timestamp, WgPublicKey};
use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use reconcile::{
    Actual, ActualPeer, Desired, DesiredFirewall, DesiredPeer, Device, FIREWALL_MARK, Family, Filter,
    Firewall, FirewallLook, Grant, Interface, Kept, Link, LinkKind, LinkName, Need, RANGE_TABLE, ROUTE_TABLE,
    Route, Rule, Service, Services, Side, Surroundings, TUNNEL_TABLE, Tunnel,
};

pub(crate) const OURS: WgPublicKey = WgPublicKey::from_bytes([200; 32]);

pub(crate) fn key() -> impl Strategy<Value = WgPublicKey> {
    (0u8..6).prop_map(|n| WgPublicKey::from_bytes([n; 32]))
}

pub(crate) fn ip() -> impl Strategy<Value = IpAddr> {
    (0u8..3, 1u8..6).prop_map(|(net, host)| IpAddr::V4(Ipv4Addr::new(10, net, 0, host)))
}

pub(crate) fn endpoint() -> impl Strategy<Value = Endpoint> {
    (1u8..5).prop_map(|n| Endpoint::new(([192, 0, 2, n], 51_820).into()).unwrap())
}

pub(crate) fn keepalive() -> impl Strategy<Value = Keepalive> {
    (20u16..23).prop_map(|seconds| Keepalive::new(seconds).unwrap())
}

pub(crate) fn kind() -> impl Strategy<Value = LinkKind> {
    select(vec![LinkKind::Kernel, LinkKind::Userspace])
}

/// Each address belongs to one peer at most, as the kernel and `desired` have it.
pub(crate) fn owners() -> impl Strategy<Value = BTreeMap<IpAddr, WgPublicKey>> {
    btree_map(ip(), key(), 0..8)
}

pub(crate) fn owned(owners: &BTreeMap<IpAddr, WgPublicKey>, key: &WgPublicKey) -> BTreeSet<IpNet> {
    owners.iter().filter(|(_, owner)| *owner == key).map(|(ip, _)| IpNet::from(*ip)).collect()
}

pub(crate) fn range() -> impl Strategy<Value = IpNet> {
    (0u8..3).prop_map(|net| IpNet::new([10, net, 0, 0].into(), 24).unwrap())
}

pub(crate) fn interface() -> impl Strategy<Value = Interface> {
    let peers = (owners(), btree_map(key(), (keepalive(), option::of(endpoint())), 0..6)).prop_map(
        |(owners, peers)| -> BTreeMap<_, _> {
            let peer = |(key, (keepalive, endpoint))| {
                (key, DesiredPeer { allowed: owned(&owners, &key), keepalive, endpoint })
            };
            peers.into_iter().map(peer).collect()
        },
    );
    let link = (kind(), 1300u16..1302, 1u16..3, btree_set(ip(), 0..4), btree_map(range(), ip(), 0..3), peers);
    let beyond = (option::of(firewall()), any::<bool>(), option::of(tunnel()));
    (link, beyond).prop_map(|((kind, mtu, port, addresses, routes, peers), (firewall, forwards, tunnel))| {
        let mtu = Mtu::new(mtu).unwrap();
        Interface { kind, mtu, port, addresses, routes, peers, firewall, forwards, tunnel }
    })
}

fn firewall() -> impl Strategy<Value = DesiredFirewall> {
    (0u8..3, select(vec![Need::Essential, Need::Forwarding, Need::Wished])).prop_map(|(protocol, need)| {
        let firewall = firewall_of(protocol);
        DesiredFirewall { digest: firewall.digest(), firewall: Arc::new(firewall), need }
    })
}

fn firewall_of(protocol: u8) -> Firewall {
    let services = Services::Only(vec![Service::Other(protocol)]);
    let grant = Grant { from: Side::Any, to: Side::Any, services };
    Firewall { forward: Filter::Only(vec![grant]), ..Firewall::default() }
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    (btree_set(range(), 0..2), option::of(ip()), btree_set(range(), 0..2)).prop_map(
        |(lan, source, leads_to)| {
            let sources = source.map(|source| (Family::V4, source)).into_iter().collect();
            Tunnel { lan, leads_to, sources }
        },
    )
}

const SYSCTLS: [(&str, &[&str]); 10] = [
    ("net/ipv4/ip_forward", &["0", "1"]),
    ("net/ipv6/conf/all/forwarding", &["0", "1"]),
    ("net/ipv4/conf/all/accept_redirects", &["0", "1"]),
    ("net/ipv4/conf/all/rp_filter", &["0", "1", "2"]),
    ("net/ipv4/conf/eth0/rp_filter", &["0", "1", "2"]),
    ("net/ipv6/conf/eth0/accept_ra", &["0", "1", "2"]),
    ("net/ipv4/conf/default/forwarding", &["0", "1"]),
    ("net/ipv4/conf/eth0/forwarding", &["0", "1"]),
    ("net/ipv6/conf/default/forwarding", &["0", "1"]),
    ("net/ipv6/conf/eth0/forwarding", &["0", "1"]),
];

fn sysctls() -> impl Strategy<Value = BTreeMap<String, String>> {
    let values: Vec<_> = SYSCTLS.iter().map(|(_, values)| option::of(select(values.to_vec()))).collect();
    values.prop_map(|values| {
        let names = SYSCTLS.iter().map(|(name, _)| (*name).to_owned());
        names.zip(values).filter_map(|(name, value)| Some((name, value?.to_owned()))).collect()
    })
}

fn surroundings() -> impl Strategy<Value = Surroundings> {
    let look = prop_oneof![
        Just(FirewallLook::Absent),
        Just(FirewallLook::Changed),
        (0u8..4).prop_map(|protocol| FirewallLook::Intact(firewall_of(protocol).digest())),
    ];
    let leads_to: BTreeSet<IpNet> = ["10.0.0.0/24", "10.7.0.0/24"].map(|range| range.parse().unwrap()).into();
    let tunnel = Tunnel { lan: leads_to.clone(), leads_to, sources: BTreeMap::new() };
    let ranges = ["10.0.0.0/24", "10.7.0.0/16"].map(|range| range.parse().unwrap());
    let rules: BTreeSet<Rule> =
        Rule::of_tunnel(&tunnel).into_iter().chain(Rule::of_ranges(ranges.into_iter())).collect();
    let rules: Vec<Rule> = rules.into_iter().collect();
    let families = btree_set(select(Family::ALL.to_vec()), 0..3);
    (option::weighted(0.9, look), btree_set(select(rules), 0..8), families, sysctls()).prop_map(
        |(firewall, rules, unreachable, sysctls)| Surroundings { firewall, rules, unreachable, sysctls },
    )
}

pub(crate) fn wanted() -> impl Strategy<Value = Desired> {
    (option::weighted(0.8, interface()), sysctls()).prop_map(|(interface, kept)| Desired {
        interface,
        kept: Kept(kept),
        ..Desired::absent(LinkName::default(), OURS)
    })
}

pub(crate) fn route() -> impl Strategy<Value = Route> {
    let foreign = (range(), select(vec![0u32, 50, 1024]), select(vec![2u8, 3, 4, 16])).prop_map(
        |(destination, metric, protocol)| Route {
            destination,
            source: None,
            metric,
            protocol,
            table: ROUTE_TABLE,
        },
    );
    let ours = (range(), ip(), select(vec![ROUTE_TABLE, RANGE_TABLE, TUNNEL_TABLE]))
        .prop_map(|(destination, source, table)| Route::ours(destination, source).in_table(table));
    prop_oneof![foreign, ours]
}

pub(crate) fn device() -> impl Strategy<Value = Device> {
    let peer = (option::of(endpoint()), option::of(keepalive()), any::<u16>());
    let device_key = prop_oneof![6 => Just(Some(OURS)), 2 => Just(None), 1 => key().prop_map(Some)];
    let mark = select(vec![0, 7, FIREWALL_MARK]);
    (kind(), device_key, 0u16..3, mark, owners(), btree_map(key(), peer, 0..6)).prop_map(
        |(kind, key, port, mark, owners, peers)| {
            let peer = |(key, (endpoint, keepalive, rx)): (WgPublicKey, (_, _, u16))| {
                let last_handshake = (rx > 0).then(|| Timestamp::from_millis(i64::from(rx)));
                let (rx, allowed) = (u64::from(rx), owned(&owners, &key));
                (key, ActualPeer { endpoint, allowed, keepalive, last_handshake, rx, tx: 0 })
            };
            let peers = peers.into_iter().map(peer).collect();
            Device { kind, at: Timestamp::from_millis(100_000), key, port, mark, peers }
        },
    )
}

pub(crate) fn machine() -> impl Strategy<Value = Actual> {
    let address = prop_oneof![
        (ip(), select(vec![32u8, 24])).prop_map(|(ip, prefix)| IpNet::new(ip, prefix).unwrap()),
        Just("fe80::1/64".parse().unwrap()),
    ];
    let link = (
        any::<bool>(),
        1300u32..1302,
        btree_set(address, 0..4),
        btree_set(route(), 0..5),
        option::weighted(0.9, device()),
    )
        .prop_map(|(up, mtu, addresses, routes, device)| Link {
            index: 3,
            up,
            mtu,
            addresses,
            routes,
            device,
        });
    let link = option::weighted(0.8, link);
    (link, surroundings()).prop_map(|(link, surroundings)| Actual { link, surroundings })
}
