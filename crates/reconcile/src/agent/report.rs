//! When to report: if what would be said differs from what was last said, and not more often than is useful.
//!
//! It keeps true that at most one report is under way, and that the last word is always said in the end.

use std::time::Duration;

use model::{Endpoint, Generation};
use wire::{Outcome, Report};

use super::backoff::{Backoff, Jitter};

/// That a map was carried out is no news in itself: it waits a little, so that a burst of changes is one report. It waits the
/// longer the more hosts there are that have the same to say: of a hundred, or of ten thousand, a few hundred do in a second.
const PATIENCE: Duration = Duration::from_millis(300);
const PEERS_OF_PATIENCE: u32 = 100;
const MOST_PATIENCE: Duration = Duration::from_secs(30);
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

    /// What was carried out, on a machine with so many peers.
    pub(super) fn carried_out(
        &mut self,
        now: Duration,
        done: (Generation, Vec<Outcome>),
        peers: usize,
        jitter: &mut Jitter,
    ) {
        let hundreds = u32::try_from(peers).unwrap_or(u32::MAX).div_ceil(PEERS_OF_PATIENCE).max(1);
        let patience = PATIENCE.saturating_mul(hundreds).min(MOST_PATIENCE);
        let (generation, mut failures) = done;
        failures.truncate(Report::MOST_FAILURES);
        let news = failures != self.current.failures;
        (self.current.generation, self.current.failures) = (generation, failures);
        let at = if news { now } else { now + jitter.between(patience, 2 * patience) };
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// Changes what is to be said.
    pub(super) fn change(&mut self, now: Duration, change: impl FnOnce(&mut Report)) {
        let before = self.current.clone();
        change(&mut self.current);
        self.current.local.truncate(Report::MOST_LOCAL);
        self.current.clients.truncate(Report::MOST_CLIENTS);
        if self.current != before {
            self.at = Some(self.at.map_or(now, |before| before.min(now)));
        }
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

    /// Whether there is something that was not said yet.
    pub(super) fn has_news(&self) -> bool {
        self.at.is_some() && self.told.as_ref() != Some(&self.current)
    }

    /// What is to be said is said now.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.at = self.at.map(|_| now);
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.at.filter(|_| self.under_way.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried_out(
        reporter: &mut Reporter,
        generation: u64,
        failures: Vec<Outcome>,
        peers: usize,
    ) -> Duration {
        let done = (Generation::from_number(generation), failures);
        reporter.carried_out(Duration::ZERO, done, peers, &mut Jitter::new(generation));
        reporter.deadline().expect("there is something to say")
    }

    #[test]
    fn the_more_peers_the_longer_it_waits_to_say_that_all_is_well() {
        for (peers, least, most) in
            [(0, 300, 600), (100, 300, 600), (1_000, 3_000, 6_000), (50_000, 30_000, 60_000)]
        {
            let at = carried_out(&mut Reporter::default(), 1, vec![], peers);
            assert!((least..=most).contains(&at.as_millis()), "{peers} peers: {at:?}");
        }
    }

    #[test]
    fn a_failure_is_said_at_once_and_so_is_that_it_is_over() {
        let failure = Outcome { op: "add an address".to_owned(), error: "no such device".to_owned() };
        let mut reporter = Reporter::default();
        assert_eq!(carried_out(&mut reporter, 1, vec![failure], 10_000), Duration::ZERO);
        assert!(reporter.take(Duration::ZERO).is_some());
        reporter.sent(Duration::ZERO);
        assert_eq!(carried_out(&mut reporter, 2, vec![], 10_000), Duration::ZERO);
    }
}
