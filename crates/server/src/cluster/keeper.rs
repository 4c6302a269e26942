//! Who leads, decided from what the database answered: pure, with the time as an argument.
//!
//! Not for asking (that is `task`). One lease says who leads. Tries are made every second and may overtake each other, be
//! lost, or be answered late; each says when it was asked.
//!
//! ```text
//!            granted, and still ours when heard
//!   FOLLOWS ─────────────────────────────────────▶ LEADS (term n)
//!      ▲                                             │  │ granted in time: the same term goes on
//!      │    refused: somebody else holds the lease,  │  │ granted after a gap: the next term begins
//!      │    another server leads in a later epoch,   │  │ no answer: goes on, the database may be away
//!      │    or this one leaves the lead to others    │  ▼
//!      └─────────────────────────────────────────────┘
//! ```
//!
//! What it keeps true: a term begins only while the lease is certainly held, and it is certain that nobody else held it at
//! any time between the term's first grant and `until`. Whoever takes an epoch within that time has a greater one than all
//! who led before, and a smaller one than all who lead later. That, not the clock, keeps two who both believe to lead apart.

use std::time::{Duration, Instant};

/// How long the lease lasts that was granted last.
pub(super) const LIFETIME: Duration = Duration::from_secs(4);
/// How often it is asked for.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// After so long without an answer nobody knows whether the leader still is it.
pub(super) const AGED: Duration = Duration::from_secs(10);

/// What the database answered to one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer<L> {
    /// The lease is ours, until then for certain.
    Granted { until: Instant },
    /// Somebody else has it: whoever this is.
    Refused { leader: Option<L> },
}

/// What this server may do, as far as it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<L> {
    /// It holds the lease, or has heard of nobody else who does.
    Leads {
        /// Each has its own epoch: a new one begins whenever somebody else might have led in between.
        term: u64,
        /// Until then nobody else can have led in this term; none: never, there is one server only.
        until: Option<Instant>,
    },
    /// Somebody else may lead.
    Follows {
        /// Who, if that is known.
        leader: Option<L>,
    },
}

impl<L> Claim<L> {
    /// Whether nobody else can have led since this term began: what was taken from the database by now is ours to use.
    pub fn is_certain(&self, of: u64, now: Instant) -> bool {
        match self {
            Self::Leads { term, .. } => *term == of && self.holds(now),
            Self::Follows { .. } => false,
        }
    }

    /// Whether nobody else can lead now.
    pub fn holds(&self, now: Instant) -> bool {
        match self {
            Self::Leads { until, .. } => until.is_none_or(|until| now < until),
            Self::Follows { .. } => false,
        }
    }
}

/// Decides who leads.
#[derive(Debug, Clone)]
pub(super) struct Keeper<L> {
    claim: Claim<L>,
    terms: u64,
    /// When the newest try was asked that was answered.
    newest: Option<Instant>,
    /// The greatest epoch in which another server said that it leads.
    heard: u64,
}

impl<L: Clone + PartialEq> Keeper<L> {
    pub(super) const fn new() -> Self {
        Self { claim: Claim::Follows { leader: None }, terms: 0, newest: None, heard: 0 }
    }

    pub(super) const fn claim(&self) -> &Claim<L> {
        &self.claim
    }

    /// A try was answered. One that was not is nothing at all.
    pub(super) fn answered(&mut self, asked: Instant, answer: Answer<L>, now: Instant) {
        if self.newest.is_some_and(|newest| asked < newest) {
            // What was asked later is known already.
            return;
        }
        self.newest = Some(asked);
        self.claim = match (&self.claim, answer) {
            (_, Answer::Refused { leader }) => Claim::Follows { leader },
            // Heard too late to be of use. Who leads goes on, as without an answer.
            (claim, Answer::Granted { until }) if until <= now => claim.clone(),
            (Claim::Leads { term, until: Some(before) }, Answer::Granted { until }) if now <= *before => {
                Claim::Leads { term: *term, until: Some(until) }
            }
            (Claim::Leads { .. } | Claim::Follows { .. }, Answer::Granted { until }) => {
                self.terms += 1;
                Claim::Leads { term: self.terms, until: Some(until) }
            }
        };
    }

    /// Another server said that it leads in this epoch, `own` being the one in which this server does. Where that is greater than
    /// any known before, it is as if a question had been refused that was asked now; a copy, or an older word, changes nothing.
    pub(super) fn told(&mut self, epoch: u64, own: Option<u64>, leader: L, now: Instant) {
        if epoch > self.heard.max(own.unwrap_or_default()) {
            self.heard = epoch;
            self.answered(now, Answer::Refused { leader: Some(leader) }, now);
        }
    }

