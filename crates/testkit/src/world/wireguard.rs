//! A simulated kernel with WireGuard in it: ops change it, datagrams and time drive it.
//!
//! No cryptography: a key is a name and a session a number. What counts here is when WireGuard speaks: a handshake at once
//! for a peer with a keepalive and then every five seconds only, endpoints that follow authenticated datagrams, sessions
//! that end, and a responder that takes its first data before it counts the session as made.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::{Endpoint, Keepalive, Timestamp, WgPublicKey};
use reconcile::{Actual, ActualPeer, Op};

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
    Ping { from: IpAddr, to: IpAddr, number: u64 },
    Pong { from: IpAddr, to: IpAddr, number: u64 },
}

/// A WireGuard datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    Initiation { from: WgPublicKey, to: WgPublicKey, handshake: u64 },
    Response { handshake: u64, session: u64 },
    Data { session: u64, payload: Payload },
}

#[derive(Debug, Clone, Copy)]
struct Session {
    id: u64,
    born: Duration,
    initiator: bool,
}

#[derive(Debug, Clone, Copy)]
struct Handshake {
    id: u64,
    at: Duration,
    tries: u32,
}

#[derive(Debug, Clone, Default)]
struct Sim {
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

/// One machine's kernel, as far as it is ours.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    pub(super) actual: Actual,
    key: WgPublicKey,
    sims: BTreeMap<WgPublicKey, Sim>,
    /// Datagrams to send.
    pub(super) out: Vec<(Endpoint, Packet)>,
    /// Numbers of pings that were answered.
    pub(super) pongs: Vec<u64>,
    ids: u64,
}

/// The wall clock of every machine.
pub(super) fn wall(now: Duration) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000) + now
}

impl Kernel {
    /// A machine that has just started. `number` makes its sessions' numbers its own.
    pub(super) fn new(key: WgPublicKey, number: u64) -> Self {
        let actual = Actual::default();
        Self { actual, key, sims: BTreeMap::new(), out: Vec::new(), pongs: Vec::new(), ids: number << 32 }
    }

    pub(super) fn observe(&self, now: Duration) -> Actual {
        let mut actual = self.actual.clone();
        if let Some(device) = actual.link.as_mut().and_then(|link| link.device.as_mut()) {
            device.at = wall(now);
        }
        actual
    }

    pub(super) fn execute(&mut self, op: &Op, now: Duration) {
        let was_up = self.is_up();
        self.actual.apply(op);
        let peers: Vec<WgPublicKey> =
            self.device().map(|device| device.keys().copied().collect()).unwrap_or_default();
        self.sims.retain(|key, _| peers.contains(key));
        for key in peers {
            self.sims.entry(key).or_default();
        }
        match op {
            Op::AddPeer(key, _) | Op::Poke(key, _) => self.send(*key, Payload::Keepalive, now),
            Op::SetUp if !was_up => {
                for key in self.sims.keys().copied().collect::<Vec<_>>() {
                    self.send(key, Payload::Keepalive, now);
                }
            }
            Op::CreateLink(_)
            | Op::DeleteLink
            | Op::SetKey(_)
            | Op::SetPort(_)
            | Op::SetMtu(_)
            | Op::SetUp
            | Op::AddAddress(_)
            | Op::RemoveAddress(_)
            | Op::AddRoute(_)
            | Op::RemoveRoute(_)
            | Op::RemovePeer(_)
            | Op::AllowMore(..)
            | Op::SetAllowed(..)
            | Op::SetKeepalive(..)
            | Op::SetEndpoint(..)
            | Op::SetMark(_)
            | Op::Around(_) => {}
        }
    }

    /// Sends a ping, as a program on the machine would; whether there was a route and a peer for it.
    pub(super) fn ping(&mut self, to: IpAddr, number: u64, now: Duration) -> bool {
        let Some(from) = self.source_for(to) else { return false };
        self.route(Payload::Ping { from, to, number }, to, now)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.sims.iter().filter_map(|(key, sim)| self.sim_deadline(key, sim)).min()
    }

    pub(super) fn tick(&mut self, now: Duration) {
        for key in self.sims.keys().copied().collect::<Vec<_>>() {
            self.tick_peer(key, now);
        }
    }

    pub(super) fn receive(&mut self, from: Endpoint, packet: Packet, now: Duration) {
        match packet {
            Packet::Initiation { from: peer, to, handshake } if to == self.key => {
                self.initiation(from, peer, handshake, now);
            }
            Packet::Initiation { .. } => {}
            Packet::Response { handshake, session } => self.response(from, handshake, session, now),
            Packet::Data { session, payload } => self.data(from, session, payload, now),
        }
    }

    fn is_up(&self) -> bool {
        self.actual.link.as_ref().is_some_and(|link| link.up)
    }

