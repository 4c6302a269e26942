//! What is let in and through, against an evaluation of the map that knows nothing of sets and rules.
//!
//! The maps are such as an honest server makes: addresses and ranges do not collide, and carriers are in the map.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use model::{
    Addresses, Generation, HostId, HostName, MemberId, Mtu, NetworkId, Protocol, Ranges, WgPublicKey,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use reconcile::{Circumstances, LinkKind, LinkName, LocalSettings, Packet, Verdict, Way, desired};
use wire::{
    Class, EgressDuty, Grant, HostMap, Membership, NatMapping, Net, OwnHost, Party, Peer, PeerNode,
    ServerLinks,
};

use crate::machines::OURS;

const NETWORKS: u8 = 2;
const OWN: HostId = HostId::from_bytes([9; 16]);
const GATEWAY: HostId = HostId::from_bytes([1; 16]);

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Relayed,
    OwnClient,
    /// A client that may come in here, and came in by the other gateway.
    AwayClient,
    /// A client that is looked for at the other gateway first, and came in here.
    StrayClient,
    OthersClient,
    OwnRange,
    OthersRange,
}

#[derive(Debug, Clone)]
struct Member {
    id: MemberId,
    network: u8,
    kind: Kind,
    classes: Vec<Class>,
    /// One of its addresses, as it is seen where packets are judged.
    ip: IpAddr,
}

#[derive(Debug, Clone)]
struct Story {
    map: HostMap,
    members: Vec<Member>,
}

