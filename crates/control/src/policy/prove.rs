//! Policy tests: sentences that must stay true.
//!
//! All tests of a network are run together, by sets of members: what a test costs follows from the rules, not from the pairs
//! that it speaks of.

use std::collections::{BTreeMap, BTreeSet};

use model::{Access, NetworkId, PolicyTest, PolicyTestId, Protocol, Subject};

use super::reach::{ALL_PORTS, Part};
use super::{Member, Reach, Rules, members, subjects_of};
use crate::Intent;
use crate::bits::Bits;

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
    let mut tests = intent.policy_tests_in_network(network).peekable();
    if tests.peek().is_none() || intent.network(network).is_none() {
        return Vec::new();
    }
    let ground = Ground::of(intent, network);
    let failed = |test: &PolicyTest| {
        let (from, to) = ground.fails(test)?;
        Some(Failure { test: test.id, example: (ground.members[from], ground.members[to]) })
    };
    tests.filter_map(failed).collect()
}

/// Of how many pairs of members each test of a network speaks now: of none, it holds and says nothing.
pub fn pairs_of_tests(intent: &Intent, network: NetworkId) -> BTreeMap<PolicyTestId, u64> {
    let members: Vec<Member> = members(intent, network).collect();
    let spoken_of = spoken_of(intent, &members);
    let pairs = |test: &PolicyTest| {
        let (Some(from), Some(to)) = (spoken_of.get(&test.from), spoken_of.get(&test.to)) else {
            return 0;
        };
        // Nobody has anything to do with itself.
        let itself = from.and(to).iter().count();
        (from.iter().count() * to.iter().count() - itself) as u64
    };
    intent.policy_tests_in_network(network).map(|test| (test.id, pairs(test))).collect()
}

/// Of whom which subject speaks, by number; nobody, where it is not in it.
fn spoken_of(intent: &Intent, members: &[Member]) -> BTreeMap<Subject, Bits> {
    let count = members.len();
    let mut spoken_of = BTreeMap::from([(Subject::Everything, Bits::all(count))]);
    for (at, member) in members.iter().enumerate() {
        for subject in subjects_of(intent, *member) {
            spoken_of.entry(subject).or_insert_with(|| Bits::none(count)).insert(at);
        }
    }
    spoken_of
}

/// What all tests of a network stand on. Members are numbered.
struct Ground {
    members: Vec<Member>,
    /// Of whom which subject speaks.
    spoken_of: BTreeMap<Subject, Bits>,
    rules: Vec<Lane>,
}

/// A rule: from whom, to whom, by what.
struct Lane {
    from: Bits,
    to: Bits,
    reach: Reach,
}

/// Two numbers of members.
type Pair = (usize, usize);

impl Ground {
    fn of(intent: &Intent, network: NetworkId) -> Self {
        let members: Vec<Member> = members(intent, network).collect();
        let count = members.len();
        let spoken_of = spoken_of(intent, &members);
        let open = intent.network(network).is_some_and(|network| network.access == Access::Allow);
        let rules = match open {
            true => vec![Lane { from: Bits::all(count), to: Bits::all(count), reach: Reach::everything() }],
            false => lanes(&Rules::of(intent, network), &spoken_of, count),
        };
        Self { members, spoken_of, rules }
    }

    /// Two for whom the test does not hold.
    fn fails(&self, test: &PolicyTest) -> Option<Pair> {
        let (from, to) = (self.spoken_of.get(&test.from)?, self.spoken_of.get(&test.to)?);
        let protocol = test.service.protocol();
        let ports = test.service.ports().iter().map(|range| (range.first(), range.last()));
        let all = test.service.ports().is_empty().then_some(ALL_PORTS);
        all.into_iter().chain(ports).find_map(|ports| match test.expect {
            Access::Deny => self.reaches(from, to, protocol, ports),
            Access::Allow => self.lacks(from, to, protocol, ports),
        })
    }