    /// Time has passed. Who leads goes on without answers; who follows does not know for ever whom.
    pub(super) fn passed(&mut self, now: Instant) {
        let is_old = self.newest.is_none_or(|newest| newest + AGED < now);
        match &self.claim {
            Claim::Follows { leader: Some(_) } if is_old => self.claim = Claim::Follows { leader: None },
            Claim::Follows { .. } | Claim::Leads { .. } => {}
        }
    }

    /// This server leads no more: what it asked until now leads to nothing.
    pub(super) fn resign(&mut self, now: Instant) {
        self.answered(now, Answer::Refused { leader: None }, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_in_the_order_of_their_questions_and_grants_only_while_they_last() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let granted = |asked: u64| Answer::Granted { until: at(asked) + LIFETIME };
        let refused = || Answer::Refused { leader: Some("other") };
        let mut keeper = Keeper::new();
        keeper.answered(at(0), granted(0), at(4));
        assert_eq!(*keeper.claim(), Claim::Follows { leader: None }, "it came when the lease had ended");
        keeper.answered(at(5), granted(5), at(6));
        keeper.answered(at(4), refused(), at(7));
        let first = Claim::Leads { term: 1, until: Some(at(9)) };
        assert_eq!(*keeper.claim(), first, "an older question was refused");
        assert!(keeper.claim().is_certain(1, at(8)) && !keeper.claim().is_certain(1, at(9)));
        keeper.answered(at(8), granted(8), at(9));
        assert_eq!(*keeper.claim(), Claim::Leads { term: 1, until: Some(at(12)) }, "the same term goes on");
        assert!(
            keeper.claim().holds(at(11))
                && !keeper.claim().holds(at(12))
                && !keeper.claim().is_certain(2, at(11))
        );
        keeper.answered(at(11), granted(11), at(13));
        assert_eq!(*keeper.claim(), Claim::Leads { term: 2, until: Some(at(15)) }, "somebody might have led");
        keeper.answered(at(14), refused(), at(14));
        keeper.answered(at(13), granted(13), at(14));
        assert_eq!(*keeper.claim(), Claim::Follows { leader: Some("other") });
    }

    #[test]
    fn whoever_hears_of_a_later_epoch_follows_and_copies_and_older_words_change_nothing() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let granted = |asked: u64| Answer::Granted { until: at(asked) + LIFETIME };
        let follows = |leader| Claim::Follows { leader: Some(leader) };
        let mut keeper = Keeper::new();
        keeper.answered(at(0), granted(0), at(0));
        let leads = keeper.claim().clone();
        for epoch in [1, 4, 5] {
            keeper.told(epoch, Some(5), "former", at(1));
            assert_eq!(*keeper.claim(), leads, "{epoch}");
        }
        keeper.told(6, Some(5), "later", at(2));
        assert_eq!(*keeper.claim(), follows("later"));
        keeper.answered(at(1), granted(1), at(2));
        assert_eq!(*keeper.claim(), follows("later"), "it was asked before");
        keeper.told(5, None, "former", at(3));
        assert_eq!(*keeper.claim(), follows("later"));

        keeper.answered(at(4), granted(4), at(4));
        let leads = keeper.claim().clone();
        assert_eq!(leads, Claim::Leads { term: 2, until: Some(at(8)) });
        keeper.told(6, None, "later", at(5));
        keeper.told(6, Some(7), "later", at(5));
        assert_eq!(*keeper.claim(), leads, "a copy of what was heard, whether or not it has its epoch yet");
    }

    #[test]
    fn who_follows_forgets_whom_when_nobody_answers_and_who_leads_goes_on() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut keeper = Keeper::new();
        keeper.answered(at(0), Answer::Refused { leader: Some("other") }, at(1));
        keeper.passed(at(10));
        assert_eq!(*keeper.claim(), Claim::Follows { leader: Some("other") });
        keeper.passed(at(11));
        assert_eq!(*keeper.claim(), Claim::Follows { leader: None });
        keeper.answered(at(12), Answer::Granted { until: at(16) }, at(12));
        let leads = keeper.claim().clone();
        keeper.passed(at(99));
        assert_eq!(*keeper.claim(), leads);
        keeper.resign(at(100));
        assert_eq!(*keeper.claim(), Claim::Follows { leader: None });
        keeper.answered(at(99), Answer::Granted { until: at(103) }, at(101));
        assert_eq!(*keeper.claim(), Claim::Follows { leader: None }, "it was asked before");
    }
}
