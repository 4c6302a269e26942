//! Leases: rights to some work that one server at a time must do, by the database's own clock.
//!
//! Not for deciding who leads (the server does that). It keeps true that a lease which a clock wrote that was ahead binds nobody
//! for longer than any lease lasts, and that clocks which differ by less than a lifetime take nobody's lease away.

use std::time::{Duration, Instant};

/// The right to do some work that must be done by one server at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Until then it is certainly ours. Counted from before it was asked for, so that no clock but the database's decides.
    pub until: Instant,
}

impl Lease {
    /// Whether it is still ours.
    pub fn is_held(&self) -> bool {
        Instant::now() < self.until
    }
}

/// What came of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// It is ours.
    Granted(Lease),
    /// Somebody else has it.
    HeldBy {
        /// Whoever this is, in the words in which it was taken.
        holder: String,
    },
}

impl Leased {
    /// What was asked for at this instant by `ours`, where `holder` has it now.
    pub(crate) fn of(holder: String, ours: &str, asked: Instant, lifetime: Duration) -> Self {
        match holder == ours {
            true => Self::Granted(Lease { until: asked + lifetime }),
            false => Self::HeldBy { holder },
        }
    }

    /// The lease, where it was granted.
    pub fn granted(self) -> Option<Lease> {
        match self {
            Self::Granted(lease) => Some(lease),
            Self::HeldBy { .. } => None,
        }
    }
}

/// A lease that somebody holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub name: String,
    /// Whose, in the words in which it was taken.
    pub holder: String,
}

/// A lifetime as databases count it; twice as much, and any time of day added, still fits.
pub(crate) fn millis(lifetime: Duration) -> i64 {
    i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 8)
}

/// Leases from their names and holders, which may come in any order.
pub(crate) fn held(mut rows: Vec<(String, String)>) -> Vec<Held> {
    rows.sort_unstable();
    rows.into_iter().map(|(name, holder)| Held { name, holder }).collect()
}
