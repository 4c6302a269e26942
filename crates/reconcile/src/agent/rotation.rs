//! When this host makes itself a new WireGuard key: once for each time the map asks for it.
//!
//! ```text
//!   Idle ── the map asks ─► Due ── told ─► UnderWay ── registered ─► Done ── the map asks no more ─► Idle
//!                            ▲                │ failed                │                               ▲
//!                            └── its time ────┘                       └─ the server ─► Asked ─────────┤
//!                                                                        is asked        answered ────┘
//! ```
//!
//! A map that still asks when the key was brought may be an older one, or ask anew: whoever was off may never see a map in
//! between that asks for nothing. What the server answers from then on says which.
//!
//! Not for keys. It keeps true that one change of keys is under way at most, that a server that has yet to say that it
//! knows the new key gets no third one, and that none begins while a peer may still be shaking hands with its own new key: two
//! ends that change at once would wait for one another (ADR 19).

use std::time::Duration;

use super::backoff::{Backoff, Jitter};

/// What two hosts take to shake hands once one of them knows of the other's new key.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// Longer than a server takes to say by itself that it knows a key.
const HEARD: Duration = Duration::from_secs(2);
const RETRY: Backoff = Backoff { first: Duration::from_secs(30), most: Duration::from_secs(900) };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Due {
        at: Duration,
    },
    UnderWay,
    /// What the map says is doubted from then on, if it was not before.
    Done {
        doubt: Option<Duration>,
    },
    /// It is done, and the server has been asked for the map since.
    Asked,
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
            (State::Due { .. } | State::Done { .. } | State::Asked, false) => State::Idle,
            (state @ (State::Idle | State::UnderWay), false)
            | (state @ (State::Due { .. } | State::UnderWay | State::Done { .. } | State::Asked), true) => {
                state
            }
        };
    }

    /// A peer has another key than before.
    pub(super) fn peer_changed(&mut self, now: Duration) {
        self.calm_at = self.calm_at.max(now + HANDSHAKE);
    }

    /// Whether the key is to be changed now.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let due = self.due().is_some_and(|at| at <= now);
        if due {
            self.state = State::UnderWay;
        }
        due
    }

    pub(super) fn done(&mut self, now: Duration) {
        (self.state, self.failures) = (State::Done { doubt: Some(now + HEARD) }, 0);
    }

    /// Whether the server is to be asked now what the map says.
    pub(super) fn doubts(&mut self, now: Duration) -> bool {
        let State::Done { doubt } = &mut self.state else { return false };
        doubt.take_if(|at| *at <= now).is_some()
    }

    /// The server is asked for the map.
    pub(super) const fn asking(&mut self) {
        if matches!(self.state, State::Done { .. }) {
            self.state = State::Asked;
        }
    }

    /// The server has said what is so now, if it was asked since the key was brought.
    pub(super) const fn answered(&mut self) {
        if matches!(self.state, State::Asked) {
            self.state = State::Idle;
        }
    }

    pub(super) fn failed(&mut self, now: Duration, jitter: &mut Jitter) {
        self.state = State::Due { at: now + RETRY.after(self.failures, jitter) };
        self.failures += 1;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Done { doubt } => doubt,
            State::Due { .. } | State::Idle | State::UnderWay | State::Asked => self.due(),
        }
    }

    fn due(&self) -> Option<Duration> {
        match self.state {
            State::Due { at } => Some(at.max(self.calm_at)),
            State::Idle | State::UnderWay | State::Done { .. } | State::Asked => None,
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
        rotation.done(now);
        rotation.asked(true, now);
        assert!(!rotation.take(now), "an older map");
        rotation.asked(false, now);
        rotation.asked(true, now);
        assert!(rotation.take(now));
    }

    #[test]
    fn a_map_that_still_asks_is_believed_when_the_server_says_it_again() {
        let mut now = Duration::ZERO;
        let mut rotation = Rotation::new();
        rotation.asked(true, now);
        assert!(rotation.take(now));
        rotation.asking();
        rotation.done(now);
        rotation.answered();
        rotation.asked(true, now);
        assert!(!rotation.take(now), "the server was asked before it had the key");
        assert!(!rotation.doubts(now), "it may say so by itself");
        now = rotation.deadline().unwrap();
        assert!(rotation.doubts(now) && !rotation.doubts(now));
        assert_eq!(rotation.deadline(), None);
        rotation.asking();
        rotation.asked(true, now);
        assert!(!rotation.take(now));
        rotation.answered();
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
