//! Arbitrary maps, also such as no honest server would send.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use model::{
    Addresses, Endpoint, Generation, HostId, HostName, MemberId, Mtu, NetworkId, NetworkName, Ranges,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use reconcile::{Circumstances, LocalSettings};
use wire::{
    Class, EgressDuty, Grant, HostMap, InternetWay, Membership, NatMapping, Net, OwnHost, Party, Peer,
    PeerNode, Rendezvous, ServerLinks,
};

use crate::machines::{OURS, ip, keepalive, key, kind};

/// This host, which may also name itself.
pub(crate) const OWN: u8 = 5;

pub(crate) fn there(n: u8) -> Endpoint {
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

pub(crate) fn member() -> impl Strategy<Value = MemberId> {
    (0u8..6).prop_map(|n| MemberId::from_bytes([n; 16]))
}

fn host() -> impl Strategy<Value = HostId> {
    (0u8..6).prop_map(|n| HostId::from_bytes([n; 16]))
}

fn class() -> impl Strategy<Value = Class> {
    (0u64..3).prop_map(Class::from_number)
}

/// Ranges within networks, outside, within the machine's LAN, and everything.
pub(crate) fn behind() -> impl Strategy<Value = Net> {
    let texts = [
        "10.1.0.0/25",
        "172.16.0.0/24",
        "172.16.0.0/25",
        "172.17.0.0/24",
        "192.168.9.0/24",
        "192.168.9.128/25",
        "0.0.0.0/0",
    ];
    select(texts.to_vec()).prop_map(|text| Net(text.parse().unwrap()))
}

fn node() -> impl Strategy<Value = PeerNode> {
    let ranges = prop_oneof![3 => Just(vec![]), 1 => vec(behind(), 1..3)];
    // A client of this host may come in by another gateway as well.
    let own = HostId::from_bytes([OWN; 16]);
    let ours = host().prop_map(move |other| vec![other, own]);
    let via = prop_oneof![4 => Just(vec![]), 2 => vec(host(), 1..3), 1 => ours];
    (0u8..3, option::weighted(0.9, ip()), ranges, btree_set(class(), 0..3), via, any::<bool>()).prop_map(
        |(net, ip, ranges, classes, via, relayed)| PeerNode {
            ranges,
            classes: classes.into_iter().collect(),
            via,
            relayed,
            ..PeerNode::new(network(net), ip.map(v4).unwrap_or_default())
        },
    )
}

pub(crate) fn peer() -> impl Strategy<Value = Peer> {
    (option::weighted(0.8, key()), vec(node(), 0..3), any::<bool>()).prop_map(|(key, nodes, seen)| Peer {
        name: HostName::nearest("peer"),
        key,
        nodes,
        seen: if seen { vec![there(0)] } else { vec![] },
        local: vec![],
        fixed: None,
        nat: NatMapping::Unknown,
    })
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![
        Just(Party::Everything),
        class().prop_map(Party::Class),
        member().prop_map(Party::Member),
        Just(Party::Outside),
    ]
}

fn grant() -> impl Strategy<Value = Grant> {
    let service = select(vec!["tcp/80", "udp", "icmp"]).prop_map(|text| text.parse().unwrap());
    (vec(party(), 0..3), vec(party(), 0..3), vec(service, 0..2)).prop_map(|(from, to, services)| Grant {
        from,
        to,
        services,
    })
}

fn duty() -> impl Strategy<Value = EgressDuty> {
    (member(), behind(), option::of(behind()), any::<bool>())
        .prop_map(|(id, range, mapped, nat)| EgressDuty { id, range, mapped, nat })
}

fn membership() -> impl Strategy<Value = (NetworkId, Membership)> {
    let own =
        (0u8..3, 6u8..9, any::<bool>(), keepalive(), option::weighted(0.1, host()), btree_set(class(), 0..2));
    let access = (any::<bool>(), vec(grant(), 0..4));
    let internet =
        (option::weighted(0.8, host()), any::<bool>()).prop_map(|(via, lan)| InternetWay { via, lan });
    let duties = (vec(duty(), 0..2), any::<bool>(), option::weighted(0.3, internet));
    (own, access, duties).prop_map(|(own, (guarded, grants), (egress, internet_gateway, internet))| {
        let (net, address, connected, keepalive, via, classes) = own;
        let range = format!("10.{net}.0.0/24").parse().unwrap();
        let name: NetworkName = "net".parse().unwrap();
        let membership = Membership {
            addresses: v4(Ipv4Addr::new(10, net, 0, address).into()),
            connected,
            keepalive,
            via,
            guarded,
            classes: classes.into_iter().collect(),
            grants,
            egress,
            internet_gateway,
            internet,
            ..Membership::plain(name, Ranges::new(Some(range), None).unwrap())
        };
        (network(net), membership)
    })
}

pub(crate) fn host_map() -> impl Strategy<Value = HostMap> {
    let rendezvous = key().prop_map(|key| Rendezvous { key, port: 51_821, host: None });
    let networks = vec(membership(), 0..4).prop_map(|all| all.into_iter().collect());
    (networks, btree_map(member(), peer(), 0..6), vec(rendezvous, 0..3)).prop_map(
        |(networks, peers, rendezvous)| HostMap {
            generation: Generation::from_number(1),
            host: OwnHost {
                id: HostId::from_bytes([OWN; 16]),
                name: HostName::nearest("own"),
                mtu: Mtu::DEFAULT,
                seen: vec![],
                nat: NatMapping::Unknown,
                rotate: false,
            },
            server: ServerLinks { rendezvous, ..ServerLinks::default() },
            networks,
            peers,
        },
    )
}

pub(crate) fn settings() -> impl Strategy<Value = LocalSettings> {
    let link = select(vec!["netloom0", "wg0"]).prop_map(|name| name.parse().unwrap());
    let mtu = option::of((1280u16..9000).prop_map(|mtu| Mtu::new(mtu).unwrap()));
    (link, kind(), prop_oneof![Just(OURS), key()], any::<u16>(), mtu)
        .prop_map(|(link, kind, key, port, mtu)| LocalSettings { link, kind, key, former: None, port, mtu })
}

pub(crate) fn circumstances() -> impl Strategy<Value = Circumstances> {
    let lan: IpNet = "192.168.9.7/24".parse().unwrap();
    let local =
        any::<bool>().prop_map(move |there| there.then_some(lan).into_iter().collect::<BTreeSet<_>>());
    let here = btree_set(member(), 0..3);
    (local, btree_map(member(), host(), 0..3), here).prop_map(|(local, routers, here)| Circumstances {
        endpoints: (0..6).map(|n| (model::WgPublicKey::from_bytes([n; 32]), there(n))).collect(),
        local,
        routers,
        here,
        ..Circumstances::default()
    })
}
