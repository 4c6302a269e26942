//! Which servers leave the lead to others: pure, decided from what the servers say of one another in the database.
//!
//! Not for who leads: that is the lease's. A server that can renew its lease leads, also where nobody else reaches it, or where it
//! does not reach the message broker. It keeps true that
//!
//! - whoever stands back knows of a running server that is better placed, so that of those who run one never stands back, and
//!   where nobody is better placed than anybody nothing changes;
//! - a lead that nobody wants is taken all the same, after a while, by whoever can.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::keeper::LIFETIME;

/// What fails for so long is trouble.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long the lead may be nobody's until also those who stand back ask for it.
pub(super) const NOBODY: Duration = Duration::from_secs(30);
/// Who took the lead because nobody else did keeps it for so long, whatever is said of it.
pub(super) const PARDON: Duration = Duration::from_secs(300);

/// What the servers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts<S> {
    /// Those that run.
    pub(super) running: BTreeSet<S>,
    /// Who has not reached whom for a while.
    pub(super) unreached: BTreeSet<(S, S)>,
    /// Who leads, or led, without reaching the message broker.
    pub(super) broker_lost: BTreeSet<S>,
    /// Who looked, because another one has lost it, and reaches it.
    pub(super) broker_found: BTreeSet<S>,
}

impl<S> Default for Facts<S> {
    fn default() -> Self {
        let (running, unreached) = (BTreeSet::new(), BTreeSet::new());
        Self { running, unreached, broker_lost: BTreeSet::new(), broker_found: BTreeSet::new() }
    }
}

/// Why a server stands back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Most others do not reach it, and there is one that most do.
    Unreached,
    /// It does not reach the message broker, and another one does.
    Broker,
}

impl<S: Ord + Clone> Facts<S> {
    /// Those among the others that run which have not reached it.
    pub(super) fn missed_by<'a>(&'a self, of: &'a S) -> impl Iterator<Item = &'a S> {
        self.others(of).filter(|by| self.unreached.contains(&((*by).clone(), of.clone())))
    }

    /// Whether this one leaves the lead to others.
    pub(super) fn stands_back(&self, me: &S) -> Option<Why> {
        let mine = self.is_unreached(me);
        if mine && self.others(me).any(|other| !self.is_unreached(other)) {
            return Some(Why::Unreached);
        }
        let better = |other: &S| {
            self.broker_found.contains(other)
                && !self.broker_lost.contains(other)
                && self.is_unreached(other) == mine
        };
        (self.broker_lost.contains(me) && self.others(me).any(better)).then_some(Why::Broker)
    }

    /// Whether more than half of the others do not reach it.
    fn is_unreached(&self, of: &S) -> bool {
        2 * self.missed_by(of).count() > self.others(of).count()
    }

    fn others<'a>(&'a self, of: &'a S) -> impl Iterator<Item = &'a S> {
        self.running.iter().filter(move |server| *server != of)
    }
}

/// Trouble that lasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lasting(Option<Instant>);

impl Lasting {
    /// It was so then.
    pub(super) fn note(&mut self, is_trouble: bool, then: Instant) {
        self.0 = is_trouble.then(|| self.0.unwrap_or(then));
    }

    /// Whether it has lasted for long enough to count.
    pub(super) fn counts(&self, now: Instant) -> bool {
        self.0.is_some_and(|since| since + PATIENCE <= now)
    }
}

/// Which servers are reached from here.
#[derive(Debug, Clone)]
pub(super) struct Sights<S>(BTreeMap<S, Lasting>);

impl<S> Default for Sights<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Ord + Clone> Sights<S> {
    /// A try to reach this one, begun then.
    pub(super) fn tried(&mut self, of: &S, is_reached: bool, then: Instant) {
        self.0.entry(of.clone()).or_default().note(!is_reached, then);
    }

    /// Forgets the others.
    pub(super) fn keep(&mut self, known: impl Fn(&S) -> bool) {
        self.0.retain(|server, _| known(server));
    }

    /// Those that were not reached for a while.
    pub(super) fn unreached(&self, now: Instant) -> BTreeSet<S> {
        let lasting = self.0.iter().filter(|(_, lasting)| lasting.counts(now));
        lasting.map(|(server, _)| server.clone()).collect()
    }
}

/// How long this server stands back: not where nobody takes the lead.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stance {
    free_since: Option<Instant>,
    pardoned_until: Option<Instant>,
    is_slow: bool,
}

impl Stance {
    /// It was heard now who leads, if anybody does.
    pub(super) fn heard(&mut self, is_free: bool, asked: Instant, now: Instant) {
        self.free_since = is_free.then(|| self.free_since.unwrap_or(asked));
        self.is_slow = asked + LIFETIME / 2 <= now;
    }

