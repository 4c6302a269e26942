//! Real packets fare as the description says: `Firewall::verdict` is what the kernel does, whatever the firewall.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use crate::common::{inside, output, run};
use crate::firewall_stage::{
    At, Expected, PATIENCE, PORTS, SILENCE, STAGE, TCP, UDP, at, call, is_answered, pairs, table, tcp_door,
    udp_ear,
};
use ipnet::IpNet;
use reconcile::{
    AddressSet, Ban, Filter, Firewall, Grant, Outward, PortRange, Ports, Service, Services, SetId, Side, Way,
};

/// The port of a datagram that passes always, sent behind the others: when it is there, what is not there was dropped.
const MARK: u16 = 4999;

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
        match self.below(8) {
            0 => Filter::Open,
            1 | 2 => Filter::AllBut((0..self.below(4)).map(|_| self.ban()).collect()),
            _ => Filter::Only(self.grants()),
        }
    }

    /// Of each machine and family one address is never banned.
    fn ban(&mut self) -> Ban {
        let all = ["10.20.0.12/32", "192.168.7.12/30", "fd20::12/128", "fd07::12/128"];
        let from =
            Side::Nets((0..1 + self.below(3)).map(|_| self.one(&all).parse::<IpNet>().unwrap()).collect());
        Ban { from, to: self.side() }
    }

    fn outward(&mut self) -> Outward {
        let towards = (0..self.below(4)).map(|_| self.side()).collect();
        Outward { towards, grants: self.grants() }
    }

    fn grants(&mut self) -> Vec<Grant> {
        let grant = |dice: &mut Self| Grant { from: dice.side(), to: dice.side(), services: dice.services() };
        let mut grants: Vec<Grant> = (0..self.below(6)).map(|_| grant(self)).collect();
        let mark = Services::Only(vec![Service::Udp(Ports::one(MARK))]);
        grants.push(Grant { from: Side::Any, to: Side::Any, services: mark });
        grants
    }

    /// Of each machine and family one address is never inside, and none of IPv6 on the LAN: neighbours there are asked for.
    fn inside(&mut self) -> BTreeSet<IpNet> {
        let all = ["192.168.7.12/32", "10.20.0.2/31", "10.20.0.12/32", "fd20::2/127", "fd20::12/128"];
        (0..self.below(4)).map(|_| self.one(&all).parse().unwrap()).collect()
    }

    fn behind(&mut self) -> BTreeSet<IpNet> {
        let all = ["192.168.7.11/32", "192.168.7.0/24", "10.20.0.0/24", "fd07::/64"];
        (0..self.below(3)).map(|_| self.one(&all).parse().unwrap()).collect()
    }

    /// Of the LAN and each family one address is never beyond our link.
    fn beyond(&mut self) -> Vec<Side> {
        let all = ["192.168.7.12/32", "fd07::12/128", "192.168.7.12/30", "10.20.0.0/24"];
        let nets =
            |dice: &mut Self| (0..dice.below(4)).map(|_| dice.one(&all).parse::<IpNet>().unwrap()).collect();
        (0..self.below(3)).map(|_| Side::Nets(nets(self))).chain([Side::Set(SetId(77))]).collect()
    }

    fn firewall(&mut self) -> Firewall {
        Firewall {
            sets: (0..3).map(|id| (SetId(id), self.addresses())).collect(),
            input: self.filter(),
            forward: self.filter(),
            output: self.outward(),
            inside: self.inside(),
            behind: self.behind(),
            beyond: self.beyond(),
            clamp: self.below(2) == 0,
            translations: Vec::new(),
            confined: None,
        }
    }
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
                if expected.passes((source, destination), (UDP, Some(port))) {
                    wanted.insert(text);
                }
            }
            mouth.send_to(b"mark", (destination, MARK)).unwrap();
            marks += usize::from(expected.passes((source, destination), (UDP, Some(MARK))));
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
            expected.is_answered((source, destination), (TCP, Some(port))),
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
    let wanted = expected.is_answered((source, destination), (if source.is_ipv4() { 1 } else { 58 }, None));
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
