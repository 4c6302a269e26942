//! What becomes of addresses and of sizes on the way through.

use std::net::SocketAddr;

use crate::common::{LINK, inside, ip, output, run};
use crate::firewall_stage::{
    At, PATIENCE, PORTS, SILENCE, STAGE, connects, pairs, set, speaks, table, tcp_door,
};
use reconcile::{Filter, Firewall, Grant, Ports, PrefixMap, Service, Services, SetId, Side, Translation};

#[test]
fn connections_are_masqueraded_where_it_is_said_and_nowhere_else() {
    inside(
        "firewall_translations::connections_are_masqueraded_where_it_is_said_and_nowhere_else",
        STAGE,
        async || {
            let hands = table();
            let masquerade = |to: &[&str]| Translation::Masquerade { from: Side::Set(SetId(1)), to: set(to) };
            let firewall = Firewall {
                sets: [(SetId(1), set(&["10.20.0.11/32", "fd20::11/128"]))].into(),
                translations: vec![masquerade(&["192.168.7.11/32", "fd07::/64"])],
                ..Firewall::default()
            };
            hands.set(&firewall).await.unwrap();
            let door = tcp_door(At::Lan, PORTS[0]);
            for (from, to, seen) in [
                ("10.20.0.11", "192.168.7.11", "192.168.7.1"),
                ("fd20::11", "fd07::11", "fd07::1"),
                ("10.20.0.12", "192.168.7.11", "10.20.0.12"),
                ("fd20::12", "fd07::11", "fd20::12"),
                ("10.20.0.11", "192.168.7.12", "10.20.0.11"),
            ] {
                let to = SocketAddr::new(ip(to), PORTS[0]);
                let mut client = connects(At::Peer, ip(from), to, PATIENCE).expect("everything is open");
                let (mut server, seen_as) = door.accept().unwrap();
                assert_eq!(seen_as.ip().to_canonical(), ip(seen), "{from} {to}");
                assert!(speaks(&mut client, &mut server), "{from} {to}");
            }
        },
    );
}

#[test]
fn a_prefix_is_reached_and_seen_under_its_other_name() {
    inside("firewall_translations::a_prefix_is_reached_and_seen_under_its_other_name", STAGE, async || {
        let hands = table();
        let map = |mapped: &str, real: &str| {
            let map = PrefixMap::new(mapped.parse().unwrap(), real.parse().unwrap()).unwrap();
            Translation::Map { map, known_to: vec![Side::Set(SetId(1)), Side::Nets(set(&["10.20.0.13/32"]))] }
        };
        let services = Services::Only(vec![Service::Tcp(Ports::Any)]);
        // Grants name the real addresses.
        let inward =
            Grant { from: Side::Any, to: Side::Nets(set(&["192.168.7.11/32", "fd07::11/128"])), services };
        let outward = Grant {
            from: Side::Nets(set(&["192.168.7.0/24", "fd07::/64"])),
            to: Side::Any,
            services: Services::All,
        };
        let firewall = Firewall {
            sets: [(SetId(1), set(&["10.20.0.11/32", "fd20::11/128"]))].into(),
            forward: Filter::Only(vec![inward, outward]),
            translations: vec![map("10.77.7.0/24", "192.168.7.0/24"), map("fd77::/64", "fd07::/64")],
            ..Firewall::default()
        };
        hands.set(&firewall).await.unwrap();
        let (door, peers_door) = (tcp_door(At::Lan, PORTS[0]), tcp_door(At::Peer, PORTS[0]));
        for (peer, real, mapped, shut) in [
            ("10.20.0.11", "192.168.7.11", "10.77.7.11", "10.77.7.12"),
            ("fd20::11", "fd07::11", "fd77::11", "fd77::12"),
        ] {
            let at_mapped = SocketAddr::new(ip(mapped), PORTS[0]);
            let mut client = connects(At::Peer, ip(peer), at_mapped, PATIENCE).expect("granted");
            let (mut server, seen_as) = door.accept().unwrap();
            assert_eq!(seen_as.ip().to_canonical(), ip(peer));
            assert_eq!(server.local_addr().unwrap().ip().to_canonical(), ip(real));
            assert!(speaks(&mut client, &mut server));
            let at_shut = SocketAddr::new(ip(shut), PORTS[0]);
            assert!(connects(At::Peer, ip(peer), at_shut, SILENCE).is_none(), "not granted: {shut}");
            let stranger = if peer.contains(':') { "fd20::12" } else { "10.20.0.12" };
            assert!(connects(At::Peer, ip(stranger), at_mapped, SILENCE).is_none(), "no name to {stranger}");

            for (peer, seen) in [(peer, mapped), (stranger, real)] {
                let at_peer = SocketAddr::new(ip(peer), PORTS[0]);
                let mut client = connects(At::Lan, ip(real), at_peer, PATIENCE).expect("granted");
                let (mut server, seen_as) = peers_door.accept().unwrap();
                assert_eq!(seen_as.ip().to_canonical(), ip(seen), "towards {peer}");
                assert!(speaks(&mut client, &mut server));
            }
        }
    });
}

#[test]
fn connections_learn_how_large_a_packet_our_link_carries() {
    inside(
        "firewall_translations::connections_learn_how_large_a_packet_our_link_carries",
        STAGE,
        async || {
            assert!(run(&format!("ip link set {LINK} mtu 1280")));
            let hands = table();
            let doors = (tcp_door(At::Peer, PORTS[0]), tcp_door(At::Lan, PORTS[0]));
            for clamp in [false, true] {
                for forward in [
                    Filter::Open,
                    Filter::Only(vec![Grant { from: Side::Any, to: Side::Any, services: Services::All }]),
                ] {
                    hands.set(&Firewall { clamp, forward, ..Firewall::default() }).await.unwrap();
                    for (from, to) in [(At::Lan, At::Peer), (At::Peer, At::Lan)] {
                        for (source, destination) in pairs(from, to).into_iter().step_by(5) {
                            let to_port = SocketAddr::new(destination, PORTS[0]);
                            let client = connects(from, source, to_port, PATIENCE).unwrap();
                            let door = if to == At::Peer { &doors.0 } else { &doors.1 };
                            let server = door.accept().unwrap().0;
                            // Headers of IP and TCP, and the time stamps.
                            let headers = if source.is_ipv4() { 52 } else { 72 };
                            let large = ["peer", "lan"].map(|machine| segment(machine) + headers);
                            drop((client, server));
                            assert_eq!(large, [if clamp { 1280 } else { 1500 }; 2], "{source} {destination}");
                        }
                    }
                }
            }
        },
    );
}

/// The largest segment that the connections of a machine send.
fn segment(machine: &str) -> u32 {
    let shown = output(&format!("ip netns exec {machine} ss -tinH state established"));
    let sizes = shown.split_whitespace().filter_map(|word| word.strip_prefix("mss:")?.parse().ok());
    sizes.max().unwrap_or_else(|| panic!("no connection is open:\n{shown}"))
}
