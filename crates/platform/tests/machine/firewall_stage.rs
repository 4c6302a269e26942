//! Three machines for firewalls: a peer at the other end of our link, this one, and one on the LAN behind it.
//!
//! ```text
//!  peer ── netloom0 ─ this machine ─ lan0 ── lan
//!  10.20.0.11-13      10.20.0.1,2    192.168.7.1   192.168.7.11-12
//!  fd20::11-13        fd20::1,2      fd07::1       fd07::11-12
//! ```
//!
//! A pair of veth links stands in for WireGuard. Unlike WireGuard it resolves neighbours, so these are given: the firewall
//! would judge the questions.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use platform::FirewallTable;
use reconcile::{AddressSet, Filter, Firewall, Grant, Packet, Services, Side, Verdict, Way};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::common::{LINK, ip};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const PORTS: [u16; 4] = [4001, 4002, 4003, 4004];
/// For what has to come: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// For a connection that is refused by silence, behind a mark.
pub(crate) const SILENCE: Duration = Duration::from_millis(80);

/// Makes the machines.
pub(crate) const STAGE: &str = r#"
mkdir -p /run/netns
for ns in peer lan; do ip netns add $ns; ip -n $ns link set lo up; done
ip link add netloom0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns peer
ip link add lan0 address 02:00:00:00:00:03 type veth peer name eth0 address 02:00:00:00:00:04 netns lan
for link in netloom0 lan0; do ip link set $link up; done
for ns in peer lan; do ip -n $ns link set eth0 up; done
for n in 1 2; do ip address add 10.20.0.$n/24 dev netloom0; ip address add fd20::$n/64 dev netloom0 nodad; done
for n in 11 12 13; do
  ip -n peer address add 10.20.0.$n/24 dev eth0; ip -n peer address add fd20::$n/64 dev eth0 nodad
  ip neighbour add 10.20.0.$n lladdr 02:00:00:00:00:02 dev netloom0 nud permanent
  ip neighbour add fd20::$n lladdr 02:00:00:00:00:02 dev netloom0 nud permanent
done
for n in 1 2; do
  ip -n peer neighbour add 10.20.0.$n lladdr 02:00:00:00:00:01 dev eth0 nud permanent
  ip -n peer neighbour add fd20::$n lladdr 02:00:00:00:00:01 dev eth0 nud permanent
done
ip address add 192.168.7.1/24 dev lan0; ip address add fd07::1/64 dev lan0 nodad
for n in 11 12; do ip -n lan address add 192.168.7.$n/24 dev eth0; ip -n lan address add fd07::$n/64 dev eth0 nodad; done
ip -n peer route add default via 10.20.0.1; ip -n peer -6 route add default via fd20::1
ip -n lan route add default via 192.168.7.1; ip -n lan -6 route add default via fd07::1
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"#;

/// One of the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Peer,
    This,
    Lan,
}

/// Runs something on one of the machines. Sockets made there stay there.
pub(crate) fn at<T: Send>(machine: At, act: impl FnOnce() -> T + Send) -> T {
    let name = match machine {
        At::This => return act(),
        At::Peer => "peer",
        At::Lan => "lan",
    };
    let space = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        });
        there.join().unwrap()
    })
}

/// An open ear for datagrams, on all addresses of a machine.
pub(crate) fn udp_ear(machine: At, port: u16) -> UdpSocket {
    let ear = at(machine, || UdpSocket::bind(("::", port)).unwrap());
    ear.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    ear
}

/// An open door for connections, on all addresses of a machine.
pub(crate) fn tcp_door(machine: At, port: u16) -> TcpListener {
    at(machine, || TcpListener::bind(("::", port)).unwrap())
}

/// Begins to open a connection from an address of a machine.
pub(crate) fn call(machine: At, from: IpAddr, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    at(machine, || {
        let socket = socket_with(family, SocketType::STREAM, flags, None).unwrap();
        bind(&socket, &SocketAddr::new(from, 0)).unwrap();
        // That it is under way is an error too.
        let _ = connect(&socket, &to);
        TcpStream::from(socket)
    })
}

