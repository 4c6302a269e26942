//! Chance, from a seed: the same seed makes the same world.

use std::time::Duration;

use crate::chance::Chance;

/// What the world draws.
#[derive(Debug, Clone)]
pub(super) struct Random(Chance);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.next().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }

    /// A span from `least` to twice `least`.
    pub(super) fn about(&mut self, least: Duration) -> Duration {
        let micros = u64::try_from(least.as_micros()).unwrap_or(u64::MAX).max(1);
        least + Duration::from_micros(self.next() % micros)
    }

    /// Whether something happens that happens this many times in a hundred.
    pub(super) const fn happens(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}
