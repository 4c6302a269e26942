//! What all lanes share: when they may act, who they are to the servers, and where they write down what came of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::joins::Joins;
use super::ledger::Ledger;
use crate::fleet::Administrator;
use crate::swarm::Histogram;

/// What all lanes share.
pub(super) struct Conduct {
    /// The administrator at each server.
    pub(super) administrators: Vec<Administrator>,
    pub(super) ledger: Ledger,
    /// Who tried to join by keys for one machine.
    pub(super) joins: Joins,
    /// How long changes took that were acknowledged.
    pub(super) commits: Histogram,
    numbers: AtomicU64,
    over: AtomicBool,
    calm: Mutex<Option<Instant>>,
}

impl Conduct {
    pub(super) fn new(administrators: Vec<Administrator>) -> Self {
        Self {
            administrators,
            ledger: Ledger::default(),
            joins: Joins::default(),
            commits: Histogram::default(),
            numbers: AtomicU64::new(0),
            over: AtomicBool::new(false),
            calm: Mutex::new(Some(Instant::now())),
        }
    }

    /// A number that nobody else has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether nobody acts any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// No lane acts any more.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Something is broken from now on, or all is well from now on.
    pub(super) fn set_calm(&self, calm: bool) {
        *self.calm.lock().unwrap_or_else(PoisonError::into_inner) = calm.then(Instant::now);
    }

    /// Whether all was well for so long.
    pub(super) fn calm_for(&self, time: Duration) -> bool {
        let calm = *self.calm.lock().unwrap_or_else(PoisonError::into_inner);
        calm.is_some_and(|since| since.elapsed() > time)
    }
}
