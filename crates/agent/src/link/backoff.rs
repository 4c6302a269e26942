//! How long to wait before trying again: exponential, with full jitter, so that many agents do not come in step.
//!
//! Does not sleep and does not count; the caller does both.

use std::time::Duration;

/// Bounds of the pauses between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest pause after the first failure.
    pub first: Duration,
    /// Longest pause at all.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// A random pause before the next attempt, after `failures` in a row before this one.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        // Without randomness agents come in step, which the server survives.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        self.longest_after(failures).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    fn longest_after(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_random_below_it() {
        let backoff = Backoff::default();
        let bounds: Vec<u64> =
            [0, 1, 5, 6, 31, 32, 1000].map(|n| backoff.longest_after(n).as_secs()).to_vec();
        assert_eq!(bounds, [1, 2, 32, 60, 60, 60, 60]);
        let pauses: Vec<Duration> = (0..50).map(|_| backoff.pause(3)).collect();
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(8)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
