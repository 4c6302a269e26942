//! Whose addresses are believed, and on which link.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use crate::common::{inside, ip};
use crate::firewall_stage::{
    At, Expected, PATIENCE, PORTS, STAGE, UDP, all_of, at, connects, set, table, tcp_door, udp_ear,
};
use ipnet::IpNet;
use reconcile::{Filter, Firewall, SetId, Side, Way};

/// Addresses of members on the LAN, where no member is.
const PRETENDERS: &str = "
ip -n lan address add 10.20.0.77/32 dev eth0; ip -n lan address add fd20::77/128 dev eth0 nodad
ip -n lan address add 192.168.8.5/32 dev eth0; ip -n lan address add fd08::5/128 dev eth0 nodad
ip -n lan neighbour add fd07::1 lladdr 02:00:00:00:00:03 dev eth0 nud permanent
for link in all lan0; do echo 0 > /proc/sys/net/ipv4/conf/$link/rp_filter; done
";

/// Which of these datagrams arrive, sent from the LAN in this order, and then marks by ways that are always open.
fn arriving(from_lan: &[(&str, &str)]) -> Vec<bool> {
    let ears = [At::This, At::Peer].map(|machine| udp_ear(machine, PORTS[0]));
    at(At::Lan, || {
        let say = |number: u8, source: &str, destination: &str| {
            let mouth = UdpSocket::bind((ip(source), 0)).unwrap();
            mouth.send_to(&[number], (ip(destination), PORTS[0])).unwrap();
        };
        for (number, (source, destination)) in (0..).zip(from_lan) {
            say(number, source, destination);
        }
        say(u8::MAX, "192.168.7.12", "192.168.7.1");
        say(u8::MAX, "192.168.7.12", "10.20.0.12");
    });
    let mut came = vec![false; from_lan.len()];
    for ear in &ears {
        let mut bytes = [0];
        loop {
            ear.recv(&mut bytes).expect("the mark comes");
            let Some(one) = came.get_mut(usize::from(bytes[0])) else { break };
            *one = true;
        }
    }
    came
}

#[test]
fn addresses_of_members_are_believed_on_our_link_alone_and_what_is_behind_is_judged() {
    let stage = format!("{STAGE}{PRETENDERS}");
    inside(
        "firewall_pretence::addresses_of_members_are_believed_on_our_link_alone_and_what_is_behind_is_judged",
        &stage,
        async || {
            let hands = table();
            let (here, through) =
                (Way::Here { from_link: false }, Way::Through { from_link: false, to_link: true });
            let tries = [
                (here, "10.20.0.77", "192.168.7.1"),
                (here, "192.168.7.11", "10.20.0.1"),
                (here, "192.168.7.11", "192.168.7.1"),
                (through, "10.20.0.77", "10.20.0.11"),
                (through, "192.168.7.11", "10.20.0.11"),
                (here, "fd20::77", "fd07::1"),
                (here, "fd07::11", "fd20::1"),
                (here, "fd07::11", "fd07::1"),
                (through, "fd20::77", "fd20::11"),
                (through, "fd07::11", "fd20::11"),
            ];
            let ends = tries.map(|(_, source, destination)| (source, destination));
            let nets = |texts: &[&str]| texts.iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
            let (nobody, inside) = (BTreeSet::new(), nets(&["10.20.0.0/24", "fd20::/64"]));
            let (all, one): (BTreeSet<IpNet>, _) =
                (nets(&["192.168.7.0/24", "fd07::/64"]), nets(&["192.168.7.11/32", "fd07::12/128"]));
            let everything = || all_of(Side::Any, Side::Any);
            let members = || all_of(Side::Nets(set(&["10.20.0.0/24", "fd20::/64"])), Side::Any);
            for (filter, inside, behind) in [
                (Filter::Open, &nobody, &nobody),
                (Filter::Open, &inside, &nobody),
                (Filter::Open, &inside, &all),
                (everything(), &inside, &nobody),
                (everything(), &inside, &one),
                (everything(), &inside, &all),
                (members(), &inside, &all),
            ] {
                let (inside, behind) = (inside.clone(), behind.clone());
                let (input, forward) = (filter, everything());
                let firewall = Firewall { input, forward, inside, behind, ..Firewall::default() };
                hands.set(&firewall).await.unwrap();
                let wanted = tries.map(|(way, source, destination)| {
                    let expected = Expected { firewall: &firewall, way };
                    expected.passes((ip(source), ip(destination)), (UDP, Some(PORTS[0])))
                });
                assert_eq!(wanted.iter().all(|passes| *passes), firewall.inside.is_empty());
                assert_eq!(arriving(&ends), wanted, "{tries:?} by {firewall:#?}");
                let door = tcp_door(At::This, PORTS[1]);
                for (own, member) in [("10.20.0.1", "10.20.0.11"), ("fd20::1", "fd20::11")] {
                    let to = SocketAddr::new(ip(own), PORTS[1]);
                    assert!(connects(At::This, ip(own), to, PATIENCE).is_some(), "it speaks to itself");
                    assert!(connects(At::Peer, ip(member), to, PATIENCE).is_some(), "our link is open");
                }
                drop(door);
            }
        },
    );
}

#[test]
fn whoever_our_link_leads_to_comes_over_no_other_link_on_its_way_to_ours() {
    let stage = format!("{STAGE}{PRETENDERS}");
    inside(
        "firewall_pretence::whoever_our_link_leads_to_comes_over_no_other_link_on_its_way_to_ours",
        &stage,
        async || {
            let hands = table();
            // A member of the network, a range behind another member, and one of those who are really there.
            let sources = ["10.20.0.77", "192.168.8.5", "192.168.7.11", "fd20::77", "fd08::5", "fd07::11"];
            let peer = |source: &str| if source.contains(':') { "fd20::11" } else { "10.20.0.11" };
            let mut tries: Vec<(&str, &str)> = sources.map(|source| (source, peer(source))).into();
            tries.push(("192.168.8.5", "192.168.7.1"));
            let members = ["10.20.0.77/32", "192.168.8.0/24", "fd20::77/128", "fd08::/64"];
            let wide = ["10.20.0.77/32", "192.168.0.0/16", "fd20::77/128", "fd00::/9"];
            let real = ["192.168.7.0/24", "fd07::/64"];
            for (members, behind, came) in [
                (&[][..], &[][..], [true, true, true, true, true, true, true]),
                (&members, &[], [false, false, true, false, false, true, true]),
                (&wide, &real, [false, false, true, false, false, true, true]),
            ] {
                let firewall = Firewall {
                    sets: [(SetId(1), set(members))].into(),
                    forward: all_of(Side::Any, Side::Any),
                    behind: behind.iter().map(|net| net.parse().unwrap()).collect(),
                    beyond: vec![Side::Set(SetId(1))],
                    ..Firewall::default()
                };
                hands.set(&firewall).await.unwrap();
                assert_eq!(arriving(&tries), came, "{tries:?} by {firewall:#?}");
            }
        },
    );
}