    /// Whether answers come so late that a lease would be over before it could be used: whoever has it is better left with it.
    pub(super) const fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Why it stands back now, if it does.
    pub(super) fn now(&mut self, why: Option<Why>, now: Instant) -> Option<Why> {
        if why.is_none() || self.pardoned_until.is_some_and(|until| now < until) {
            self.free_since = None;
            return None;
        }
        if self.free_since.is_some_and(|since| since + NOBODY <= now) {
            (self.free_since, self.pardoned_until) = (None, Some(now + PARDON));
            return None;
        }
        why
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: u8 = 5;

    fn facts(running: &[u8], unreached: &[(u8, u8)]) -> Facts<u8> {
        let (running, unreached) = (running.iter().copied().collect(), unreached.iter().copied().collect());
        Facts { running, unreached, ..Facts::default() }
    }

    fn any_facts() -> impl Strategy<Value = Facts<u8>> {
        let servers = || prop::collection::btree_set(0..MOST, 0..=usize::from(MOST));
        let pairs = prop::collection::btree_set((0..MOST, 0..MOST), 0..20);
        (servers(), pairs, servers(), servers()).prop_map(
            |(running, unreached, broker_lost, broker_found)| Facts {
                running,
                unreached,
                broker_lost,
                broker_found,
            },
        )
    }

    proptest! {
        #[test]
        fn of_those_who_run_one_never_stands_back_and_whoever_does_leaves_the_lead_to_one(facts in any_facts()) {
            let steady = |server: &u8| facts.stands_back(server).is_none();
            let stands = facts.running.iter().any(steady);
            prop_assert!(stands || facts.running.is_empty(), "nobody would lead");
            // So that the lead moves once at most while nothing else changes.
            for server in &facts.running {
                if facts.stands_back(server) == Some(Why::Unreached) {
                    let others = facts.running.iter().filter(|other| steady(other));
                    prop_assert!(others.into_iter().any(|other| !facts.is_unreached(other)));
                }
            }
        }

        #[test]
        fn where_all_are_placed_alike_nobody_stands_back(running in prop::collection::btree_set(0..MOST, 0..5)) {
            let all: BTreeSet<_> =
                running.iter().flat_map(|by| running.iter().map(move |of| (*by, *of))).collect();
            for unreached in [BTreeSet::new(), all] {
                let facts = Facts {
                    unreached, broker_lost: running.clone(), running: running.clone(), ..Facts::default()
                };
                prop_assert!(running.iter().all(|server| facts.stands_back(server).is_none()));
            }
        }
    }

    #[test]
    fn whom_most_others_do_not_reach_stands_back_for_one_that_they_do() {
        let two = facts(&[1, 2], &[(2, 1)]);
        assert_eq!([1, 2].map(|me| two.stands_back(&me)), [Some(Why::Unreached), None]);
        let cut = facts(&[1, 2], &[(2, 1), (1, 2)]);
        assert_eq!([1, 2].map(|me| cut.stands_back(&me)), [None, None], "neither is better placed");
        let one_of_two = facts(&[1, 2, 3], &[(2, 1)]);
        assert_eq!(one_of_two.stands_back(&1), None, "half is not most");
        let gone = facts(&[1, 3], &[(2, 1)]);
        assert_eq!(gone.stands_back(&1), None, "what a server said that does not run counts for nothing");
    }

    #[test]
    fn whoever_lost_the_broker_stands_back_for_one_that_reaches_it() {
        let mut facts = facts(&[1, 2], &[]);
        facts.broker_lost.insert(1);
        assert_eq!(facts.stands_back(&1), None, "nobody is known to do better");
        facts.broker_found.insert(2);
        assert_eq!([1, 2].map(|me| facts.stands_back(&me)), [Some(Why::Broker), None]);
        facts.unreached.insert((1, 2));
        assert_eq!(facts.stands_back(&1), None, "nobody reaches the other");
    }

    #[test]
    fn trouble_counts_when_it_lasts_without_a_break() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sights = Sights::default();
        sights.tried(&"a", false, at(0));
        sights.tried(&"a", false, at(8));
        assert!(sights.unreached(at(9)).is_empty());
        assert_eq!(sights.unreached(at(10)), BTreeSet::from(["a"]));
        sights.tried(&"a", true, at(11));
        sights.tried(&"a", false, at(12));
        assert!(sights.unreached(at(21)).is_empty());
        sights.keep(|_| false);
        assert!(sights.unreached(at(99)).is_empty());
    }

    #[test]
    fn a_lead_that_nobody_takes_is_taken_and_kept_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut stance, why) = (Stance::default(), Some(Why::Broker));
        stance.heard(true, at(0), at(0));
        stance.heard(true, at(29), at(29));
        assert_eq!(stance.now(why, at(29)), why);
        stance.heard(false, at(30), at(30));
        stance.heard(true, at(31), at(31));
        assert_eq!(stance.now(why, at(60)), why, "somebody had it in between");
        assert_eq!(stance.now(why, at(61)), None);
        assert_eq!(stance.now(why, at(360)), None, "not for a moment only");
        assert_eq!(stance.now(why, at(361)), why);
        assert_eq!(stance.now(None, at(361)), None);
    }

    #[test]
    fn whoever_hears_too_late_to_use_a_lease_takes_none() {
        let start = Instant::now();
        let mut stance = Stance::default();
        stance.heard(false, start, start + LIFETIME / 2);
        assert!(stance.is_slow());
        stance.heard(false, start, start + LIFETIME / 4);
        assert!(!stance.is_slow());
    }
}