    /// One of the ones and one of the others whom a rule lets through by some of this.
    fn reaches(&self, from: &Bits, to: &Bits, protocol: Protocol, ports: (u16, u16)) -> Option<Pair> {
        let by = |lane: &&Lane| lane.reach.over(protocol, ports) != Part::Nothing;
        let pair = |lane: &Lane| pair(&from.and(&lane.from), &to.and(&lane.to));
        let meets = |lane: &&Lane| from.meets(&lane.from) && to.meets(&lane.to);
        self.rules.iter().filter(by).filter(meets).find_map(pair)
    }

    /// One of the ones and one of the others whom no rules let through by all of this together.
    fn lacks(&self, from: &Bits, to: &Bits, protocol: Protocol, ports: (u16, u16)) -> Option<Pair> {
        let concerned: Vec<(&Lane, Part)> = self
            .rules
            .iter()
            .map(|lane| (lane, lane.reach.over(protocol, ports)))
            .filter(|(lane, part)| *part != Part::Nothing && from.meets(&lane.from) && to.meets(&lane.to))
            .collect();
        let whole = concerned.iter().filter(|(_, part)| *part == Part::All);
        let missing = lacking(from, to, whole.map(|(lane, _)| *lane))?;
        let some: Vec<&Lane> = concerned.iter().map(|(lane, _)| *lane).collect();
        if concerned.iter().all(|(_, part)| *part == Part::All) {
            return Some(missing);
        }
        // What several rules let through in pieces: between two places where a rule begins or ends all ports are alike.
        let mut left = Reach::nothing();
        let for_all = some.iter().filter(|lane| lane.from.covers(from) && lane.to.covers(to));
        for_all.for_each(|lane| left.add(&lane.reach));
        let begins = some
            .iter()
            .flat_map(|lane| lane.reach.ranges(protocol))
            .flat_map(|range| [Some(range.first()), range.last().checked_add(1)].into_iter().flatten());
        let pieces: BTreeSet<u16> = begins.filter(|port| ports.0 < *port && *port <= ports.1).collect();
        let one = |port: u16| (port, port);
        let pieces = std::iter::once(ports.0).chain(pieces).map(one);
        pieces.filter(|port| left.over(protocol, *port) != Part::All).find_map(|port| {
            let by = some.iter().filter(|lane| lane.reach.over(protocol, port) == Part::All);
            lacking(from, to, by.copied())
        })
    }
}

fn lanes(rules: &Rules, spoken_of: &BTreeMap<Subject, Bits>, count: usize) -> Vec<Lane> {
    let lane = |reach: &Reach| Lane { from: Bits::none(count), to: Bits::none(count), reach: reach.clone() };
    let mut lanes: Vec<Lane> = rules.reaches().iter().map(lane).collect();
    for (subject, sides) in rules.subjects() {
        let Some(those) = spoken_of.get(subject) else { continue };
        sides.from.iter().for_each(|rule| lanes[*rule as usize].from.add(those));
        sides.to.iter().for_each(|rule| lanes[*rule as usize].to.add(those));
    }
    lanes
}

/// One of the ones and another of the others, whom none of these leads from one to the other.
fn lacking<'a>(from: &Bits, to: &Bits, lanes: impl Iterator<Item = &'a Lane>) -> Option<Pair> {
    let mut reached: BTreeMap<usize, Bits> = from.iter().map(|one| (one, Bits::none_of(to))).collect();
    for lane in lanes {
        if lane.from.covers(from) && lane.to.covers(to) {
            return None;
        }
        for one in from.and(&lane.from).iter() {
            reached.entry(one).and_modify(|others| others.add(&lane.to));
        }
    }
    reached.iter().find_map(|(one, others)| {
        let missing = to.but(others);
        let other = missing.iter().find(|other| other != one)?;
        Some((*one, other))
    })
}

/// One of the ones and another of the others.
fn pair(from: &Bits, to: &Bits) -> Option<Pair> {
    from.iter().take(2).find_map(|one| Some((one, to.iter().find(|other| *other != one)?)))
}
