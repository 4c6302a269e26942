//! Real packets fare as the description says: `Firewall::verdict` is what the kernel does.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::common::{LINK, inside, ip, output, run};
use crate::firewall_stage::{At, STAGE, at, call, connects, is_answered, is_cut, speaks, tcp_door, udp_ear};
use ipnet::IpNet;
use platform::FirewallTable;
use reconcile::{
    AddressSet, Filter, Firewall, Grant, Packet, PortRange, Ports, PrefixMap, Service, Services, SetChange,
    SetChanges, SetId, Side, Translation, Verdict, Way,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const PORTS: [u16; 4] = [4001, 4002, 4003, 4004];
/// The port of a datagram that passes always, sent behind the others: when it is there, what is not there was dropped.
const MARK: u16 = 4999;
/// For what has to come: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a connection that is refused by silence, behind a mark.
const SILENCE: Duration = Duration::from_millis(80);

fn table() -> FirewallTable {
    FirewallTable::open(&LINK.parse().unwrap()).unwrap()
}

fn set(members: &[&str]) -> AddressSet {
    members.iter().map(|member| member.parse::<IpNet>().unwrap()).collect()
}

fn addresses(machine: At) -> Vec<IpAddr> {
    let all: &[&str] = match machine {
        At::Peer => &["10.20.0.11", "10.20.0.12", "fd20::11", "fd20::12"],
        At::This => &["10.20.0.1", "10.20.0.2", "fd20::1", "fd20::2"],
        At::Lan => &["192.168.7.11", "192.168.7.12", "fd07::11", "fd07::12"],
    };
    all.iter().map(|text| ip(text)).collect()
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }

    fn addresses(&mut self) -> AddressSet {
        let all = [
            "10.20.0.11/32",
            "10.20.0.12/32",
            "10.20.0.1/32",
            "10.20.0.2/32",
            "192.168.7.11/32",
            "192.168.7.12/32",
            "fd20::11/128",
            "fd20::12/128",
            "fd20::1/128",
            "fd07::11/128",
            "fd07::12/128",
            "10.20.0.0/24",
            "192.168.7.8/30",
            "fd20::/64",
            "fd07::10/124",
            "0.0.0.0/0",
            "::/0",
        ];
        let count = self.below(6);
        (0..count).map(|_| self.one(&all).parse::<IpNet>().unwrap()).collect()
    }

    fn side(&mut self) -> Side {
        match self.below(6) {
            0 => Side::Any,
            1 => Side::Nets(self.addresses()),
            set => Side::Set(SetId(u32::try_from(set % 4).unwrap())),
        }
    }

    fn ports(&mut self) -> Ports {
        match self.below(4) {
            0 => Ports::Any,
            1 => Ports::one(self.one(&PORTS)),
            2 => Ports::Only(vec![PortRange { first: 4002, last: 4003 }, PortRange::one(4001)]),
            _ => Ports::Only(vec![PortRange { first: 4003, last: 4002 }, PortRange { first: 1, last: 4001 }]),
        }
    }

    fn services(&mut self) -> Services {
        let one = |dice: &mut Self| match dice.below(4) {
            0 => Service::Icmp,
            1 => Service::Other(dice.one(&[TCP, UDP, 1, 47])),
            2 => Service::Tcp(dice.ports()),
            _ => Service::Udp(dice.ports()),
        };
        match self.below(4) {
            0 => Services::All,
            _ => Services::Only((0..self.below(4)).map(|_| one(self)).collect()),
        }
    }

    fn filter(&mut self) -> Filter {
        if self.below(8) == 0 {
            return Filter::Open;
        }
        let grant = |dice: &mut Self| Grant { from: dice.side(), to: dice.side(), services: dice.services() };
        let mut grants: Vec<Grant> = (0..self.below(6)).map(|_| grant(self)).collect();
        let mark = Services::Only(vec![Service::Udp(Ports::one(MARK))]);
        grants.push(Grant { from: Side::Any, to: Side::Any, services: mark });
        Filter::Only(grants)
    }

    /// Of each machine and family one address is never inside, and none of IPv6 on the LAN: neighbours there are asked for.
    fn inside(&mut self) -> BTreeSet<IpNet> {
        let all = ["192.168.7.12/32", "10.20.0.2/31", "10.20.0.12/32", "fd20::2/127", "fd20::12/128"];
        (0..self.below(4)).map(|_| self.one(&all).parse().unwrap()).collect()
    }

    fn firewall(&mut self) -> Firewall {
        let always = if self.below(2) == 0 { vec![Service::Tcp(Ports::one(4004))] } else { Vec::new() };
        Firewall {
            sets: (0..3).map(|id| (SetId(id), self.addresses())).collect(),
            input: self.filter(),
            always,
            forward: self.filter(),
            output: self.filter(),
            inside: self.inside(),
            clamp: self.below(2) == 0,
            translations: Vec::new(),
        }
    }
}