fn network(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

fn id(network: u8, number: u8) -> MemberId {
    MemberId::from_bytes([network + 1, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

fn entry(member: &Member, number: u8) -> (Peer, Option<EgressDuty>) {
    let v4 = |last| Addresses { v4: Some(Ipv4Addr::new(10, member.network, 0, last)), v6: None };
    let mut node = PeerNode::new(network(member.network), v4(10 + number));
    node.classes.clone_from(&member.classes);
    let range = Net(format!("172.{}.{number}.0/24", 16 + member.network).parse().unwrap());
    let mut duty = None;
    match member.kind {
        Kind::Node => {}
        Kind::Relayed => (node.via, node.relayed) = (vec![OWN], true),
        Kind::OwnClient => node.via = vec![OWN],
        Kind::OthersClient => node.via = vec![GATEWAY],
        Kind::AwayClient | Kind::StrayClient => node.via = vec![GATEWAY, OWN],
        Kind::OwnRange | Kind::OthersRange => {
            node.addresses = Addresses::default();
            node.ranges = vec![range];
            node.via = vec![if member.kind == Kind::OwnRange { OWN } else { GATEWAY }];
        }
    }
    if member.kind == Kind::OwnRange {
        let real = Net(format!("192.168.{}.0/24", 10 * member.network + number).parse().unwrap());
        duty = Some(EgressDuty { id: member.id, range: real, mapped: Some(range), nat: false });
    }
    let direct = matches!(
        member.kind,
        Kind::Node | Kind::Relayed | Kind::OwnClient | Kind::AwayClient | Kind::StrayClient
    );
    let peer = Peer {
        name: HostName::nearest("peer"),
        key: direct.then(|| WgPublicKey::from_bytes([10 * member.network + number + 1; 32])),
        nodes: vec![node],
        // Nobody has told anything of itself yet.
        seen: vec![],
        local: vec![],
        fixed: None,
        nat: NatMapping::Unknown,
    };
    (peer, duty)
}

fn place(network: u8, number: u8, kind: Kind) -> IpAddr {
    let ip = match kind {
        Kind::Node
        | Kind::Relayed
        | Kind::OwnClient
        | Kind::AwayClient
        | Kind::StrayClient
        | Kind::OthersClient => [10, network, 0, 10 + number],
        Kind::OwnRange => [192, 168, 10 * network + number, 77],
        Kind::OthersRange => [172, 16 + network, number, 77],
    };
    ip.into()
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let kinds = select(vec![
        Kind::Node,
        Kind::Relayed,
        Kind::OwnClient,
        Kind::AwayClient,
        Kind::StrayClient,
        Kind::OthersClient,
        Kind::OwnRange,
        Kind::OthersRange,
    ]);
    let classes = btree_set(0u64..3, 0..3);
    vec((0..NETWORKS, kinds, classes), 0..8).prop_map(|all| {
        let member = |(number, (network, kind, classes)): (u8, (u8, Kind, _))| {
            let classes: std::collections::BTreeSet<u64> = classes;
            let classes = classes.into_iter().map(Class::from_number).collect();
            Member { id: id(network, number), network, kind, classes, ip: place(network, number, kind) }
        };
        (0..).zip(all).map(member).collect()
    })
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![
        Just(Party::Everything),
        (0u64..3).prop_map(|class| Party::Class(Class::from_number(class))),
        (0..NETWORKS, 0u8..8).prop_map(|(network, number)| Party::Member(id(network, number))),
        Just(Party::Member(MemberId::from_bytes([9; 16]))),
        Just(Party::Outside),
    ]
}

fn membership() -> impl Strategy<Value = (bool, Vec<Grant>, Vec<Class>, bool)> {
    let service = select(vec!["tcp/80", "tcp/1-100", "udp", "icmp"]).prop_map(|text| text.parse().unwrap());
    let grant = (vec(party(), 1..3), vec(party(), 1..3), vec(service, 0..2))
        .prop_map(|(from, to, services)| Grant { from, to, services });
    let classes = btree_set(0u64..3, 0..2).prop_map(|all| all.into_iter().map(Class::from_number).collect());
    (any::<bool>(), vec(grant, 0..4), classes, any::<bool>())
}

fn story() -> impl Strategy<Value = Story> {
    (members(), vec(membership(), usize::from(NETWORKS))).prop_map(|(members, memberships)| {
        let mut networks = BTreeMap::new();
        for (number, (guarded, grants, classes, internet_gateway)) in (0..).zip(memberships) {
            let range = format!("10.{number}.0.0/24").parse().unwrap();
            let membership = Membership {
                addresses: Addresses { v4: Some(Ipv4Addr::new(10, number, 0, 9)), v6: None },
                guarded,
                grants,
                classes,
                internet_gateway,
                ..Membership::plain("net".parse().unwrap(), Ranges::new(Some(range), None).unwrap())
            };
            networks.insert(network(number), membership);
        }
        // Whoever leads to others' clients and ranges.
        let gateway = Peer {
            nodes: (0..NETWORKS).map(|number| PeerNode::new(network(number), Addresses::default())).collect(),
            key: Some(WgPublicKey::from_bytes([250; 32])),
            ..entry(
                &Member {
                    id: GATEWAY.into(),
                    network: 0,
                    kind: Kind::Node,
                    classes: vec![],
                    ip: place(0, 0, Kind::Node),
                },
                0,
            )
            .0
        };
        let mut peers = BTreeMap::from([(MemberId::from(GATEWAY), gateway)]);
        for (number, member) in (0..).zip(&members) {
            let (peer, duty) = entry(member, number);
            peers.insert(member.id, peer);
            networks.get_mut(&network(member.network)).unwrap().egress.extend(duty);
        }
        let host = OwnHost {
            id: OWN,
            name: HostName::nearest("own"),
            mtu: Mtu::DEFAULT,
            seen: vec![],
            nat: NatMapping::Unknown,
            rotate: false,
        };
        let server = ServerLinks::default();
        Story {
            map: HostMap { generation: Generation::from_number(1), host, server, networks, peers },
            members,
        }
    })
}

impl Story {
    fn is(&self, member: &Member, network: u8, party: Party) -> bool {
        member.network == network
            && match party {
                Party::Everything => true,
                Party::Class(class) => member.classes.contains(&class),
                Party::Member(id) => member.id == id,
                Party::Outside => false,
            }
    }

    fn granted(
        &self,
        network: u8,
        from: &Member,
        to: impl Fn(Party) -> bool,
        protocol: Protocol,
        port: Option<u16>,
    ) -> bool {
        self.grants(network, from, to).any(|grant| permits(grant, protocol, port))
    }

    fn granted_anything(&self, network: u8, from: &Member, to: impl Fn(Party) -> bool) -> bool {
        self.grants(network, from, to).next().is_some()
    }

    fn grants(&self, network: u8, from: &Member, to: impl Fn(Party) -> bool) -> impl Iterator<Item = &Grant> {
        let grants = self.map.networks[&self::network(network)].grants.iter();
        grants.filter(move |grant| {
            grant.from.iter().any(|party| self.is(from, network, *party))
                && grant.to.iter().any(|party| to(*party))
        })
    }

    /// Whether somebody may be this host itself.
    fn is_us(&self, network: u8, party: Party) -> bool {
        match party {
            Party::Everything => true,
            Party::Class(class) => self.map.networks[&self::network(network)].classes.contains(&class),
            Party::Member(id) => id == OWN,
            Party::Outside => false,
        }
    }

    /// Whether a member's packet to this host's own address is let in.
    fn let_in(&self, from: &Member, network: u8, protocol: Protocol, port: Option<u16>) -> bool {
        if !self.map.networks.values().any(|membership| membership.guarded) {
            // Who is in a range of its own network reaches this host in that network; a range is nowhere in any.
            let is_range = matches!(from.kind, Kind::OwnRange | Kind::OthersRange);
            return from.network == network || is_range;
        }
        let membership = &self.map.networks[&self::network(network)];
        let is_us = |party: Party| self.is_us(network, party);
        let leads_out = membership.internet_gateway
            && self.granted_anything(network, from, |party| party == Party::Outside);
        let asks_for_names = comes_in_here(from.kind) || leads_out;
        let asks_a_router =
            !comes_in_here(from.kind) && from.kind != Kind::OwnRange && !membership.egress.is_empty();
        let serves = match (protocol, port) {
            (Protocol::Udp | Protocol::Tcp, Some(53)) => asks_for_names,
            (Protocol::Udp, Some(51_823)) => asks_a_router,
            (Protocol::Udp | Protocol::Tcp | Protocol::Icmp | Protocol::Other(_), _) => false,
        };
        from.network == network
            && (!membership.guarded || serves || self.granted(network, from, is_us, protocol, port))
    }

    /// Whether this host itself may open that to a member.
    fn let_out(&self, network: u8, to: &Member, protocol: Protocol, port: Option<u16>) -> bool {
        let membership = &self.map.networks[&self::network(to.network)];
        // All others judge themselves, or somebody else judges for them.
        if !comes_in_here(to.kind) || !membership.guarded {
            return true;
        }
        network == to.network
            && membership.grants.iter().any(|grant| {
                grant.from.iter().any(|party| self.is_us(network, *party))
                    && grant.to.iter().any(|party| self.is(to, network, *party))
                    && permits(grant, protocol, port)
            })
    }

    /// Whether this host passes anything on in a network.
    fn carries_in(&self, network: u8) -> bool {
        let carried = |member: &Member| member.network == network && is_carried(member.kind);
        self.map.networks[&self::network(network)].internet_gateway || self.members.iter().any(carried)
    }

    /// Whether a packet from one member to another is let through.
    fn let_through(&self, from: &Member, to: &Member, protocol: Protocol, port: Option<u16>) -> bool {
        let (from_us, to_us) = (is_carried(from.kind), is_carried(to.kind));
        if from.network != to.network || !(from_us || to_us) {
            return false;
        }
        // Whoever judges himself gets it, and so does whom others judge.
        if to.kind == Kind::Relayed || !to_us {
            return true;
        }
        let network = from.network;
        let guarded = self.map.networks[&self::network(network)].guarded;
        !guarded || self.granted(network, from, |party| self.is(to, network, party), protocol, port)
    }
}

fn permits(grant: &Grant, protocol: Protocol, port: Option<u16>) -> bool {
    grant.services.is_empty() || grant.services.iter().any(|service| service.permits(protocol, port))
}

fn is_carried(kind: Kind) -> bool {
    match kind {
        Kind::Relayed | Kind::OwnClient | Kind::StrayClient | Kind::OwnRange => true,
        Kind::Node | Kind::AwayClient | Kind::OthersClient | Kind::OthersRange => false,
    }
}

fn comes_in_here(kind: Kind) -> bool {
    match kind {
        Kind::OwnClient | Kind::StrayClient => true,
        Kind::Node
        | Kind::Relayed
        | Kind::AwayClient
        | Kind::OthersClient
        | Kind::OwnRange
        | Kind::OthersRange => false,
    }
}

const PROBES: [(Protocol, u8, Option<u16>); 6] = [
    (Protocol::Tcp, 6, Some(80)),
    (Protocol::Tcp, 6, Some(443)),
    (Protocol::Tcp, 6, Some(53)),
    (Protocol::Udp, 17, Some(51_823)),
    (Protocol::Udp, 17, Some(7)),
    (Protocol::Icmp, 1, None),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_pair_and_port_is_judged_as_the_map_says(story in story()) {
        let settings = LocalSettings {
            link: LinkName::default(),
            kind: LinkKind::Kernel,
            key: OURS,
            former: None,
            port: 1,
            mtu: None,
        };
        let strays = story.members.iter().filter(|member| member.kind == Kind::StrayClient);
        let circumstances = Circumstances { here: strays.map(|member| member.id).collect(), ..Circumstances::default() };
        let interface = desired(&story.map, &settings, &circumstances).interface.unwrap();
        for member in story.members.iter().filter(|member| member.kind != Kind::OwnRange) {
            let carrier = match member.kind {
                Kind::AwayClient | Kind::OthersClient | Kind::OthersRange => MemberId::from(GATEWAY),
                Kind::Node | Kind::Relayed | Kind::OwnClient | Kind::StrayClient | Kind::OwnRange => member.id,
            };
            let key = story.map.peers[&carrier].key.unwrap();
            let has = |peer: &reconcile::DesiredPeer| peer.allowed.iter().any(|net| net.contains(&member.ip));
            let sent_to: Vec<_> = interface.peers.iter().filter(|(_, peer)| has(peer)).map(|(key, _)| *key).collect();
            prop_assert_eq!(sent_to, [key], "{:?}", member);
        }
        let firewall = interface.firewall.unwrap().firewall;
        for (protocol, number, port) in PROBES {
            let passes = |way, source, destination| {
                let packet = Packet { way, source, destination, protocol: number, port, reply: false, exempt: false };
                firewall.verdict(&packet) == Verdict::Accept
            };
            for from in &story.members {
                for network in 0..NETWORKS {
                    let own = Ipv4Addr::new(10, network, 0, 9).into();
                    let guarded = |number| story.map.networks[&self::network(number)].guarded;
                    // A range behind this host speaks over its own link, and is nobody in another network.
                    let from_link = from.kind != Kind::OwnRange;
                    let unjudged = !from_link && !guarded(network);
                    let expected = unjudged || story.let_in(from, network, protocol, port);
                    let came = passes(Way::Here { from_link }, from.ip, own);
                    prop_assert_eq!(came, expected, "{:?} to us, {:?} {:?}", from, protocol, port);
                    let opened = passes(Way::Out { to_link: from_link }, own, from.ip);
                    let expected = story.let_out(network, from, protocol, port);
                    prop_assert_eq!(opened, expected, "we to {:?}, {:?} {:?}", from, protocol, port);
                }
                let outside = Way::Through { from_link: true, to_link: false };
                let leads_out = (0..NETWORKS).any(|network| {
                    story.map.networks[&self::network(network)].internet_gateway
                        && story.granted(network, from, |party| party == Party::Outside, protocol, port)
                });
                prop_assert_eq!(passes(outside, from.ip, "198.51.100.7".parse().unwrap()), leads_out, "{:?} outside", from);
                for to in story.members.iter().filter(|to| to.id != from.id) {
                    let way = Way::Through { from_link: from.kind != Kind::OwnRange, to_link: to.kind != Kind::OwnRange };
                    // Whoever is met on our link pretends if it comes over another.
                    let beside = Way::Through { from_link: false, to_link: true };
                    if from.kind != Kind::OwnRange && to.kind != Kind::OwnRange {
                        prop_assert!(!passes(beside, from.ip, to.ip), "{:?} beside our link, to {:?}", from, to);
                        let forged = Packet { way: beside, source: from.ip, destination: to.ip, protocol: number, port, reply: true, exempt: false };
                        let carries = story.carries_in(from.network);
                        prop_assert!(!carries || firewall.verdict(&forged) == Verdict::Drop, "{:?} answers {:?}", from, to);
                    }
                    if way == (Way::Through { from_link: false, to_link: false }) {
                        continue;
                    }
                    let expected = story.let_through(from, to, protocol, port);
                    prop_assert_eq!(passes(way, from.ip, to.ip), expected, "{:?} to {:?}, {:?} {:?}", from, to, protocol, port);
                }
            }
            // A stranger who is in no network.
            let stranger = "203.0.113.9".parse().unwrap();
            if story.map.networks.values().any(|membership| membership.guarded) {
                let own = Ipv4Addr::new(10, 0, 0, 9).into();
                prop_assert!(!passes(Way::Here { from_link: true }, stranger, own), "a stranger");
                let beside = passes(Way::Here { from_link: false }, stranger, own);
                prop_assert_eq!(beside, !story.map.networks[&network(0)].guarded, "a neighbour");
            }
            // What is in none of our networks is not judged: a full tunnel, ranges of others.
            let out = Way::Out { to_link: true };
            prop_assert!(passes(out, Ipv4Addr::new(10, 0, 0, 9).into(), stranger));
            for to in &story.members {
                prop_assert!(!passes(Way::Through { from_link: true, to_link: true }, stranger, to.ip), "a stranger");
            }
        }
    }
}
