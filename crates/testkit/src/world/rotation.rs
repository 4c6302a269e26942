//! A machine's WireGuard keys, and their change, in the order in which the real agent does it (ADR 19).
//!
//! A key is a name; possession is not proved. It keeps true that both keys that the server may have are on disk at every
//! moment, and that the next one is forgotten only when the server has said that it does not have it.

use std::time::Duration;

use model::WgPublicKey;
use reconcile::{AgentEvent, Derived, Op};
use wire::Outcome;

use super::host::{Host, Request};

/// How long the server may take while the device has a key that its peers do not know.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// When it is asked again which of two keys it has.
const AGAIN: Duration = Duration::from_secs(5);

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
    /// Makes a key, or takes the one that was made before, and has device and server take it.
    pub(super) fn rotate(&mut self, now: Duration) -> Option<Request> {
        if self.running.as_ref()?.changing_key {
            self.rotation_failed("an earlier change is not over", now);
            return None;
        }
        let key = self.keys.next.unwrap_or_else(|| self.keys.fresh());
        self.keys.next = Some(key);
        self.switch(key, now);
        self.tell_key(key)
    }

    fn tell_key(&mut self, key: WgPublicKey) -> Option<Request> {
        let running = self.running.as_mut()?;
        (running.changing_key, running.key_at) = (true, None);
        Some(Request::Key(key))
    }

    fn switch(&mut self, key: WgPublicKey, now: Duration) {
        if self.keys.on_device != key {
            self.keys.on_device = key;
            self.settle(now);
        }
    }

    /// Asks the server again about a key of which nobody knows whether it has it.
    pub(super) fn settle_key(&mut self, now: Duration) -> Option<Request> {
        let running = self.running.as_mut()?;
        running.key_at.take_if(|at| *at <= now)?;
        let key = self.keys.next.filter(|_| !running.changing_key)?;
        self.tell_key(key)
    }

    /// The server has said that it has the key, or that it does not take it, or nothing.
    pub(super) fn key_told(&mut self, key: WgPublicKey, answer: Option<bool>, now: Duration) {
        let Some(running) = self.running.as_mut() else { return };
        running.changing_key = false;
        match answer {
            Some(true) => {
                self.switch(key, now);
                self.keys.counts = key;
                self.keys.next = None;
                self.poke_all(now);
                self.hear(AgentEvent::Rotated, now);
            }
            Some(false) => {
                self.switch(self.keys.counts, now);
                self.keys.next = None;
                self.rotation_failed("the server did not take the key", now);
            }
            None => {
                running.key_at = Some(now + AGAIN);
                self.switch(self.keys.counts, now);
                self.rotation_failed("the server did not answer in time", now);
            }
        }
    }

    fn rotation_failed(&mut self, why: &str, now: Duration) {
        let failure = Outcome { op: "change the WireGuard key".to_owned(), error: why.to_owned() };
        self.hear(AgentEvent::RotationFailed(failure), now);
    }

    /// Who has the new key by now shakes hands.
    fn poke_all(&mut self, now: Duration) {
        let derived = self.running.as_ref().and_then(|running| running.derived.as_ref());
        let peers = derived.and_then(Derived::interface).into_iter().flat_map(|interface| &interface.peers);
        let ops: Vec<Op> = peers.map(|(key, peer)| Op::Poke(*key, peer.keepalive)).collect();
        self.execute(ops, now);
    }
}
