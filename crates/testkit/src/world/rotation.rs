//! A machine's WireGuard keys, and their change, in the order in which the real agent does it (ADR 19): the server is told the
//! key that it has, to see whether it answers; the next key is on disk, then on the device, and then the server is told.
//!
//! A key is a name; possession is not proved. It keeps true that both keys that the server may have are on disk at every
//! moment, and that the next one is forgotten only when the server has said that it does not have it.

use std::time::Duration;

use model::WgPublicKey;
use reconcile::{AgentEvent, Derived, Op};
use wire::Outcome;

use super::host::{Host, Request};

/// How long the device keeps a key that its peers may not know.
const HOLD: Duration = Duration::from_secs(1);
/// How long an answer may take that got lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// When the server is told again which of two keys the device has.
const AGAIN: Duration = Duration::from_secs(5);

/// Why the server is told a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It has this one: to see whether it answers.
    Probe,
    /// This one is to be the key, and the device has it for a while.
    Change,
    /// It may have another one than the device, and is to have the device's.
    Agree,
}

/// The keys of a machine, on its disk but for the one on the device.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The key that counts.
    pub(super) counts: WgPublicKey,
    /// The key that is to come.
    pub(super) next: Option<WgPublicKey>,
    /// The key that the device is to have.
    pub(super) on_device: WgPublicKey,
    made: u8,
}

impl Keys {
    pub(super) const fn new(key: WgPublicKey) -> Self {
        Self { counts: key, next: None, on_device: key, made: 0 }
    }

    /// Another key that makes the link ours.
    pub(super) fn former(&self) -> Option<WgPublicKey> {
        let other = if self.on_device == self.counts { self.next } else { Some(self.counts) };
        other.filter(|key| *key != self.on_device)
    }

    /// Whether the server may have another key than the one that counts here.
    pub(super) const fn is_open(&self) -> bool {
        self.next.is_some()
    }

    /// A device that is made anew gets the key that counts.
    pub(super) const fn rebooted(&mut self) {
        self.on_device = self.counts;
    }

    fn fresh(&mut self) -> WgPublicKey {
        self.made += 1;
        let mut bytes = *self.counts.as_bytes();
        bytes[31] = 0x80 | self.made;
        WgPublicKey::from_bytes(bytes)
    }
}

impl Host {
    /// Makes a key and has device and server take it, if the server is there.
    pub(super) fn rotate(&mut self, now: Duration) -> Option<Request> {
        if self.running.as_ref()?.telling_key.is_some() || self.keys.is_open() {
            self.rotation_failed("an earlier change is not over", now);
            return None;
        }
        self.tell_key(self.keys.counts, Purpose::Probe)
    }

    /// The server is there.
    fn change_key(&mut self, now: Duration) -> Option<Request> {
        let key = self.keys.fresh();
        self.keys.next = Some(key);
        self.switch(key, now);
        self.running.as_mut()?.key_at = Some(now + HOLD);
        self.tell_key(key, Purpose::Change)
    }

    fn tell_key(&mut self, key: WgPublicKey, purpose: Purpose) -> Option<Request> {
        self.running.as_mut()?.telling_key = Some(purpose);
        Some(Request::Key(key))
    }

    /// Whether the device was to have another key.
    fn switch(&mut self, key: WgPublicKey, now: Duration) -> bool {
        let switches = self.keys.on_device != key;
        if switches {
            self.keys.on_device = key;
            self.settle(now);
        }
        switches
    }

    /// Nobody but this host knows that there is reason to shake hands.
    fn switch_back(&mut self, now: Duration) {
        if self.switch(self.keys.counts, now) {
            self.poke_all(now);
        }
    }

    /// It is time: a device that was lent a key has its own again, and a server that may have another one is told.
    pub(super) fn settle_key(&mut self, now: Duration) -> Option<Request> {
        let running = self.running.as_mut()?;
        running.key_at.take_if(|at| *at <= now)?;
        match running.telling_key {
            Some(Purpose::Change) => {
                self.switch_back(now);
                None
            }
            Some(Purpose::Probe | Purpose::Agree) => None,
            None if self.keys.is_open() => self.tell_key(self.keys.on_device, Purpose::Agree),
            None => None,
        }
    }

    /// The server has said that it has the key, or that it does not take it, or nothing.
    pub(super) fn key_told(
        &mut self,
        key: WgPublicKey,
        answer: Option<bool>,
        now: Duration,
    ) -> Option<Request> {
        let running = self.running.as_mut()?;
        running.key_at = None;
        let purpose = running.telling_key.take()?;
        let is_next = self.keys.next == Some(key);
        match (purpose, answer) {
            (Purpose::Probe, Some(true)) => return self.change_key(now),
            (Purpose::Probe, Some(false) | None) => self.rotation_failed("the server did not answer", now),
            (Purpose::Change | Purpose::Agree, Some(true)) => self.take_key(key, is_next, now),
            (Purpose::Change | Purpose::Agree, Some(false)) => {
                if is_next {
                    self.switch_back(now);
                    self.keys.next = None;
                    self.rotation_failed("the server did not take the key", now);
                }
            }
            (Purpose::Change | Purpose::Agree, None) => {
                running.key_at = Some(now + AGAIN);
                if is_next {
                    self.switch_back(now);
                    self.rotation_failed("the server did not answer in time", now);
                }
            }
        }
        None
    }

    /// Peers shake hands as soon as they have the key; where the device has it only now, they may have tried in vain.
    fn take_key(&mut self, key: WgPublicKey, is_next: bool, now: Duration) {
        let is_late = self.switch(key, now);
        self.keys.counts = key;
        self.keys.next = None;
        if is_late {
            self.poke_all(now);
        }
        if is_next {
            self.hear(AgentEvent::Rotated, now);
        }
    }

    fn rotation_failed(&mut self, why: &str, now: Duration) {
        let failure = Outcome { op: "change the WireGuard key".to_owned(), error: why.to_owned() };
        self.hear(AgentEvent::RotationFailed(failure), now);
    }

    /// Has WireGuard send something to every peer: a handshake, where there is no session.
    fn poke_all(&mut self, now: Duration) {
        let derived = self.running.as_ref().and_then(|running| running.derived.as_ref());
        let peers = derived.and_then(Derived::interface).into_iter().flat_map(|interface| &interface.peers);
        let ops: Vec<Op> = peers.map(|(key, peer)| Op::Poke(*key, peer.keepalive)).collect();
        self.execute(ops, now);
    }
}
