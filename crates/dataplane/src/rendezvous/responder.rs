//! The rendezvous without its socket: datagrams in, answers and sightings out.
//!
//! ```text
//!            initiation, newer than any before          keepalive under it, counter higher than any before
//!  (nothing) ────────────────────────────────► offered ────────────────────────────────────────► current
//!                 (a response goes back)                  (the source is where the host is seen)
//! ```
//!
//! Invariant: an address counts only because a keepalive that was never seen before authenticated and came from
//! it. An initiation moves nothing, however often it is replayed, and whatever was forgotten by a restart.
//!
//! It is not a tunnel: it never begins a handshake and takes no data, so nothing can be sent into a network
//! through it. It reads no clock (except for the cookies' secrets) and knows no socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::gate::{Gate, Verdict};
use super::noise::{self, INITIATION_LEN, Identity, KEEPALIVE_LEN, Timestamp};
use crate::PublicKey;

/// After this long a session's keys are not used any more (the protocol's `REJECT_AFTER_TIME`).
const REJECT_AFTER: Duration = Duration::from_secs(180);
/// How often sessions that ended are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// More peers than anybody has; a table must have an end.
const MOST_PEERS: usize = 100_000;

/// A host was seen at an address where it had not been seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whose address it is.
    pub public_key: PublicKey,
    /// The address and port of its WireGuard socket as seen from here. IPv4 is always written as IPv4.
    pub endpoint: SocketAddr,
    /// When the keepalive that proves it arrived.
    pub at: Instant,
}

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not for us, not valid, or from nobody we know; nothing is to be done, and nobody is to be told.
    Ignored,
    /// This is to be sent back to where it came from.
    Reply(Vec<u8>),
    /// A known host is still where it was.
    Heard,
    /// A known host is somewhere new.
    Moved(Seen),
}

/// No more peers fit in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rendezvous already knows {MOST_PEERS} hosts, which is as many as it takes; remove some first")]
pub struct TableFull;

/// What is known of one host.
#[derive(Default)]
struct Peer {
    newest_initiation: Timestamp,
    /// The session that we answered for, and that nobody has proved to hold yet.
    offered: Option<Session>,
    /// The session that the host uses.
    current: Option<Session>,
    endpoint: Option<SocketAddr>,
    heard: Option<Instant>,
}

struct Session {
    index: u32,
    receiving_key: [u8; 32],
    /// Every counter below this one is spent. Keepalives that overtake one another are lost, which does no harm.
    next_counter: u64,
    since: Instant,
}

/// Answers the handshakes of a table of known hosts and notices from where they come.
pub struct Responder {
    identity: Identity,
    gate: Gate,
    peers: HashMap<PublicKey, Peer>,
    sessions: HashMap<u32, PublicKey>,
    swept: Instant,
}

impl Responder {
    /// A responder that knows nobody yet.
    #[must_use]
    pub fn new(private_key: [u8; 32], now: Instant) -> Self {
        let identity = Identity::new(private_key);
        let gate = Gate::new(identity.public_key(), now);
        Self { identity, gate, peers: HashMap::new(), sessions: HashMap::new(), swept: now }
    }

