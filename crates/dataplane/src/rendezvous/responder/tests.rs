//! The responder against gotatun's own initiator, and against everything that is not one.

use std::sync::Arc;

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::{PublicKey as Point, StaticSecret};
use proptest::prelude::*;

use super::*;

const SERVER_KEY: [u8; 32] = [7; 32];

struct Host {
    key: PublicKey,
    tunn: Tunn,
}

impl Host {
    fn new(number: u8) -> Self {
        let secret = StaticSecret::from([number; 32]);
        let public = Point::from(&secret);
        let server = Point::from(&StaticSecret::from(SERVER_KEY));
        let limiter = Arc::new(RateLimiter::new(&public, 1000));
        let tunn = Tunn::new(secret, server, None, None, IndexTable::from_os_rng(), limiter);
        Self { key: public.to_bytes(), tunn }
    }

    fn initiation(&mut self) -> Vec<u8> {
        bytes(self.tunn.format_handshake_initiation(true).unwrap().into())
    }

    /// What the host sends when it gets `reply`.
    fn take(&mut self, reply: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::copy_from(reply).try_into_wg().unwrap();
        match self.tunn.handle_incoming_packet(packet) {
            TunnResult::WriteToNetwork(packet) => Some(bytes(packet)),
            TunnResult::Done => None,
            other => panic!("the host refused the reply: {other:?}"),
        }
    }

    fn keepalive(&mut self) -> Vec<u8> {
        bytes(self.tunn.handle_outgoing_packet(Packet::default(), None).unwrap())
    }
}

fn bytes(packet: WgKind) -> Vec<u8> {
    Packet::from(packet).to_vec()
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 51820))
}

fn responder(hosts: &[&Host], now: Instant) -> Responder {
    let mut responder = Responder::new(SERVER_KEY, now);
    for host in hosts {
        responder.add_peer(host.key).unwrap();
    }
    responder
}

fn reply(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Reply(reply) => reply,
        other => panic!("no reply but {other:?}"),
    }
}

/// A whole handshake from one address; returns the last datagram and what came of it.
fn meet(responder: &mut Responder, host: &mut Host, from: SocketAddr, now: Instant) -> (Vec<u8>, Outcome) {
    let response = reply(responder.handle_datagram(&host.initiation(), from, now));
    let keepalive = host.take(&response).unwrap();
    let outcome = responder.handle_datagram(&keepalive, from, now);
    (keepalive, outcome)
}

#[test]
fn a_host_is_seen_once_its_first_keepalive_came_and_again_when_it_moves() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    let (_, outcome) = meet(&mut server, &mut host, at(1), now);
    assert_eq!(outcome, Outcome::Moved(Seen { public_key: host.key, endpoint: at(1), at: now }));

    let later = now + Duration::from_secs(25);
    assert_eq!(server.handle_datagram(&host.keepalive(), at(1), later), Outcome::Heard);
    assert_eq!(server.last_heard(&host.key), Some(later));
    let Outcome::Moved(seen) = server.handle_datagram(&host.keepalive(), at(2), later) else { panic!() };
    assert_eq!(seen.endpoint, at(2));
    assert_eq!(server.endpoint(&host.key), Some(at(2)));
}

#[test]
fn a_second_handshake_from_the_same_address_is_no_news() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    meet(&mut server, &mut host, at(1), now);
    for _ in 0..20 {
        assert_eq!(meet(&mut server, &mut host, at(1), now).1, Outcome::Heard);
    }
    assert!(server.sessions.len() <= 2, "old sessions are forgotten: {}", server.sessions.len());
}

#[test]
fn a_replayed_initiation_moves_nothing_not_even_after_a_restart() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    let captured = host.initiation();
    let response = reply(server.handle_datagram(&captured, at(1), now));
    let keepalive = host.take(&response).unwrap();
    server.handle_datagram(&keepalive, at(1), now);
    assert_eq!(server.handle_datagram(&captured, at(66), now), Outcome::Ignored);
    assert_eq!(server.endpoint(&host.key), Some(at(1)));

    let mut restarted = responder(&[&host], now);
    // It remembers nothing, so it must answer; but it believes nothing.
    reply(restarted.handle_datagram(&captured, at(66), now));
    assert_eq!(restarted.handle_datagram(&keepalive, at(66), now), Outcome::Ignored);
    assert_eq!((restarted.endpoint(&host.key), restarted.last_heard(&host.key)), (None, None));
    let (_, outcome) = meet(&mut restarted, &mut host, at(1), now);
    assert!(matches!(outcome, Outcome::Moved(seen) if seen.endpoint == at(1)));
}