/// Whether what goes this way passes.
struct Expected<'a> {
    firewall: &'a Firewall,
    way: Way,
}

impl Expected<'_> {
    fn passes(&self, source: IpAddr, destination: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let packet = Packet { way: self.way, source, destination, protocol, port, reply: false };
        self.firewall.verdict(&packet) == Verdict::Accept
    }

    /// Whether it passes, and the reply too.
    fn is_answered(&self, source: IpAddr, destination: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let way = match self.way {
            Way::Here { from_link } => Way::Out { to_link: from_link },
            Way::Out { to_link } => Way::Here { from_link: to_link },
            Way::Through { from_link, to_link } => Way::Through { from_link: to_link, to_link: from_link },
            Way::Itself => Way::Itself,
        };
        let reply =
            Packet { way, source: destination, destination: source, protocol, port: None, reply: true };
        self.passes(source, destination, protocol, port) && self.firewall.verdict(&reply) == Verdict::Accept
    }
}

fn pairs(from: At, to: At) -> Vec<(IpAddr, IpAddr)> {
    let all = addresses(from).into_iter().flat_map(|a| addresses(to).into_iter().map(move |b| (a, b)));
    all.filter(|(a, b)| a.is_ipv4() == b.is_ipv4()).collect()
}

/// Sends a datagram for each pair and port, then a mark, and compares what came with what should.
fn probe_udp(from: At, to: At, expected: &Expected<'_>) {
    let ears: Vec<UdpSocket> = PORTS.iter().map(|port| udp_ear(to, *port)).collect();
    let mark = udp_ear(to, MARK);
    let (mut wanted, mut marks) = (BTreeSet::new(), 0);
    at(from, || {
        for (source, destination) in pairs(from, to) {
            let mouth = UdpSocket::bind((source, 0)).unwrap();
            for port in PORTS {
                let text = format!("{source} {destination} {port}");
                // What a machine's own firewall keeps in is told to whoever sends it.
                if let Err(error) = mouth.send_to(text.as_bytes(), (destination, port)) {
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                }
                if expected.passes(source, destination, UDP, Some(port)) {
                    wanted.insert(text);
                }
            }
            mouth.send_to(b"mark", (destination, MARK)).unwrap();
            marks += usize::from(expected.passes(source, destination, UDP, Some(MARK)));
        }
    });
    let mut bytes = [0; 200];
    assert_ne!(marks, 0, "some of each machine pass always");
    for _ in 0..marks {
        mark.recv(&mut bytes).expect("marks pass whatever the grants are");
    }
    let mut came = BTreeSet::new();
    for ear in ears {
        ear.set_nonblocking(true).unwrap();
        while let Ok(length) = ear.recv(&mut bytes) {
            came.insert(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    }
    assert_eq!(came, wanted, "datagrams by {:#?}\n{}", expected.firewall, output("nft list ruleset"));
}

/// Opens a connection for each pair, to some port, all at once.
fn probe_tcp(from: At, to: At, expected: &Expected<'_>, dice: &mut Dice) {
    let doors: Vec<_> = PORTS.iter().map(|port| tcp_door(to, *port)).collect();
    let calls = pairs(from, to).into_iter().map(|(source, destination)| {
        let port = dice.one(&PORTS);
        let stream = call(from, source, SocketAddr::new(destination, port));
        (
            format!("TCP {source} {destination} {port}"),
            expected.is_answered(source, destination, TCP, Some(port)),
            stream,
        )
    });
    // Those that should come about are waited for first: the others have had their time then, and some more.
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by_key(|(_, wanted, _)| !wanted);
    let mut patience = SILENCE;
    for (name, wanted, stream) in &calls {
        let came = is_answered(stream, if *wanted { PATIENCE } else { std::mem::take(&mut patience) });
        assert_eq!(came, *wanted, "{name} by {:#?}", expected.firewall);
    }
    drop(doors);
}

/// Asks for one echo.
fn probe_icmp(from: At, to: At, expected: &Expected<'_>, dice: &mut Dice) {
    let (source, destination) = dice.one(&pairs(from, to));
    let wanted = expected.is_answered(source, destination, if source.is_ipv4() { 1 } else { 58 }, None);
    let wait = if wanted { "10" } else { "0.1" };
    let enter = match from {
        At::This => "",
        At::Peer => "ip netns exec peer",
        At::Lan => "ip netns exec lan",
    };
    let came = run(&format!("{enter} ping -q -c 1 -W {wait} -I {source} {destination} > /dev/null"));
    assert_eq!(came, wanted, "ICMP {source} {destination} by {:#?}", expected.firewall);
}

#[test]
fn packets_fare_as_the_description_says() {
    inside("firewall_traffic::packets_fare_as_the_description_says", STAGE, async || {
        let hands = table();
        let mut dice = Dice(4);
        let ways = [
            (At::Peer, At::This, Way::Here { from_link: true }),
            (At::Peer, At::Lan, Way::Through { from_link: true, to_link: false }),
            (At::Lan, At::Peer, Way::Through { from_link: false, to_link: true }),
            (At::Lan, At::This, Way::Here { from_link: false }),
            (At::This, At::Peer, Way::Out { to_link: true }),
        ];
        for _ in 0..12 {
            let firewall = dice.firewall();
            hands.set(&firewall).await.unwrap();
            for (from, to, way) in ways {
                let expected = Expected { firewall: &firewall, way };
                probe_udp(from, to, &expected);
                probe_tcp(from, to, &expected, &mut dice);
                probe_icmp(from, to, &expected, &mut dice);
            }
        }
    });
}

#[test]
fn a_member_that_comes_may_speak_and_one_that_goes_may_not_go_on() {
    inside(
        "firewall_traffic::a_member_that_comes_may_speak_and_one_that_goes_may_not_go_on",
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

/// The grants that let somebody open connections to anybody.
fn all_of(from: Side, to: Side) -> Filter {
    Filter::Only(vec![Grant { from, to, services: Services::All }])
}

#[test]
fn replies_pass_where_nothing_else_does_and_what_is_granted_outlives_a_new_firewall() {
    inside(
        "firewall_traffic::replies_pass_where_nothing_else_does_and_what_is_granted_outlives_a_new_firewall",
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
    inside("firewall_traffic::a_connection_ends_with_its_grant_and_all_others_go_on", STAGE, async || {
        let hands = table();
        let doors = (tcp_door(At::This, PORTS[0]), tcp_door(At::Lan, PORTS[0]), tcp_door(At::Peer, PORTS[0]));
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
                let client =
                    connects(from, ip(source), SocketAddr::new(ip(to), PORTS[0]), PATIENCE).expect("granted");
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
    });
}

/// Addresses of members on the LAN, where no member is.
const PRETENDERS: &str = "
ip -n lan address add 10.20.0.77/32 dev eth0; ip -n lan address add fd20::77/128 dev eth0 nodad
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
fn addresses_of_members_are_believed_on_our_link_alone() {
    let stage = format!("{STAGE}{PRETENDERS}");
    inside("firewall_traffic::addresses_of_members_are_believed_on_our_link_alone", &stage, async || {
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
        let inside = BTreeSet::from(["10.20.0.0/24", "fd20::/64"].map(|net| net.parse::<IpNet>().unwrap()));
        let everything = all_of(Side::Any, Side::Any);
        for (filter, inside) in
            [(Filter::Open, BTreeSet::new()), (Filter::Open, inside.clone()), (everything, inside)]
        {
            let firewall = Firewall { input: filter.clone(), forward: filter, inside, ..Firewall::default() };
            hands.set(&firewall).await.unwrap();
            let wanted = tries.map(|(way, source, destination)| {
                Expected { firewall: &firewall, way }.passes(ip(source), ip(destination), UDP, Some(PORTS[0]))
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
    });
}

#[test]
fn connections_are_masqueraded_where_it_is_said_and_nowhere_else() {
    inside(
        "firewall_traffic::connections_are_masqueraded_where_it_is_said_and_nowhere_else",
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
    inside("firewall_traffic::a_prefix_is_reached_and_seen_under_its_other_name", STAGE, async || {
        let hands = table();
        let map = |mapped: &str, real: &str| {
            Translation::Map(PrefixMap::new(mapped.parse().unwrap(), real.parse().unwrap()).unwrap())
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

            let at_peer = SocketAddr::new(ip(peer), PORTS[0]);
            let mut client = connects(At::Lan, ip(real), at_peer, PATIENCE).expect("granted");
            let (mut server, seen_as) = peers_door.accept().unwrap();
            assert_eq!(seen_as.ip().to_canonical(), ip(mapped));
            assert!(speaks(&mut client, &mut server));
        }
    });
}

#[test]
fn connections_learn_how_large_a_packet_our_link_carries() {
    inside("firewall_traffic::connections_learn_how_large_a_packet_our_link_carries", STAGE, async || {
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
    });
}

/// The largest segment that the connections of a machine send.
fn segment(machine: &str) -> u32 {
    let shown = output(&format!("ip netns exec {machine} ss -tinH state established"));
    let sizes = shown.split_whitespace().filter_map(|word| word.strip_prefix("mss:")?.parse().ok());
    sizes.max().unwrap_or_else(|| panic!("no connection is open:\n{shown}"))
}
