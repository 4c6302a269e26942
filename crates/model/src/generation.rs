//! Generations: the numbers of host maps. They only grow, also across restarts of the server.
//!
//! The upper 24 bits are the server's epoch (counted up and kept at each start), the lower 40 a counter within it,
//! so that no generation has to be kept on disk.

use std::fmt;

use serde::{Deserialize, Serialize};

const COUNTER_BITS: u32 = 40;

/// One run of the server; counted up at each start, in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch with this number; only the lower 24 bits count.
    pub const fn new(number: u32) -> Self {
        Self(number & 0x00ff_ffff)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The number of a host map. A map with a higher one replaces a map with a lower one, never the other way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// No map yet.
    pub const NONE: Self = Self(0);

    /// The first generation of an epoch.
    pub const fn first_of(epoch: Epoch) -> Self {
        Self(((epoch.0 as u64) << COUNTER_BITS) | 1)
    }

    /// The generation with this number.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> COUNTER_BITS, self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({self})")
    }
}

impl<C> minicbor::Encode<C> for Generation {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Generation {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.u64().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_epoch_is_later_than_all_before() {
        let mut last = Generation::first_of(Epoch::new(4));
        for _ in 0..1_000 {
            last = last.next();
        }
        assert!(Generation::first_of(Epoch::new(5)) > last);
        assert_eq!(Generation::first_of(Epoch::new(5)).to_string(), "5.1");
    }
}
