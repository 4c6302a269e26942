//! WireGuard in a simulated kernel: sessions, and when it speaks.
//!
//! No cryptography: a key is a name and a session a number. What counts here is when WireGuard speaks: a handshake at once
//! for a peer with a keepalive and then every five seconds only, endpoints that follow authenticated datagrams, sessions
//! that end, a responder that takes its first data before it counts the session as made, and a private key that is
//! exchanged: what sessions there are go on receiving, and what is sent waits for new ones.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use model::{Endpoint, Keepalive, WgPublicKey};
use reconcile::ActualPeer;

use super::kernel::{Kernel, Out, wall};
use super::packet::Packet;
use super::passage::Came;
use super::routing::{Look, Way};

const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
const MOST_TRIES: u32 = 18;
const REKEY_AFTER: Duration = Duration::from_secs(120);
const REJECT_AFTER: Duration = Duration::from_secs(180);
const PASSIVE: Duration = Duration::from_secs(10);
const FLOOD: Duration = Duration::from_millis(20);
const MOST_STAGED: usize = 32;

/// What is inside a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    Keepalive,
    Packet(Packet),
}

/// A WireGuard datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Datagram {
    Initiation { from: WgPublicKey, to: WgPublicKey, handshake: u64 },
    Response { handshake: u64, session: u64 },
    Data { session: u64, payload: Payload },
}

#[derive(Debug, Clone, Copy)]
struct Session {
    id: u64,
    born: Duration,
    initiator: bool,
    /// Whether it is of a private key that is no more: it receives, and does not send.
    expired: bool,
}

#[derive(Debug, Clone, Copy)]
struct Handshake {
    id: u64,
    at: Duration,
    tries: u32,
}

/// What WireGuard knows of a peer besides what it shows.
#[derive(Debug, Clone, Default)]
pub(super) struct Sim {
    current: Option<Session>,
    previous: Option<Session>,
    next: Option<Session>,
    handshake: Option<Handshake>,
    initiated: Option<Duration>,
    consumed: Option<Duration>,
    sent: Duration,
    owes: Option<Duration>,
    unanswered: Option<Duration>,
    staged: Vec<Payload>,
}

impl Sim {
    fn forget_old(&mut self, now: Duration) {
        for session in [&mut self.current, &mut self.previous, &mut self.next] {
            *session = session.filter(|session| now < session.born + REJECT_AFTER);
        }
    }
}

