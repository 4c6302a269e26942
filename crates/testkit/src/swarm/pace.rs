//! When an agent tries again: the pauses of the real one, so that a fleet comes back as real machines do.

use std::time::Duration;

use crate::chance::Chance;

/// Jitter of a seed.
#[derive(Debug, Clone)]
pub(super) struct Jitter(Chance);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next()
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let room = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.next() % room.saturating_add(1))
    }

    /// A mask for a WebSocket frame.
    pub(super) fn mask(&mut self) -> [u8; 4] {
        let bytes = self.next().to_le_bytes();
        [bytes[0], bytes[1], bytes[2], bytes[3]]
    }
}

/// What is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Connecting to the broker.
    Broker,
    /// A request that failed.
    Request,
    /// Asking while the broker is away.
    Fallback,
}

impl Again {
    /// After so many failures in a row: between half of the pause and all of it, and the pause doubles up to a most.
    pub(super) fn after(self, failures: u32, jitter: &mut Jitter) -> Duration {
        let (first, most) = match self {
            Self::Broker => (1, 15),
            Self::Request => (1, 60),
            Self::Fallback => (5, 60),
        };
        let whole = Duration::from_secs(first << failures.min(16)).min(Duration::from_secs(most));
        jitter.between(whole / 2, whole)
    }
}

/// When to come again whom the server put off: not before it said, and not with all the others.
pub(super) fn put_off(seconds: u32, jitter: &mut Jitter) -> Duration {
    let least = Duration::from_secs(u64::from(seconds).min(600));
    jitter.between(least, least * 3 / 2)
}

/// Whose turn it is among several addresses that lead to the same: each is tried once before anybody waits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turns {
    next: usize,
    failed: usize,
}

impl Turns {
    /// The one with this number is tried first.
    pub(super) const fn from(next: usize) -> Self {
        Self { next, failed: 0 }
    }

    /// Whose turn it is; to be taken modulo their number.
    pub(super) const fn now(&self) -> usize {
        self.next
    }

    /// It failed, and it is the next one's turn; whether that one of so many was not tried yet.
    pub(super) fn failed(&mut self, count: usize) -> bool {
        self.next += 1;
        self.failed = (self.failed + 1) % count.max(1);
        self.failed != 0
    }

    /// It worked.
    pub(super) fn worked(&mut self) {
        self.failed = 0;
    }

    /// It worked, and is lost: it is the next one's turn.
    pub(super) fn lost(&mut self) {
        *self = Self::from(self.next + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_tried_once_before_anybody_waits() {
        let mut turns = Turns::from(4);
        let tried = [(); 5].map(|()| (turns.now() % 3, turns.failed(3)));
        assert_eq!(tried, [(1, true), (2, true), (0, false), (1, true), (2, true)]);
        turns.worked();
        assert_eq!((turns.now() % 3, turns.failed(1)), (0, false));
        turns.lost();
        assert_eq!(turns.now() % 3, 2);
    }

    #[test]
    fn pauses_double_to_their_most_and_are_spread() {
        let mut jitter = Jitter::new(1);
        for (failures, whole) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 15), (30, 15)] {
            let whole = Duration::from_secs(whole);
            for _ in 0..50 {
                let pause = Again::Broker.after(failures, &mut jitter);
                assert!(pause >= whole / 2 && pause <= whole, "{failures} failures: {pause:?}");
            }
        }
        let (least, most) = (Duration::from_secs(10), Duration::from_secs(15));
        assert!((0..50).all(|_| (least..=most).contains(&put_off(10, &mut jitter))));
    }
}
