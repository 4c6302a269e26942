//! The rendezvous of the real server: hosts shake hands with its doors, and their peers learn where they were seen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::{PublicKey, StaticSecret};
use model::HostId;
use testkit::fleet::{Connected, Keys};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use wire::{HostMap, NatMapping, Rendezvous, WgSecret};

use crate::running::{DEADLINE, start};

fn tunnel(secret: &WgSecret, door: &Rendezvous) -> Tunn {
    let secret = StaticSecret::from(*secret.expose());
    let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&secret), 1000));
    let door = PublicKey::from(*door.key.as_bytes());
    Tunn::new(secret, door, None, None, IndexTable::from_os_rng(), limiter)
}

pub(crate) async fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn send(socket: &UdpSocket, packet: WgKind, door: &Rendezvous) {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, door.port));
    socket.send_to(&Packet::from(packet), to).await.unwrap();
}

/// Shakes hands with a door from this socket.
pub(crate) async fn meet(secret: &WgSecret, socket: &UdpSocket, door: &Rendezvous) {
    let mut tunnel = tunnel(secret, door);
    let initiation = tunnel.format_handshake_initiation(true).expect("forced");
    send(socket, initiation.into(), door).await;
    let mut buffer = [0; 2048];
    let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
    let packet = Packet::copy_from(&buffer[..length]).try_into_wg().expect("a WireGuard message");
    match tunnel.handle_incoming_packet(packet) {
        TunnResult::WriteToNetwork(keepalive) => send(socket, keepalive, door).await,
        other => panic!("the host refused the answer: {other:?}"),
    }
}

pub(crate) async fn until_seen(peer: &Connected, host: HostId, at: &UdpSocket, nat: NatMapping) -> Duration {
    let start = Instant::now();
    let endpoint: SocketAddr = at.local_addr().unwrap();
    let so = |map: &HostMap| {
        let entry = map.peers.get(&host.into());
        entry.is_some_and(|peer| {
            peer.nat == nat && peer.seen.iter().any(|seen| seen.socket_addr() == endpoint)
        })
    };
    peer.until_map("the endpoint and the kind of NAT", so).await.unwrap();
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_learn_where_a_host_is_seen_and_how_its_nat_maps() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let (web, db) = (ready.connected(&token, "web").await, ready.connected(&token, "db").await);
    let doors = web.view().map.unwrap().server.rendezvous;
    assert_eq!(doors.len(), 2);
    let (secret, host) = (&web.agent.keys.wireguard, web.agent.host);

    let first = socket().await;
    meet(secret, &first, &doors[0]).await;
    until_seen(&db, host, &first, NatMapping::Unknown).await;
    meet(secret, &first, &doors[1]).await;
    until_seen(&db, host, &first, NatMapping::Endpoint).await;
    web.until_map("its own place", |map| map.host.nat == NatMapping::Endpoint).await.unwrap();

    let second = socket().await;
    meet(secret, &second, &doors[0]).await;
    meet(secret, &second, &doors[1]).await;
    let took = until_seen(&db, host, &second, NatMapping::Endpoint).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let shown = ready.admin.host("web").await.unwrap().inventory;
    assert_eq!(shown.endpoints[0].socket_addr(), second.local_addr().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_unknown_or_removed_get_no_answer() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let (web, gone) = (ready.connected(&token, "web").await, ready.connected(&token, "gone").await);
    let doors = web.view().map.unwrap().server.rendezvous;
    ready.admin.delete(&api::path::fill(api::path::HOST, &["gone"])).await.unwrap();
    web.until_map("nobody", |map| map.peers.is_empty()).await.unwrap();
    for door in &doors {
        for secret in [&Keys::generate().wireguard, &gone.agent.keys.wireguard] {
            let stranger = socket().await;
            let initiation = tunnel(secret, door).format_handshake_initiation(true).expect("forced");
            send(&stranger, initiation.into(), door).await;
            // The door works in order: once the one after was answered, the one before would have been.
            meet(&web.agent.keys.wireguard, &socket().await, door).await;
            let nothing = stranger.try_recv(&mut [0; 2048]).unwrap_err();
            assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
}