impl Kernel {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.sims.iter().filter_map(|(key, sim)| self.sim_deadline(key, sim)).min()
    }

    pub(super) fn tick(&mut self, now: Duration) {
        for key in self.sims.keys().copied().collect::<Vec<_>>() {
            self.tick_peer(key, now);
        }
    }

    /// A datagram came to its port.
    pub(super) fn receive(&mut self, from: Endpoint, datagram: Datagram, now: Duration) {
        match datagram {
            Datagram::Initiation { from: peer, to, handshake } if Some(to) == self.key() => {
                self.initiation(from, peer, handshake, now);
            }
            Datagram::Initiation { .. } => {}
            Datagram::Response { handshake, session } => self.response(from, handshake, session, now),
            Datagram::Data { session, payload } => self.data(from, session, payload, now),
        }
    }

    /// The private key was exchanged.
    pub(super) fn expire(&mut self) {
        for sim in self.sims.values_mut() {
            sim.handshake = None;
            sim.initiated = None;
            sim.next = None;
            for session in [&mut sim.current, &mut sim.previous].into_iter().flatten() {
                session.expired = true;
            }
        }
    }

    pub(super) fn key(&self) -> Option<WgPublicKey> {
        self.actual.link.as_ref()?.device.as_ref()?.key
    }

    pub(super) fn is_up(&self) -> bool {
        self.actual.link.as_ref().is_some_and(|link| link.up)
    }

    pub(super) fn peers(&self) -> Option<&BTreeMap<WgPublicKey, ActualPeer>> {
        self.actual.link.as_ref()?.device.as_ref().map(|device| &device.peers)
    }

    fn peer(&mut self, key: &WgPublicKey) -> Option<&mut ActualPeer> {
        self.actual.link.as_mut()?.device.as_mut()?.peers.get_mut(key)
    }

    fn keepalive(&self, key: &WgPublicKey) -> Option<Duration> {
        let seconds = self.peers()?.get(key)?.keepalive.map(Keepalive::get)?;
        Some(Duration::from_secs(u64::from(seconds)))
    }

    fn sim_deadline(&self, key: &WgPublicKey, sim: &Sim) -> Option<Duration> {
        let retry = sim.handshake.map(|handshake| handshake.at + REKEY_TIMEOUT);
        let keepalive = self.keepalive(key).map(|every| sim.sent + every);
        let owes = sim.owes.map(|since| since + PASSIVE);
        let unanswered = sim.unanswered.map(|since| since + PASSIVE + REKEY_TIMEOUT);
        retry.into_iter().chain(keepalive).chain(owes).chain(unanswered).min()
    }

    fn tick_peer(&mut self, key: WgPublicKey, now: Duration) {
        let keepalive = self.keepalive(&key);
        let Some(sim) = self.sims.get_mut(&key) else { return };
        if let Some(handshake) = sim.handshake.filter(|handshake| now >= handshake.at + REKEY_TIMEOUT) {
            sim.handshake = None;
            sim.initiated = None;
            if handshake.tries < MOST_TRIES {
                self.initiate(key, handshake.tries + 1, now);
            } else {
                sim.staged.clear();
            }
        }
        let Some(sim) = self.sims.get_mut(&key) else { return };
        if sim.unanswered.is_some_and(|since| now >= since + PASSIVE + REKEY_TIMEOUT) {
            sim.unanswered = None;
            self.initiate(key, 0, now);
        }
        let Some(sim) = self.sims.get_mut(&key) else { return };
        let owes = sim.owes.is_some_and(|since| now >= since + PASSIVE);
        if owes || keepalive.is_some_and(|every| now >= sim.sent + every) {
            self.send(key, Payload::Keepalive, now);
        }
    }

    /// The peer that an address is allowed for: the longest prefix.
    fn owner(&self, ip: IpAddr) -> Option<WgPublicKey> {
        let all =
            self.peers()?.iter().flat_map(|(key, peer)| peer.allowed.iter().map(move |net| (net, *key)));
        all.filter(|(net, _)| net.contains(&ip)).max_by_key(|(net, _)| net.prefix_len()).map(|(_, key)| key)
    }

    /// A packet leaves over our link; whether there is a peer for it.
    pub(super) fn encrypt(&mut self, packet: Packet, now: Duration) -> bool {
        let owner = self.owner(packet.flow.destination);
        owner.map(|key| self.send(key, Payload::Packet(packet), now)).is_some()
    }

    /// A datagram leaves the way that the machine's routes say: never over our own link, where it would go in circles.
    fn emit(&mut self, to: Endpoint, datagram: Datagram) {
        let device = self.actual.link.as_ref().and_then(|link| link.device.as_ref());
        let Some((mark, port)) = device.map(|device| (device.mark, device.port)) else { return };
        let look = Look { to: to.ip(), mark, udp: Some((port, to.port())) };
        match self.way(look) {
            Way::Uplink(_) => self.out.push(Out::Sealed(to, datagram)),
            Way::Annex(annex, _) => self.out.push(Out::Near(annex, to, datagram)),
            Way::Link(_) => panic!("WireGuard's datagram to {to} goes into its own link"),
            Way::Here | Way::Nowhere => {}
        }
    }

    pub(super) fn send(&mut self, key: WgPublicKey, payload: Payload, now: Duration) {
        if !self.is_up() {
            return;
        }
        let Some(endpoint) = self.peer(&key).map(|peer| peer.endpoint) else { return };
        let Some(sim) = self.sims.get_mut(&key) else { return };
        sim.forget_old(now);
        sim.sent = now;
        sim.owes = None;
        let (Some(session), Some(endpoint)) = (sim.current.filter(|session| !session.expired), endpoint)
        else {
            if payload != Payload::Keepalive && sim.staged.len() < MOST_STAGED {
                sim.staged.push(payload);
            }
            return self.initiate(key, 0, now);
        };
        if payload != Payload::Keepalive {
            sim.unanswered.get_or_insert(now);
        }
        self.emit(endpoint, Datagram::Data { session: session.id, payload });
        if session.initiator && now >= session.born + REKEY_AFTER {
            self.initiate(key, 0, now);
        }
    }

    fn initiate(&mut self, key: WgPublicKey, tries: u32, now: Duration) {
        self.ids += 1;
        let (id, Some(from)) = (self.ids, self.key()) else { return };
        let Some(endpoint) = self.peer(&key).and_then(|peer| peer.endpoint) else { return };
        let Some(sim) = self.sims.get_mut(&key) else { return };
        if sim.initiated.is_some_and(|at| now < at + REKEY_TIMEOUT) {
            return;
        }
        sim.initiated = Some(now);
        sim.handshake = Some(Handshake { id, at: now, tries });
        self.emit(endpoint, Datagram::Initiation { from, to: key, handshake: id });
    }

    fn initiation(&mut self, from: Endpoint, key: WgPublicKey, handshake: u64, now: Duration) {
        self.ids += 1;
        let id = self.ids;
        let (true, Some(sim)) = (self.is_up(), self.sims.get_mut(&key)) else { return };
        if sim.consumed.is_some_and(|at| now < at + FLOOD) {
            return;
        }
        sim.consumed = Some(now);
        sim.next = Some(Session { id, born: now, initiator: false, expired: false });
        self.heard(&key, from, 148);
        self.emit(from, Datagram::Response { handshake, session: id });
    }

    fn response(&mut self, from: Endpoint, handshake: u64, id: u64, now: Duration) {
        let waiting = |sim: &Sim| sim.handshake.is_some_and(|waiting| waiting.id == handshake);
        let Some((key, sim)) = self.sims.iter_mut().find(|(_, sim)| waiting(sim)) else { return };
        let key = *key;
        sim.handshake = None;
        sim.unanswered = None;
        sim.previous = sim.current.replace(Session { id, born: now, initiator: true, expired: false });
        let staged = std::mem::take(&mut sim.staged);
        self.heard(&key, from, 92);
        self.made(&key, now);
        self.send(key, Payload::Keepalive, now);
        for payload in staged {
            self.send(key, payload, now);
        }
    }

    fn data(&mut self, from: Endpoint, id: u64, payload: Payload, now: Duration) {
        let has = |session: Option<Session>| session.is_some_and(|session| session.id == id);
        let mine = |sim: &Sim| has(sim.current) || has(sim.previous) || has(sim.next);
        self.sims.values_mut().for_each(|sim| sim.forget_old(now));
        let Some((key, sim)) = self.sims.iter_mut().find(|(_, sim)| mine(sim)) else { return };
        let key = *key;
        sim.unanswered = None;
        let confirmed = has(sim.next);
        if confirmed {
            sim.previous = std::mem::replace(&mut sim.current, sim.next.take());
            sim.handshake = None;
        }
        let staged = if confirmed { std::mem::take(&mut sim.staged) } else { Vec::new() };
        if payload != Payload::Keepalive {
            sim.owes.get_or_insert(now);
        }
        // What is not let in by this peer counts for nothing.
        let lets_in = match payload {
            Payload::Keepalive => true,
            Payload::Packet(packet) => self.owner(packet.flow.source) == Some(key),
        };
        self.heard(&key, from, if lets_in { 32 } else { 0 });
        if confirmed {
            self.made(&key, now);
        }
        for payload in staged {
            self.send(key, payload, now);
        }
        self.decrypted(&key, payload, now);
    }

    fn heard(&mut self, key: &WgPublicKey, from: Endpoint, bytes: u64) {
        if let Some(peer) = self.peer(key) {
            peer.endpoint = Some(from);
            peer.rx += bytes;
        }
    }

    fn made(&mut self, key: &WgPublicKey, now: Duration) {
        if let Some(peer) = self.peer(key) {
            peer.last_handshake = Some(wall(now));
        }
    }

    /// What came through a tunnel: taken only from the peer that the source address is allowed for.
    fn decrypted(&mut self, key: &WgPublicKey, payload: Payload, now: Duration) {
        let Payload::Packet(packet) = payload else { return };
        let source = packet.flow.source;
        if self.owner(source) == Some(*key) && self.believes_link(source) {
            self.pass(packet, Came::Link, now);
        }
    }
}
