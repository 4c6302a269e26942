//! One host in two networks: what it does for the one it does not do for the other.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use model::{Addresses, Generation, HostId, HostName, MemberId, Mtu, NetworkId, Ranges, WgPublicKey};
use reconcile::{
    Circumstances, Firewall, Interface, LinkKind, LinkName, LocalSettings, Packet, RuleMatch, Translation,
    Verdict, Way, desired,
};
use wire::{
    EgressDuty, HostMap, InternetWay, Membership, NatMapping, Net, OwnHost, Peer, PeerNode, ServerLinks,
};

use crate::machines::OURS;

pub(crate) const OWN: HostId = HostId::from_bytes([9; 16]);
const SITE: &str = "192.168.7.0/24";

pub(crate) fn network(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A peer of one network, 10.N.0.11.
pub(crate) fn peer(number: u8, via: Vec<HostId>) -> (MemberId, Peer) {
    let v4 = Some(Ipv4Addr::new(10, number, 0, 11));
    let node = PeerNode { via, ..PeerNode::new(network(number), Addresses { v4, v6: None }) };
    let peer = Peer {
        name: HostName::nearest("peer"),
        key: Some(WgPublicKey::from_bytes([number + 1; 32])),
        nodes: vec![node],
        seen: vec![],
        local: vec![],
        fixed: None,
        nat: NatMapping::Unknown,
    };
    (MemberId::from_bytes([number + 1; 16]), peer)
}

/// Two networks that allow everything, each with one peer that this host carries or not.
pub(crate) fn map(carried: bool) -> HostMap {
    let membership = |number: u8| {
        let range = format!("10.{number}.0.0/24").parse().unwrap();
        let addresses = Addresses { v4: Some(Ipv4Addr::new(10, number, 0, 9)), v6: None };
        let name = "net".parse().unwrap();
        Membership { addresses, ..Membership::plain(name, Ranges::new(Some(range), None).unwrap()) }
    };
    let via = || if carried { vec![OWN] } else { vec![] };
    let host = OwnHost {
        id: OWN,
        name: HostName::nearest("own"),
        mtu: Mtu::DEFAULT,
        seen: vec![],
        nat: NatMapping::Unknown,
        rotate: false,
    };
    HostMap {
        generation: Generation::from_number(1),
        host,
        server: ServerLinks::default(),
        networks: [0, 1].map(|number| (network(number), membership(number))).into(),
        peers: [0, 1].map(|number| peer(number, via())).into(),
    }
}

fn leads_to_the_site(map: &mut HostMap, number: u8, mapped: Option<&str>, nat: bool) {
    let net = |text: &str| Net(text.parse().unwrap());
    let id = MemberId::from_bytes([100 + number; 16]);
    let duty = EgressDuty { id, range: net(SITE), mapped: mapped.map(net), nat };
    map.networks.get_mut(&network(number)).unwrap().egress.push(duty);
}

fn settings() -> LocalSettings {
    let (link, kind) = (LinkName::default(), LinkKind::Kernel);
    LocalSettings { link, kind, key: OURS, former: None, port: 1, mtu: None }
}

pub(crate) fn interface(map: &HostMap) -> Interface {
    desired(map, &settings(), &Circumstances::default()).interface.unwrap()
}

fn firewall(map: &HostMap) -> Firewall {
    interface(map).firewall.unwrap().firewall.as_ref().clone()
}

/// The source that a packet of the site leaves with over our link.
fn leaves_as(firewall: &Firewall, source: IpAddr, to: IpAddr) -> IpAddr {
    let way = Way::Through { from_link: false, to_link: true };
    let packet =
        Packet { way, source, destination: to, protocol: 6, port: Some(80), reply: false, exempt: false };
    assert_eq!(firewall.verdict(&packet), Verdict::Accept, "{packet:?}");
    let known_as = |translation: &Translation| match translation {
        Translation::Map { map, known_to } if known_to.iter().any(|side| firewall.covers(side, to)) => {
            map.to_mapped(source)
        }
        Translation::Map { .. } | Translation::Masquerade { .. } => None,
    };
    firewall.translations.iter().find_map(known_as).unwrap_or(source)
}

#[test]
fn a_site_is_known_to_each_network_by_the_range_that_it_has_there() {
    for carried in [false, true] {
        for (first, second, seen) in [
            (None, Some("10.77.7.0/24"), ["192.168.7.5", "10.77.7.5"]),
            (Some("10.76.7.0/24"), None, ["10.76.7.5", "192.168.7.5"]),
            (Some("10.76.7.0/24"), Some("10.77.7.0/24"), ["10.76.7.5", "10.77.7.5"]),
        ] {
            let mut map = map(carried);
            leads_to_the_site(&mut map, 0, first, false);
            leads_to_the_site(&mut map, 1, second, false);
            let firewall = firewall(&map);
            for (to, seen) in ["10.0.0.11", "10.1.0.11"].into_iter().zip(seen) {
                assert_eq!(leaves_as(&firewall, ip("192.168.7.5"), ip(to)), ip(seen), "to {to}");
            }
        }
    }
}

#[test]
fn a_router_stands_before_a_range_for_those_who_asked_for_it() {
    let mut map = map(false);
    leads_to_the_site(&mut map, 0, None, false);
    leads_to_the_site(&mut map, 1, Some("10.77.7.0/24"), true);
    let firewall = firewall(&map);
    for (from, hidden) in [("10.0.0.11", false), ("10.1.0.11", true)] {
        let is_hidden = firewall.translations.iter().any(|translation| match translation {
            Translation::Masquerade { from: side, to } => {
                firewall.covers(side, ip(from)) && to.covers(ip("192.168.7.5"))
            }
            Translation::Map { .. } => false,
        });
        assert_eq!(is_hidden, hidden, "{from}");
    }
}

#[test]
fn a_full_tunnel_is_no_way_to_its_gateways_addresses_in_other_networks() {
    let mut map = map(true);
    map.networks.values_mut().for_each(|membership| membership.internet_gateway = true);
    for guarded in [[false, false], [true, false], [false, true], [true, true]] {
        for (number, guarded) in (0..).zip(guarded) {
            map.networks.get_mut(&network(number)).unwrap().guarded = guarded;
        }
        let firewall = firewall(&map);
        for (from, to, own) in [(0, 0, true), (0, 1, false), (1, 0, false), (1, 1, true)] {
            let source = Ipv4Addr::new(10, from, 0, 11).into();
            let destination = Ipv4Addr::new(10, to, 0, 9).into();
            let way = Way::Here { from_link: true };
            let packet =
                Packet { way, source, destination, protocol: 6, port: Some(22), reply: false, exempt: false };
            let passes = firewall.verdict(&packet) == Verdict::Accept;
            assert_eq!(passes, own && !guarded[usize::from(from)], "{guarded:?} {packet:?}");
            let reply = Packet { reply: true, ..packet };
            assert_eq!(firewall.verdict(&reply), Verdict::Accept, "{guarded:?} {reply:?}");
        }
    }
}

#[test]
fn nothing_that_shares_addresses_with_what_a_host_leads_to_is_sent_elsewhere() {
    for (mapped, range, left_out) in [
        (Some("10.77.7.0/24"), "192.168.7.128/25", true),
        (Some("10.77.7.0/24"), "192.168.0.0/16", true),
        (Some("10.77.7.0/24"), "10.77.7.64/26", true),
        (None, "192.168.7.0/28", true),
        (Some("10.77.7.0/24"), "192.168.8.0/24", false),
    ] {
        let range: IpNet = range.parse().unwrap();
        let mut map = map(false);
        leads_to_the_site(&mut map, 0, mapped, false);
        let (_, router) = map.peers.iter_mut().next_back().unwrap();
        router.nodes[0].ranges = vec![Net(range)];
        let desired = desired(&map, &settings(), &Circumstances::default());
        let interface = desired.interface.as_ref().unwrap();
        let sent = interface.peers.values().any(|peer| peer.allowed.contains(&range));
        assert_eq!((sent, interface.routes.contains_key(&range)), (!left_out, !left_out), "{range}");
        assert_eq!(desired.outcomes().len(), usize::from(left_out), "people are told of {range}");
    }
}

#[test]
fn what_a_host_leads_to_is_looked_up_in_the_main_table_while_it_uses_an_internet_gateway() {
    for lan in [true, false] {
        let mut map = map(false);
        leads_to_the_site(&mut map, 1, Some("10.77.7.0/24"), true);
        let via = HostId::from_bytes([1; 16]);
        map.networks.get_mut(&network(0)).unwrap().internet = Some(InternetWay { via: Some(via), lan });
        let tunnel = interface(&map).tunnel.unwrap();
        assert_eq!(tunnel.leads_to, [SITE.parse().unwrap()].into());
        let rules = reconcile::Rule::of_tunnel(&tunnel);
        let exception = rules.iter().find(|rule| rule.which == RuleMatch::To(SITE.parse().unwrap())).unwrap();
        let mut switches = rules.iter().filter(|rule| rule.is_switch());
        assert!(switches.all(|switch| exception.priority < switch.priority && !exception.is_switch()));
    }
}

#[test]
fn what_a_host_is_to_lead_to_and_does_not_is_told() {
    let egress = |map: &mut HostMap, number: u8| {
        let member = MemberId::from_bytes([100 + number; 16]);
        let node = PeerNode { via: vec![OWN], ..PeerNode::new(network(number), Addresses::default()) };
        let (_, other) = peer(number, vec![]);
        map.peers.insert(member, Peer { key: None, nodes: vec![node], ..other });
    };
    let told = |map: &HostMap| -> Vec<String> {
        let all = desired(map, &settings(), &Circumstances::default()).outcomes();
        all.into_iter().map(|outcome| outcome.error).collect()
    };
    let mut own = map(false);
    leads_to_the_site(&mut own, 0, Some("10.77.7.0/24"), true);
    egress(&mut own, 0);
    assert_eq!(told(&own), Vec::<String>::new());
    own.networks.get_mut(&network(1)).unwrap().ranges = Ranges::new(SITE.parse().ok(), None).unwrap();
    assert!(told(&own)[0].contains("a network that this host is in"), "{:?}", told(&own));

    let mut twice = map(false);
    leads_to_the_site(&mut twice, 0, Some("10.77.7.0/24"), true);
    leads_to_the_site(&mut twice, 0, Some("10.78.7.0/24"), true);
    egress(&mut twice, 0);
    let duties = &mut twice.networks.get_mut(&network(0)).unwrap().egress;
    duties[0].id = MemberId::from_bytes([50; 16]);
    assert!(told(&twice)[0].contains("under another name already"), "{:?}", told(&twice));
}
