//! The rendezvous over real UDP on loopback, with gotatun as the host that looks for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::PublicKey;
use dataplane::rendezvous::{Rendezvous, Seen};
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::{PublicKey as Point, StaticSecret};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

struct Host {
    key: PublicKey,
    tunn: Tunn,
}

impl Host {
    fn new(secret: [u8; 32], server: PublicKey) -> Self {
        let secret = StaticSecret::from(secret);
        let public = Point::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, 1000));
        let tunn = Tunn::new(secret, Point::from(server), None, None, IndexTable::from_os_rng(), limiter);
        Self { key: public.to_bytes(), tunn }
    }

    /// Shakes hands from `socket`, showing a cookie if asked for one.
    async fn meet(&mut self, socket: &UdpSocket, server: SocketAddr) {
        let mut buffer = [0; 2048];
        loop {
            let initiation = self.tunn.format_handshake_initiation(true).expect("forced");
            send(socket, initiation.into(), server).await;
            let length =
                timeout(DEADLINE, socket.recv(&mut buffer)).await.expect("an answer").expect("received");
            let packet = Packet::copy_from(&buffer[..length]).try_into_wg().expect("a WireGuard message");
            match self.tunn.handle_incoming_packet(packet) {
                TunnResult::WriteToNetwork(keepalive) => return send(socket, keepalive, server).await,
                TunnResult::Done => {}
                other => panic!("the host refused the answer: {other:?}"),
            }
        }
    }

    async fn keepalive(&mut self, socket: &UdpSocket, server: SocketAddr) {
        let keepalive = self.tunn.handle_outgoing_packet(Packet::default(), None).expect("a session");
        send(socket, keepalive, server).await;
    }
}

async fn send(socket: &UdpSocket, packet: WgKind, to: SocketAddr) {
    socket.send_to(&Packet::from(packet), to).await.expect("sent");
}

async fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port")
}

fn rendezvous(key: u8) -> Rendezvous {
    Rendezvous::bind((Ipv4Addr::LOCALHOST, 0).into(), [key; 32]).expect("a port")
}

async fn next(rendezvous: &mut Rendezvous) -> Seen {
    timeout(DEADLINE, rendezvous.next_seen()).await.expect("a sighting")
}

#[tokio::test]
async fn two_ports_see_the_same_host_and_follow_it_to_another_port() {
    let mut servers = [rendezvous(1), rendezvous(2)];
    let (before, after) = (socket().await, socket().await);
    for server in &mut servers {
        let mut host = Host::new([9; 32], server.public_key());
        server.peers().add_peer(host.key).unwrap();
        host.meet(&before, server.local_addr()).await;
        let seen = next(server).await;
        assert_eq!((seen.public_key, seen.endpoint), (host.key, before.local_addr().unwrap()));

        host.keepalive(&after, server.local_addr()).await;
        assert_eq!(next(server).await.endpoint, after.local_addr().unwrap());
        assert_eq!(server.peers().endpoint(&host.key), Some(after.local_addr().unwrap()));
        assert!(server.peers().last_heard(&host.key).is_some());
    }
}

#[tokio::test]
async fn one_socket_serves_both_families_and_says_ipv4_plainly() {
    let mut server = Rendezvous::bind("[::]:0".parse().unwrap(), [1; 32]).unwrap();
    let mut host = Host::new([9; 32], server.public_key());
    server.peers().set_peers([host.key]).unwrap();
    let v4 = socket().await;
    host.meet(&v4, (Ipv4Addr::LOCALHOST, server.local_addr().port()).into()).await;
    assert_eq!(next(&mut server).await.endpoint, v4.local_addr().unwrap());
    if !server.local_addr().is_ipv6() {
        return; // This machine has no IPv6.
    }
    if let Ok(v6) = UdpSocket::bind("[::1]:0").await {
        host.meet(&v6, SocketAddr::new("::1".parse().unwrap(), server.local_addr().port())).await;
        assert_eq!(next(&mut server).await.endpoint, v6.local_addr().unwrap());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_so() {
    let first = rendezvous(1);
    let refused = Rendezvous::bind(first.local_addr(), [2; 32]).err().expect("the port is taken");
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    let sentence = refused.to_string();
    assert!(
        sentence.contains(&format!("UDP port {} is already in use", first.local_addr().port())),
        "{sentence}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_hosts_are_met_in_bounded_time() {
    const HOSTS: u16 = 3000;
    let mut server = rendezvous(1);
    let mut hosts: Vec<Host> = (1..=HOSTS)
        .map(|i| {
            let mut secret = [42; 32];
            secret[8..10].copy_from_slice(&i.to_be_bytes());
            Host::new(secret, server.public_key())
        })
        .collect();
    server.peers().set_peers(hosts.iter().map(|host| host.key)).unwrap();
    let began = Instant::now();
    // Nobody reads the sightings meanwhile: the answers must not wait for that.
    for (i, host) in (0u16..).zip(&mut hosts) {
        let [high, low] = i.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 9, high, low), 0)).await.unwrap();
        host.meet(&socket, server.local_addr()).await;
    }
    let mut missing: std::collections::HashSet<PublicKey> = hosts.iter().map(|host| host.key).collect();
    while !missing.is_empty() {
        let seen = next(&mut server).await;
        assert!(missing.remove(&seen.public_key), "each is seen once");
    }
    assert!(began.elapsed() < Duration::from_secs(60), "took {:?}", began.elapsed());
}
