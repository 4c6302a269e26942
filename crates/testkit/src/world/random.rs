//! Chance, from a seed: the same seed makes the same world.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
