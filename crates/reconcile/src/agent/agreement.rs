//! When this host agrees a new sealed channel: once for each key that the map says the servers change to.
//!
//! ```text
//!   Idle ── the map names another key ─► Due ── told ─► UnderWay ── agreed ─► Idle
//!                                         ▲                │ failed
//!                                         └── its time ────┘
//! ```
//!
//! Not for keys. It keeps true that one agreement is under way at most, and that hosts that are told at the same moment do not
//! all come at the same moment.

use std::time::Duration;

use model::SealingPublicKey;

use super::backoff::{Backoff, Jitter};

/// Within this time all come that are told at once.
const SPREAD: Duration = Duration::from_secs(20);
const RETRY: Backoff = Backoff { first: Duration::from_secs(4), most: Duration::from_secs(300) };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Due { at: Duration },
    UnderWay,
}

#[derive(Debug, Clone)]
pub(super) struct Agreement {
    wanted: Option<SealingPublicKey>,
    agreed: Option<SealingPublicKey>,
    state: State,
    failures: u32,
}

impl Agreement {
    pub(super) const fn new() -> Self {
        Self { wanted: None, agreed: None, state: State::Idle, failures: 0 }
    }

    /// The key that the map names.
    pub(super) fn told(&mut self, next: Option<SealingPublicKey>, now: Duration, jitter: &mut Jitter) {
        if next == self.wanted {
            return;
        }
        (self.wanted, self.failures) = (next, 0);
        match self.state {
            State::UnderWay => {}
            State::Idle | State::Due { .. } => {
                self.wait_until(now + jitter.between(Duration::ZERO, SPREAD));
            }
        }
    }

    /// The key with which a channel is to be agreed now.
    pub(super) fn take(&mut self, now: Duration) -> Option<SealingPublicKey> {
        self.deadline().filter(|at| *at <= now)?;
        self.state = State::UnderWay;
        self.wanted
    }

    /// The channel with this key counts, whoever found that out.
    pub(super) fn done(&mut self, key: SealingPublicKey, now: Duration) {
        (self.agreed, self.failures) = (Some(key), 0);
        self.wait_until(now);
    }

    pub(super) fn failed(&mut self, now: Duration, jitter: &mut Jitter) {
        self.wait_until(now + RETRY.after(self.failures, jitter));
        self.failures += 1;
    }

    /// What is to be done is done now.
    pub(super) fn hurry(&mut self, now: Duration) {
        if self.deadline().is_some() {
            self.wait_until(now);
        }
    }

    pub(super) const fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Due { at } => Some(at),
            State::Idle | State::UnderWay => None,
        }
    }

    fn wait_until(&mut self, at: Duration) {
        let is_left = self.wanted.is_some() && self.wanted != self.agreed;
        self.state = if is_left { State::Due { at } } else { State::Idle };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(9);

    fn key(number: u8) -> SealingPublicKey {
        SealingPublicKey::from_bytes([number; 32])
    }

    #[test]
    fn a_channel_is_agreed_once_for_each_key_and_not_by_all_at_once() {
        let (mut one, mut jitter) = (Agreement::new(), Jitter::new(7));
        assert_eq!((one.take(NOW), one.deadline()), (None, None));
        one.told(Some(key(1)), NOW, &mut jitter);
        let at = one.deadline().unwrap();
        assert!(at > NOW && at <= NOW + SPREAD);
        one.told(Some(key(1)), NOW, &mut jitter);
        assert_eq!(one.deadline(), Some(at), "the same map once more");
        assert_eq!((one.take(at), one.take(at)), (Some(key(1)), None));
        one.done(key(1), at);
        assert_eq!(one.deadline(), None);
        one.told(None, at, &mut jitter);
        one.told(Some(key(1)), at, &mut jitter);
        assert_eq!(one.deadline(), None, "it has that one");
        one.told(Some(key(2)), at, &mut jitter);
        one.hurry(at);
        assert_eq!(one.take(at), Some(key(2)));
    }

    #[test]
    fn a_key_that_comes_meanwhile_is_next_and_one_that_is_taken_back_is_not_tried_again() {
        let (mut one, mut jitter) = (Agreement::new(), Jitter::new(7));
        one.told(Some(key(1)), NOW, &mut jitter);
        one.hurry(NOW);
        assert_eq!(one.take(NOW), Some(key(1)));
        one.told(Some(key(2)), NOW, &mut jitter);
        assert_eq!(one.take(NOW), None);
        one.done(key(1), NOW);
        assert_eq!(one.take(NOW), Some(key(2)));
        one.failed(NOW, &mut jitter);
        let at = one.deadline().unwrap();
        assert!(at > NOW && one.take(NOW).is_none() && one.clone().take(at).is_some());
        one.told(None, NOW, &mut jitter);
        assert_eq!(one.deadline(), None);
    }
}