    fn device(&self) -> Option<&BTreeMap<WgPublicKey, ActualPeer>> {
        self.actual.link.as_ref()?.device.as_ref().map(|device| &device.peers)
    }

    fn peer(&mut self, key: &WgPublicKey) -> Option<&mut ActualPeer> {
        self.actual.link.as_mut()?.device.as_mut()?.peers.get_mut(key)
    }

    fn keepalive(&self, key: &WgPublicKey) -> Option<Duration> {
        let seconds = self.device()?.get(key)?.keepalive.map(Keepalive::get)?;
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

    fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        let link = self.actual.link.as_ref().filter(|link| link.up)?;
        let route = link.routes.iter().find(|route| route.destination.contains(&to))?;
        let source = route.source?;
        link.addresses.contains(&IpNet::from(source)).then_some(source)
    }

    fn route(&mut self, payload: Payload, to: IpAddr, now: Duration) -> bool {
        let owner = self.device().and_then(|peers| {
            peers.iter().find(|(_, peer)| peer.allowed.contains(&IpNet::from(to))).map(|(key, _)| *key)
        });
        owner.map(|key| self.send(key, payload, now)).is_some()
    }

    fn send(&mut self, key: WgPublicKey, payload: Payload, now: Duration) {
        if !self.is_up() {
            return;
        }
        let Some(endpoint) = self.peer(&key).map(|peer| peer.endpoint) else { return };
        let Some(sim) = self.sims.get_mut(&key) else { return };
        sim.forget_old(now);
        sim.sent = now;
        sim.owes = None;
        let (Some(session), Some(endpoint)) = (sim.current, endpoint) else {
            if payload != Payload::Keepalive && sim.staged.len() < MOST_STAGED {
                sim.staged.push(payload);
            }
            return self.initiate(key, 0, now);
        };
        if payload != Payload::Keepalive {
            sim.unanswered.get_or_insert(now);
        }
        self.out.push((endpoint, Packet::Data { session: session.id, payload }));
        if session.initiator && now >= session.born + REKEY_AFTER {
            self.initiate(key, 0, now);
        }
    }

    fn initiate(&mut self, key: WgPublicKey, tries: u32, now: Duration) {
        self.ids += 1;
        let (id, from) = (self.ids, self.key);
        let Some(endpoint) = self.peer(&key).and_then(|peer| peer.endpoint) else { return };
        let Some(sim) = self.sims.get_mut(&key) else { return };
        if sim.initiated.is_some_and(|at| now < at + REKEY_TIMEOUT) {
            return;
        }
        sim.initiated = Some(now);
        sim.handshake = Some(Handshake { id, at: now, tries });
        self.out.push((endpoint, Packet::Initiation { from, to: key, handshake: id }));
    }

    fn initiation(&mut self, from: Endpoint, key: WgPublicKey, handshake: u64, now: Duration) {
        self.ids += 1;
        let id = self.ids;
        let (true, Some(sim)) = (self.is_up(), self.sims.get_mut(&key)) else { return };
        if sim.consumed.is_some_and(|at| now < at + FLOOD) {
            return;
        }
        sim.consumed = Some(now);
        sim.next = Some(Session { id, born: now, initiator: false });
        self.heard(&key, from, 148);
        self.out.push((from, Packet::Response { handshake, session: id }));
    }

    fn response(&mut self, from: Endpoint, handshake: u64, id: u64, now: Duration) {
        let waiting = |sim: &Sim| sim.handshake.is_some_and(|waiting| waiting.id == handshake);
        let Some((key, sim)) = self.sims.iter_mut().find(|(_, sim)| waiting(sim)) else { return };
        let key = *key;
        sim.handshake = None;
        sim.unanswered = None;
        sim.previous = sim.current.replace(Session { id, born: now, initiator: true });
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
        self.heard(&key, from, 32);
        if confirmed {
            self.made(&key, now);
        }
        for payload in staged {
            self.send(key, payload, now);
        }
        self.deliver(&key, payload, now);
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
    fn deliver(&mut self, key: &WgPublicKey, payload: Payload, now: Duration) {
        let (from, to) = match payload {
            Payload::Keepalive => return,
            Payload::Ping { from, to, .. } | Payload::Pong { from, to, .. } => (from, to),
        };
        let allowed = self.peer(key).is_some_and(|peer| peer.allowed.contains(&IpNet::from(from)));
        let own = self.actual.link.as_ref().is_some_and(|link| link.addresses.contains(&IpNet::from(to)));
        if !allowed || !own {
            return;
        }
        match payload {
            Payload::Keepalive => {}
            Payload::Ping { number, .. } => {
                self.route(Payload::Pong { from: to, to: from, number }, from, now);
            }
            Payload::Pong { number, .. } => self.pongs.push(number),
        }
    }
}
