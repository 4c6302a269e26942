//! What becomes of connections when members and grants come and go.

use std::net::{SocketAddr, TcpListener};

use crate::common::{inside, ip};
use crate::firewall_stage::{
    At, PATIENCE, PORTS, SILENCE, STAGE, all_of, connects, is_cut, set, speaks, table, tcp_door,
};
use ipnet::IpNet;
use reconcile::{AddressSet, Ban, Filter, Firewall, Grant, Services, SetChange, SetChanges, SetId, Side};

#[test]
fn a_member_that_comes_may_speak_and_one_that_goes_may_not_go_on() {
    inside(
        "firewall_connections::a_member_that_comes_may_speak_and_one_that_goes_may_not_go_on",
        STAGE,
        async || {
            let hands = table();
            let of_set = Grant { from: Side::Set(SetId(1)), to: Side::Any, services: Services::All };
            let firewall = Firewall {
                sets: [(SetId(1), AddressSet::default())].into(),
                input: Filter::Only(vec![of_set]),
                ..Firewall::default()
            };
            hands.set(&firewall).await.unwrap();
            let door = tcp_door(At::This, PORTS[0]);
            for member in ["10.20.0.11", "fd20::11"] {
                let own = if member.contains(':') { ip("fd20::1") } else { ip("10.20.0.1") };
                let call =
                    |patience| connects(At::Peer, ip(member), SocketAddr::new(own, PORTS[0]), patience);
                assert!(call(SILENCE).is_none(), "not yet a member: {member}");
                let change = |add: Vec<IpNet>, remove: Vec<IpNet>| {
                    SetChanges(vec![SetChange { set: SetId(1), add, remove }])
                };
                let joins = change(vec![ip(member).into()], Vec::new());
                hands.change(firewall.digest(), &joins).await.unwrap();
                let mut client = call(PATIENCE).expect("a member");
                let mut server = door.accept().unwrap().0;
                let leaves = change(Vec::new(), vec![ip(member).into()]);
                hands.change(firewall.digest().after(&joins), &leaves).await.unwrap();
                assert!(call(SILENCE).is_none(), "a member no more: {member}");
                assert!(is_cut(&mut client, &mut server), "what was open ends: {member}");
            }
        },
    );
}

#[test]
fn replies_pass_where_nothing_else_does_and_what_is_granted_outlives_a_new_firewall() {
    inside(
        "firewall_connections::replies_pass_where_nothing_else_does_and_what_is_granted_outlives_a_new_firewall",
        STAGE,
        async || {
            let hands = table();
            let to_peer = all_of(Side::Any, Side::Nets(set(&["10.20.0.0/24", "fd20::/64"])));
            let outward =
                Firewall { input: Filter::Only(Vec::new()), forward: to_peer, ..Firewall::default() };
            let door = tcp_door(At::Peer, PORTS[0]);
            for (own, lan, peer) in
                [("10.20.0.1", "192.168.7.11", "10.20.0.11"), ("fd20::1", "fd07::11", "fd20::11")]
            {
                hands.set(&outward).await.unwrap();
                let peer_at = SocketAddr::new(ip(peer), PORTS[0]);
                let mut open = Vec::new();
                for (machine, address) in [(At::This, own), (At::Lan, lan)] {
                    let mut client = connects(machine, ip(address), peer_at, PATIENCE).expect("outward");
                    let mut server = door.accept().unwrap().0;
                    assert!(speaks(&mut client, &mut server), "{machine:?} hears replies");
                    open.push((client, server));
                }
                let same = Firewall { clamp: true, ..outward.clone() };
                hands.set(&same).await.unwrap();
                for (client, server) in &mut open {
                    assert!(speaks(client, server), "what is granted stays open");
                }
                let back = tcp_door(At::Lan, PORTS[1]);
                assert!(connects(At::Peer, ip(peer), SocketAddr::new(ip(lan), PORTS[1]), SILENCE).is_none());
                drop(back);
            }
        },
    );
}

