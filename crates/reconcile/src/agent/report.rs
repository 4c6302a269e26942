//! When to report: if what would be said differs from what was last said, and not more often than is useful.
//!
//! It keeps true that at most one report is under way, and that the last word is always said in the end.

use std::time::Duration;

use model::Endpoint;
use wire::Report;

use super::backoff::{Backoff, Jitter};

/// That a map was carried out is no news in itself: it waits a little, so that a burst of changes is one report.
const PATIENCE: Duration = Duration::from_millis(300);
const RETRY: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(60) };

#[derive(Debug, Clone, Default)]
pub(super) struct Reporter {
    current: Report,
    /// What the server was last told, as far as is known.
    told: Option<Report>,
    under_way: Option<Report>,
    at: Option<Duration>,
    failures: u32,
}

impl Reporter {
    /// The addresses that were told last, or are to be.
    pub(super) fn local(&self) -> &[Endpoint] {
        &self.current.local
    }

    /// Changes what is to be said.
    pub(super) fn change(&mut self, now: Duration, change: impl FnOnce(&mut Report)) {
        let before = self.current.clone();
        change(&mut self.current);
        self.current.local.truncate(Report::MOST_LOCAL);
        self.current.failures.truncate(Report::MOST_FAILURES);
        if self.current == before {
            return;
        }
        let only_generation = Report { generation: self.current.generation, ..before } == self.current;
        let at = if only_generation { now + PATIENCE } else { now };
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// The server may have forgotten: say it again.
    pub(super) fn say_again(&mut self, now: Duration) {
        self.told = None;
        self.failures = 0;
        if self.current != Report::default() {
            self.at = Some(now);
        }
    }

    pub(super) fn sent(&mut self, now: Duration) {
        self.told = self.under_way.take();
        self.failures = 0;
        if self.told.as_ref() != Some(&self.current) {
            self.at.get_or_insert(now);
        }
    }

    pub(super) fn failed(&mut self, now: Duration, jitter: &mut Jitter) {
        self.under_way = None;
        self.at = Some(now + RETRY.after(self.failures, jitter));
        self.failures += 1;
    }

    /// The report that is due, taken.
    pub(super) fn take(&mut self, now: Duration) -> Option<Report> {
        if self.under_way.is_some() || self.at.is_none_or(|at| at > now) {
            return None;
        }
        self.at = None;
        if self.told.as_ref() == Some(&self.current) {
            return None;
        }
        self.under_way = Some(self.current.clone());
        self.under_way.clone()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.at.filter(|_| self.under_way.is_none())
    }
}