#[test]
fn a_replayed_or_altered_keepalive_moves_nothing() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    let (first, _) = meet(&mut server, &mut host, at(1), now);
    let next = host.keepalive();
    for i in 0..next.len() {
        let mut altered = next.clone();
        altered[i] ^= 1;
        assert_eq!(server.handle_datagram(&altered, at(66), now), Outcome::Ignored, "byte {i}");
    }
    assert_eq!(server.handle_datagram(&next, at(1), now), Outcome::Heard);
    for captured in [&first, &next] {
        assert_eq!(server.handle_datagram(captured, at(66), now), Outcome::Ignored);
    }
}

#[test]
fn unknown_and_forgotten_hosts_are_answered_with_nothing() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut stranger = Host::new(2);
    let mut server = responder(&[&host], now);
    assert_eq!(server.handle_datagram(&stranger.initiation(), at(2), now), Outcome::Ignored);
    meet(&mut server, &mut host, at(1), now);
    server.set_peers([stranger.key]).unwrap();
    assert_eq!(server.handle_datagram(&host.keepalive(), at(3), now), Outcome::Ignored);
    assert_eq!(server.handle_datagram(&host.initiation(), at(1), now), Outcome::Ignored);
    assert!(server.sessions.is_empty());
    assert!(matches!(meet(&mut server, &mut stranger, at(2), now).1, Outcome::Moved(_)));
}

#[test]
fn a_session_ends_after_three_minutes() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    meet(&mut server, &mut host, at(1), now);
    let end = now + REJECT_AFTER;
    assert_eq!(server.handle_datagram(&host.keepalive(), at(2), end), Outcome::Ignored);
    assert_eq!(server.sessions.len(), 1);
    server.handle_tick(end);
    assert!(server.sessions.is_empty());
    assert_eq!(server.endpoint(&host.key), Some(at(1)), "what was seen stays known");
}

#[test]
fn one_address_that_asks_too_often_must_show_a_cookie_and_then_is_served() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    let flood = host.initiation();
    for _ in 0..100 {
        server.handle_datagram(&flood, at(1), now);
    }
    let cookie = reply(server.handle_datagram(&host.initiation(), at(1), now));
    assert_eq!(cookie[0], 3);
    assert_eq!(host.take(&cookie), None);
    assert!(matches!(meet(&mut server, &mut host, at(1), now).1, Outcome::Moved(_)));
}

#[test]
fn everybody_must_show_a_cookie_when_all_together_ask_too_often() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    let flood = host.initiation();
    for i in 0..1000_u32 {
        let source = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + i), 1));
        server.handle_datagram(&flood, source, now);
    }
    let cookie = reply(server.handle_datagram(&host.initiation(), at(1), now));
    assert_eq!(cookie[0], 3);
    assert_eq!(host.take(&cookie), None);
    assert!(matches!(meet(&mut server, &mut host, at(1), now).1, Outcome::Moved(_)));
}

#[test]
fn an_ipv4_address_is_written_as_ipv4() {
    let now = Instant::now();
    let mut host = Host::new(1);
    let mut server = responder(&[&host], now);
    let mapped: SocketAddr = "[::ffff:192.0.2.1]:51820".parse().unwrap();
    let (_, outcome) = meet(&mut server, &mut host, mapped, now);
    assert!(matches!(outcome, Outcome::Moved(seen) if seen.endpoint == at(1)));
}

#[test]
fn the_table_has_an_end() {
    let mut server = Responder::new(SERVER_KEY, Instant::now());
    let key = |i: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&i.to_le_bytes());
        key
    };
    server.set_peers((0..MOST_PEERS).map(key)).unwrap();
    assert_eq!(server.add_peer(key(MOST_PEERS)), Err(TableFull));
    assert_eq!(server.add_peer(key(0)), Ok(()), "who is known needs no room");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn junk_is_ignored(
        kind in prop::option::of(0u8..6),
        mut junk in prop::collection::vec(any::<u8>(), 0..300),
        length in prop::sample::select(vec![0, 4, 31, 32, 33, 92, 148, 149, 300]),
    ) {
        let now = Instant::now();
        let host = Host::new(1);
        let mut server = responder(&[&host], now);
        junk.resize(length, 0);
        if let (Some(kind), [first, a, b, c, ..]) = (kind, &mut junk[..]) {
            (*first, *a, *b, *c) = (kind, 0, 0, 0);
        }
        prop_assert_eq!(server.handle_datagram(&junk, at(1), now), Outcome::Ignored);
    }

    #[test]
    fn a_damaged_or_cut_initiation_is_ignored(at_byte in 0usize..132, bit in 0u8..8, length in 0usize..148) {
        let now = Instant::now();
        let mut host = Host::new(1);
        let mut server = responder(&[&host], now);
        let whole = host.initiation();
        let mut damaged = whole.clone();
        damaged[at_byte] ^= 1 << bit;
        prop_assert_eq!(server.handle_datagram(&damaged, at(1), now), Outcome::Ignored);
        prop_assert_eq!(server.handle_datagram(&whole[..length], at(1), now), Outcome::Ignored);
        prop_assert!(matches!(server.handle_datagram(&whole, at(1), now), Outcome::Reply(_)));
    }
}
