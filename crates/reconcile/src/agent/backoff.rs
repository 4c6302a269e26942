//! How long to wait before trying again: longer each time, and never the same for two agents.

use std::time::Duration;

/// A small generator of jitter (SplitMix64). Not for secrets: the seed comes from the shell, all else follows from it.
#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A span between these two.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let room = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.next() % room.saturating_add(1))
    }
}

/// Waits that double from `first` to `most`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl Backoff {
    /// The wait after this many failures in a row: between half of it and all of it.
    pub(super) fn after(self, failures: u32, jitter: &mut Jitter) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.min(16)).min(self.most);
        jitter.between(whole / 2, whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_most_and_differ_between_agents() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };
        let waits = |seed| -> Vec<Duration> {
            let mut jitter = Jitter::new(seed);
            (0..20).map(|failures| backoff.after(failures, &mut jitter)).collect()
        };
        let (one, other) = (waits(1), waits(2));
        assert!(one[0] >= Duration::from_millis(500) && one[0] <= Duration::from_secs(1));
        assert!(one[19] >= Duration::from_secs(30) && one[19] <= Duration::from_secs(60));
        assert_ne!(one, other);
        assert_eq!(one, waits(1));
    }
}
