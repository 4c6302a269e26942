//! Dice of a seed: what happened once can be made to happen again, as far as clocks allow.

use std::time::Duration;

use crate::chance::Chance;

/// A source of chance.
#[derive(Debug, Clone)]
pub(super) struct Dice(Chance);

impl Dice {
    /// The one with this number of a seed.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut chance = Chance::new(seed ^ number.wrapping_mul(0xd605_bbb5_8c8a_bbfd));
        chance.next();
        Self(chance)
    }

    /// A number below this one.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// Whether it is one of so many of a hundred.
    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these; none of nothing.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A time between these.
    pub(super) fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let room = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.0.next() % room.saturating_add(1))
    }
}