#[test]
fn a_connection_ends_with_its_grant_and_all_others_go_on() {
    inside(
        "firewall_connections::a_connection_ends_with_its_grant_and_all_others_go_on",
        STAGE,
        async || {
            let hands = table();
            let doors =
                (tcp_door(At::This, PORTS[0]), tcp_door(At::Lan, PORTS[0]), tcp_door(At::Peer, PORTS[0]));
            for (own, lan, peers) in [
                ("10.20.0.1", "192.168.7.11", ["10.20.0.11", "10.20.0.12"]),
                ("fd20::1", "fd07::11", ["fd20::11", "fd20::12"]),
            ] {
                let of = |members: &[&str]| {
                    let members = members.iter().map(|member| IpNet::from(ip(member))).collect();
                    let grants = all_of(Side::Nets(members), Side::Any);
                    Firewall { input: grants.clone(), forward: grants, ..Firewall::default() }
                };
                hands.set(&of(&[peers[0], peers[1], lan])).await.unwrap();
                let open = |from, source, to, door: &TcpListener| {
                    let client = connects(from, ip(source), SocketAddr::new(ip(to), PORTS[0]), PATIENCE)
                        .expect("granted");
                    (client, door.accept().unwrap().0)
                };
                let mut ends = [
                    open(At::Peer, peers[0], own, &doors.0),
                    open(At::Peer, peers[0], lan, &doors.1),
                    open(At::Lan, lan, peers[1], &doors.2),
                ];
                let mut stays = [
                    open(At::Peer, peers[1], own, &doors.0),
                    open(At::Peer, peers[1], lan, &doors.1),
                    open(At::This, own, peers[0], &doors.2),
                    open(At::Lan, lan, own, &doors.0),
                ];
                for (client, server) in ends.iter_mut().chain(&mut stays) {
                    assert!(speaks(client, server));
                }
                hands.set(&of(&[peers[1]])).await.unwrap();
                for (client, server) in &mut ends {
                    assert!(is_cut(client, server), "{client:?}");
                }
                for (client, server) in &mut stays {
                    assert!(speaks(client, server), "{client:?}");
                }
                for (client, server) in &mut ends {
                    assert!(is_cut(client, server), "later too: {client:?}");
                }
            }
        },
    );
}

#[test]
fn a_member_of_one_network_opens_nothing_to_this_machines_address_in_another() {
    inside(
        "firewall_connections::a_member_of_one_network_opens_nothing_to_this_machines_address_in_another",
        STAGE,
        async || {
            let side = |nets: &[&str]| Side::Nets(set(nets));
            let bans = vec![
                Ban {
                    from: side(&["10.20.0.12/32", "fd20::12/128"]),
                    to: side(&["10.20.0.1/32", "fd20::1/128"]),
                },
                Ban {
                    from: side(&["10.20.0.11/32", "fd20::11/128"]),
                    to: side(&["10.20.0.2/32", "fd20::2/128"]),
                },
            ];
            table().set(&Firewall { input: Filter::AllBut(bans), ..Firewall::default() }).await.unwrap();
            let (door, peers_door) = (tcp_door(At::This, PORTS[0]), tcp_door(At::Peer, PORTS[0]));
            for (member, own, lan) in
                [("10.20.0.1", "10.20.0.", "192.168.7.1"), ("fd20::1", "fd20::", "fd07::1")]
            {
                for (member, number, passes) in [(1, 1, true), (1, 2, false), (2, 1, false), (2, 2, true)]
                    .map(|(last, number, passes)| (format!("{member}{last}"), number, passes))
                {
                    let to = SocketAddr::new(ip(&format!("{own}{number}")), PORTS[0]);
                    let patience = if passes { PATIENCE } else { SILENCE };
                    let came = connects(At::Peer, ip(&member), to, patience).is_some();
                    assert_eq!(came, passes, "{member} to {to}");
                    // What this machine opens is answered, and its other addresses are nobody's network.
                    let to_member = SocketAddr::new(ip(&member), PORTS[0]);
                    let mut client = connects(At::This, to.ip(), to_member, PATIENCE).expect("it is open");
                    let mut server = peers_door.accept().unwrap().0;
                    assert!(speaks(&mut client, &mut server), "{to} to {member}");
                    let to_lan = SocketAddr::new(ip(lan), PORTS[0]);
                    assert!(
                        connects(At::Peer, ip(&member), to_lan, PATIENCE).is_some(),
                        "{member} to {to_lan}"
                    );
                }
            }
            drop(door);
        },
    );
}