    /// The key that hosts must know to reach us.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        *self.identity.public_key()
    }

    /// Knows one more host. One that is known already is left alone.
    ///
    /// # Errors
    /// [`TableFull`] if the table has no room.
    pub fn add_peer(&mut self, public_key: PublicKey) -> Result<(), TableFull> {
        if !self.peers.contains_key(&public_key) && self.peers.len() >= MOST_PEERS {
            return Err(TableFull);
        }
        self.peers.entry(public_key).or_default();
        Ok(())
    }

    /// Forgets a host. Whatever it sends from now on is answered with nothing.
    pub fn remove_peer(&mut self, public_key: &PublicKey) {
        let Some(peer) = self.peers.remove(public_key) else {
            return;
        };
        for session in [peer.offered, peer.current].into_iter().flatten() {
            self.sessions.remove(&session.index);
        }
    }

    /// Knows exactly these hosts. Those known before keep their sessions.
    ///
    /// # Errors
    /// [`TableFull`] if they do not fit; then nothing has changed.
    pub fn set_peers(&mut self, public_keys: impl IntoIterator<Item = PublicKey>) -> Result<(), TableFull> {
        let wanted: std::collections::HashSet<PublicKey> = public_keys.into_iter().collect();
        if wanted.len() > MOST_PEERS {
            return Err(TableFull);
        }
        let gone: Vec<PublicKey> = self.peers.keys().filter(|key| !wanted.contains(*key)).copied().collect();
        for key in &gone {
            self.remove_peer(key);
        }
        for key in wanted {
            self.peers.entry(key).or_default();
        }
        Ok(())
    }

    /// When the newest authenticated packet of this host came.
    #[must_use]
    pub fn last_heard(&self, public_key: &PublicKey) -> Option<Instant> {
        self.peers.get(public_key)?.heard
    }

    /// Where this host was seen last.
    #[must_use]
    pub fn endpoint(&self, public_key: &PublicKey) -> Option<SocketAddr> {
        self.peers.get(public_key)?.endpoint
    }

    /// Takes one datagram.
    pub fn handle_datagram(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) -> Outcome {
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let outcome = match datagram {
            [1, 0, 0, 0, ..] => self.handle_initiation(datagram, source, now),
            [4, 0, 0, 0, ..] => self.handle_keepalive(datagram, source, now),
            _ => None,
        };
        outcome.unwrap_or(Outcome::Ignored)
    }

    /// Lets time pass; to be called about once a second.
    pub fn handle_tick(&mut self, now: Instant) {
        self.gate.open_window(now);
        if now.saturating_duration_since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        let sessions = &mut self.sessions;
        for peer in self.peers.values_mut() {
            for slot in [&mut peer.offered, &mut peer.current] {
                if let Some(ended) = slot.take_if(|session| session.has_ended(now)) {
                    sessions.remove(&ended.index);
                }
            }
        }
    }

    fn handle_initiation(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) -> Option<Outcome> {
        let message: &[u8; INITIATION_LEN] = datagram.try_into().ok()?;
        match self.gate.judge(message, source, now) {
            Verdict::Admit => {}
            Verdict::Challenge(cookie) => return Some(Outcome::Reply(cookie)),
            Verdict::Ignore => return None,
        }
        let peers = &self.peers;
        let initiation = self.identity.open_initiation(message, |key| peers.contains_key(key))?;
        let index = self.fresh_index()?;
        let peer = self.peers.get_mut(&initiation.public_key)?;
        if initiation.timestamp <= peer.newest_initiation {
            return None;
        }
        let mut ephemeral = [0; 32];
        getrandom::fill(&mut ephemeral).ok()?;
        let response = initiation.respond(index, ephemeral)?;
        peer.newest_initiation = initiation.timestamp;
        let session = Session { index, receiving_key: response.receiving_key, next_counter: 0, since: now };
        if let Some(unused) = peer.offered.replace(session) {
            self.sessions.remove(&unused.index);
        }
        self.sessions.insert(index, initiation.public_key);
        Some(Outcome::Reply(response.datagram.to_vec()))
    }

    fn handle_keepalive(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) -> Option<Outcome> {
        let message: &[u8; KEEPALIVE_LEN] = datagram.try_into().ok()?;
        let index = noise::keepalive_index(message)?;
        let public_key = *self.sessions.get(&index)?;
        let peer = self.peers.get_mut(&public_key)?;
        let session =
            [&mut peer.offered, &mut peer.current].into_iter().flatten().find(|s| s.index == index)?;
        if session.has_ended(now) {
            return None;
        }
        let counter = noise::open_keepalive(message, &session.receiving_key)?;
        if counter < session.next_counter {
            return None;
        }
        session.next_counter = counter.checked_add(1)?;
        if peer.offered.as_ref().is_some_and(|offered| offered.index == index)
            && let Some(replaced) = std::mem::replace(&mut peer.current, peer.offered.take())
        {
            self.sessions.remove(&replaced.index);
        }
        peer.heard = Some(now);
        if peer.endpoint.replace(source) == Some(source) {
            return Some(Outcome::Heard);
        }
        Some(Outcome::Moved(Seen { public_key, endpoint: source, at: now }))
    }

    /// A session number that nobody has and nobody can guess.
    fn fresh_index(&self) -> Option<u32> {
        loop {
            let index = getrandom::u32().ok()?;
            if !self.sessions.contains_key(&index) {
                return Some(index);
            }
        }
    }
}

impl Session {
    fn has_ended(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= REJECT_AFTER
    }
}

#[cfg(test)]
mod tests;
