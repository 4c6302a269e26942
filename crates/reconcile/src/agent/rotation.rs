//! When this host makes itself a new WireGuard key: once for each time the map asks for it.
//!
//! ```text
//!   Idle ── the map asks ─► Due ── told ─► UnderWay ── registered ─► Done ── the map asks no more ─► Idle
//!                            ▲                │ failed
//!                            └── its time ────┘
//! ```
//!
//! Not for keys. It keeps true that one change of keys is under way at most, that a server that has yet to say that it
//! knows the new key gets no third one, and that none begins while a peer may still be shaking hands with its own new key: two
//! ends that change at once would wait for one another (ADR 19).

use std::time::Duration;

use super::backoff::{Backoff, Jitter};

/// What two hosts take to shake hands once one of them knows of the other's new key.
const HANDSHAKE: Duration = Duration::from_secs(1);
const RETRY: Backoff = Backoff { first: Duration::from_secs(30), most: Duration::from_secs(900) };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Due { at: Duration },
    UnderWay,
    Done,
}

#[derive(Debug, Clone)]
pub(super) struct Rotation {
    state: State,
    failures: u32,
    /// Not before.
    calm_at: Duration,
}

impl Rotation {
    pub(super) const fn new() -> Self {
        Self { state: State::Idle, failures: 0, calm_at: Duration::ZERO }
    }

    /// The map asks for a new key, or does not.
    pub(super) const fn asked(&mut self, asks: bool, now: Duration) {
        self.state = match (self.state, asks) {
            (State::Idle, true) => State::Due { at: now },
            (State::Due { .. } | State::Done, false) => State::Idle,
            (state @ (State::Idle | State::UnderWay), false)
            | (state @ (State::Due { .. } | State::UnderWay | State::Done), true) => state,
        };
    }

    /// A peer has another key than before.
    pub(super) fn peer_changed(&mut self, now: Duration) {
        self.calm_at = self.calm_at.max(now + HANDSHAKE);
    }

    /// Whether the key is to be changed now.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now);
        if due {
            self.state = State::UnderWay;
        }
        due
    }

    pub(super) const fn done(&mut self) {
        (self.state, self.failures) = (State::Done, 0);
    }

    pub(super) fn failed(&mut self, now: Duration, jitter: &mut Jitter) {
        self.state = State::Due { at: now + RETRY.after(self.failures, jitter) };
        self.failures += 1;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Due { at } => Some(at.max(self.calm_at)),
            State::Idle | State::UnderWay | State::Done => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_changed_once_for_each_time_the_map_asks() {
        let now = Duration::ZERO;
        let mut rotation = Rotation::new();
        assert!(!rotation.take(now));
        rotation.asked(true, now);
        assert!(rotation.take(now) && !rotation.take(now));
        rotation.asked(true, now);
        assert!(!rotation.take(now), "it is under way");
        rotation.done();
        rotation.asked(true, now);
        assert!(!rotation.take(now), "an older map");
        rotation.asked(false, now);
        rotation.asked(true, now);
        assert!(rotation.take(now));
    }

    #[test]
    fn a_peer_that_has_a_new_key_is_left_time_to_shake_hands() {
        let now = Duration::from_secs(9);
        let mut rotation = Rotation::new();
        rotation.peer_changed(now);
        assert_eq!(rotation.deadline(), None);
        rotation.asked(true, now);
        assert!(!rotation.take(now));
        let at = rotation.deadline().unwrap();
        assert!(at > now && rotation.take(at));
    }

    #[test]
    fn a_failure_is_tried_again_later_unless_nobody_asks_any_more() {
        let (now, mut jitter) = (Duration::ZERO, Jitter::new(7));
        let mut rotation = Rotation::new();
        rotation.asked(true, now);
        assert!(rotation.take(now));
        rotation.failed(now, &mut jitter);
        let at = rotation.deadline().unwrap();
        assert!(at > now && !rotation.take(now) && rotation.clone().take(at));
        rotation.asked(false, now);
        assert_eq!(rotation.deadline(), None);
    }
}