/// Whether a connection comes about in time.
pub(crate) fn is_answered(stream: &TcpStream, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while stream.peer_addr().is_err() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Opens a connection from an address of a machine, if it comes about in time.
pub(crate) fn connects(machine: At, from: IpAddr, to: SocketAddr, patience: Duration) -> Option<TcpStream> {
    let stream = call(machine, from, to);
    is_answered(&stream, patience).then(|| {
        stream.set_nonblocking(false).unwrap();
        stream
    })
}

/// Whether bytes pass in both directions.
pub(crate) fn speaks(client: &mut TcpStream, server: &mut TcpStream) -> bool {
    for stream in [&*client, &*server] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    let there = |from: &mut TcpStream, to: &mut TcpStream| {
        let mut bytes = [0; 5];
        match from.write_all(b"hello").and_then(|()| to.read_exact(&mut bytes)) {
            Ok(()) => bytes == *b"hello",
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    };
    there(client, server) && there(server, client)
}

/// Whether nothing that the client says arrives any more, even behind something that the server said.
pub(crate) fn is_cut(client: &mut TcpStream, server: &mut TcpStream) -> bool {
    server.write_all(b"still there?").unwrap();
    client.write_all(b"hello").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    match server.read(&mut [0; 5]) {
        Ok(_) => false,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => true,
        Err(error) => panic!("{error}"),
    }
}

/// The hands.
pub(crate) fn table() -> FirewallTable {
    FirewallTable::open(&LINK.parse().unwrap()).unwrap()
}

pub(crate) fn set(members: &[&str]) -> AddressSet {
    members.iter().map(|member| member.parse::<IpNet>().unwrap()).collect()
}

pub(crate) fn addresses(machine: At) -> Vec<IpAddr> {
    let all: &[&str] = match machine {
        At::Peer => &["10.20.0.11", "10.20.0.12", "fd20::11", "fd20::12"],
        At::This => &["10.20.0.1", "10.20.0.2", "fd20::1", "fd20::2"],
        At::Lan => &["192.168.7.11", "192.168.7.12", "fd07::11", "fd07::12"],
    };
    all.iter().map(|text| ip(text)).collect()
}

/// Whether what goes this way passes.
pub(crate) struct Expected<'a> {
    pub(crate) firewall: &'a Firewall,
    pub(crate) way: Way,
}

/// A source and a destination.
pub(crate) type Ends = (IpAddr, IpAddr);
/// A protocol, and the port that it goes to, where it has ports.
pub(crate) type Kind = (u8, Option<u16>);

impl Expected<'_> {
    /// Whether what opens a connection passes.
    pub(crate) fn passes(&self, ends: Ends, kind: Kind) -> bool {
        self.fares(self.way, ends, kind, false)
    }

    /// Whether it passes, and the reply too.
    pub(crate) fn is_answered(&self, ends: Ends, kind: Kind) -> bool {
        let back = match self.way {
            Way::Here { from_link } => Way::Out { to_link: from_link },
            Way::Out { to_link } => Way::Here { from_link: to_link },
            Way::Through { from_link, to_link } => Way::Through { from_link: to_link, to_link: from_link },
            Way::Itself => Way::Itself,
        };
        self.passes(ends, kind) && self.fares(back, (ends.1, ends.0), (kind.0, None), true)
    }

    fn fares(&self, way: Way, (source, destination): Ends, (protocol, port): Kind, reply: bool) -> bool {
        let packet = Packet { way, source, destination, protocol, port, reply, exempt: false };
        self.firewall.verdict(&packet) == Verdict::Accept
    }
}

pub(crate) fn pairs(from: At, to: At) -> Vec<Ends> {
    let all = addresses(from).into_iter().flat_map(|a| addresses(to).into_iter().map(move |b| (a, b)));
    all.filter(|(a, b)| a.is_ipv4() == b.is_ipv4()).collect()
}

/// The grants that let somebody open connections to anybody.
pub(crate) fn all_of(from: Side, to: Side) -> Filter {
    Filter::Only(vec![Grant { from, to, services: Services::All }])
}
