//! Who leads, decided from what the database answered: pure, with the time as an argument.
//!
//! Not for asking (that is `task`). One lease says who leads. Tries are made every second and may overtake each other, be
//! lost, or be answered late; each says when it was asked.
//!
//! ```text
//!            granted, and still ours when heard
//!   FOLLOWS ─────────────────────────────────────▶ LEADS (term n)
//!      ▲                                             │  │ granted in time: the same term goes on
//!      │    refused: somebody else holds the lease   │  │ granted after a gap: the next term begins
//!      └─────────────────────────────────────────────┘  │ no answer: goes on, the database may be away
//!                                                       ▼
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
            Self::Leads { term, until } => *term == of && until.is_none_or(|until| now < until),
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
}

impl<L: Clone + PartialEq> Keeper<L> {
    pub(super) const fn new() -> Self {
        Self { claim: Claim::Follows { leader: None }, terms: 0, newest: None }
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

    /// This server will not lead any more.
    pub(super) fn resign(&mut self) {
        self.claim = Claim::Follows { leader: None };
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
        keeper.answered(at(11), granted(11), at(13));
        assert_eq!(*keeper.claim(), Claim::Leads { term: 2, until: Some(at(15)) }, "somebody might have led");
        keeper.answered(at(14), refused(), at(14));
        keeper.answered(at(13), granted(13), at(14));
        assert_eq!(*keeper.claim(), Claim::Follows { leader: Some("other") });
    }
}
