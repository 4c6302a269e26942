//! Policy tests: sentences that must stay true.

use std::collections::BTreeMap;

use model::{Access, NetworkId, PolicyTest, PolicyTestId, Subject};

use super::rules::Sides;
use super::{Member, Reach, Rules, members, speaks_of, subjects_of};
use crate::Intent;

/// A test that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The test.
    pub test: PolicyTestId,
    /// Two for whom it does not hold: who opens the connection, and to whom.
    pub example: (Member, Member),
}

/// The tests of a network that do not hold, by id, each with two for whom it does not.
///
/// `expect: Allow` holds if everybody in the first may open connections to everybody in the second by all of the service,
/// `expect: Deny` if nobody may by any of it. Between members that are not there now everything holds.
pub fn run_tests(intent: &Intent, network: NetworkId) -> Vec<Failure> {
    let Some(access) = intent.network(network).map(|network| network.access) else {
        return Vec::new();
    };
    let mut tests = intent.policy_tests_in_network(network).peekable();
    if tests.peek().is_none() {
        return Vec::new();
    }
    let default = Reach::by_default(access);
    let rules = Rules::of(intent, network);
    let alike: Vec<(Member, Sides)> =
        members(intent, network).map(|member| (member, rules.sides(&subjects_of(intent, member)))).collect();
    let failed = |test: &PolicyTest| {
        let (from, to) = (side(intent, &alike, &test.from), side(intent, &alike, &test.to));
        let wanted = Reach::of(&test.service);
        let holds = |from: &Sides, to: &Sides| {
            let mut reach = default.clone();
            if !reach.is_everything() {
                reach = rules.reach(from, to);
            }
            match test.expect {
                Access::Allow => reach.covers(&wanted),
                Access::Deny => !reach.touches(&wanted),
            }
        };
        let mut pairs = from.iter().flat_map(|one| to.iter().map(move |other| (one, other)));
        let example =
            pairs.find_map(|((from, froms), (to, tos))| pair(froms, tos).filter(|_| !holds(from, to)));
        example.map(|example| Failure { test: test.id, example })
    };
    tests.filter_map(failed).collect()
}

/// Two different ones of these.
fn pair(froms: &[Member], tos: &[Member]) -> Option<(Member, Member)> {
    let from = froms.first()?;
    let other = |from: &Member| tos.iter().find(|to| *to != from).map(|to| (*from, *to));
    other(from).or_else(|| froms.iter().find_map(other))
}

/// Those of whom the subject speaks: those alike together, with at most two of them.
fn side<'a>(
    intent: &Intent,
    members: &'a [(Member, Sides)],
    subject: &Subject,
) -> BTreeMap<&'a Sides, Vec<Member>> {
    let mut side: BTreeMap<&Sides, Vec<Member>> = BTreeMap::new();
    for (member, sides) in members.iter().filter(|(member, _)| speaks_of(intent, subject, *member)) {
        let alike = side.entry(sides).or_default();
        if alike.len() < 2 {
            alike.push(*member);
        }
    }
    side
}
