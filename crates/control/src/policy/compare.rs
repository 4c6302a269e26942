//! What a change of policies, or of whom they speak, changes between members: for looking before leaping.
//!
//! Members of whom the same named subjects speak before and after are looked at together; named are at most so many pairs,
//! counted are all.

use std::collections::{BTreeMap, BTreeSet};

use model::{Access, NetworkId, Policy};

use super::rules::Sides;
use super::{Member, Reach, Rules, members, subjects_of};
use crate::Intent;

/// What changes from one member to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairChange {
    /// Who opens connections …
    pub from: Member,
    /// … to whom.
    pub to: Member,
    /// By what it could before.
    pub before: Reach,
    /// By what it can after.
    pub after: Reach,
}

impl PairChange {
    /// What is won. What is won of everything is called everything: `before` says what was there already.
    pub fn gained(&self) -> Reach {
        self.after.but(&self.before)
    }

    /// What is lost. What is lost of everything is called everything: `after` says what is left.
    pub fn lost(&self) -> Reach {
        self.before.but(&self.after)
    }
}

/// What changes between all members of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Pairs between which something changes, at most as many as were asked for.
    pub pairs: Vec<PairChange>,
    /// How many pairs gain something.
    pub gaining: u64,
    /// How many pairs lose something. One that does both counts in both.
    pub losing: u64,
    /// How many pairs change.
    pub changing: u64,
}

/// One end of a change.
struct End {
    access: Option<Access>,
    rules: Rules,
}

impl End {
    fn of(intent: &Intent, network: NetworkId) -> Self {
        Self {
            access: intent.network(network).map(|network| network.access),
            rules: Rules::of(intent, network),
        }
    }

    fn reach(&self, from: Option<&Sides>, to: Option<&Sides>) -> Reach {
        match (self.access, from, to) {
            (Some(Access::Allow), Some(_), Some(_)) => Reach::everything(),
            (Some(Access::Deny), Some(from), Some(to)) => self.rules.reach(from, to),
            (None, _, _) | (_, None, _) | (_, _, None) => Reach::nothing(),
        }
    }
}

/// How some members are treated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    /// Before; none where they are no members.
    old: Option<Sides>,
    /// After, likewise.
    new: Option<Sides>,
    /// On which sides of the policies that change.
    changing: Sides,
    /// Whether it is they who change.
    moved: bool,
}

/// What changes from one intent to another between the members of a network, with at most so many pairs by name.
pub fn compare(before: &Intent, after: &Intent, network: NetworkId, most: usize) -> Comparison {
    let ends = (End::of(before, network), End::of(after, network));
    let changing = changing(before, after, network);
    let groups = groups((before, after), network, &ends, &changing);
    let all = ends.0.access != ends.1.access;
    let mut comparison = Comparison::default();
    for (from, froms) in &groups {
        for (to, tos) in &groups {
            let looked_at = all || from.moved || to.moved || changing.meet(&from.changing, &to.changing);
            if !looked_at {
                continue;
            }
            let old = ends.0.reach(from.old.as_ref(), to.old.as_ref());
            let new = ends.1.reach(from.new.as_ref(), to.new.as_ref());
            if old != new {
                comparison.add((froms, tos), &old, &new, most);
            }
        }
    }
    comparison
}

/// The policies that are not at both ends as they are at the other.
fn changing(before: &Intent, after: &Intent, network: NetworkId) -> Rules {
    let differs = |one: &Intent, other: &Intent| {
        let policies = one.policies_in_network(network).filter(|policy| policy.enabled);
        let policies = policies.filter(|policy| other.policy(policy.id) != Some(*policy));
        policies.cloned().collect::<Vec<Policy>>()
    };
    let policies = [differs(before, after), differs(after, before)].concat();
    Rules::of_policies(policies.iter())
}

/// The members of both ends, those alike together.
fn groups(
    (before, after): (&Intent, &Intent),
    network: NetworkId,
    ends: &(End, End),
    changing: &Rules,
) -> BTreeMap<Alike, Vec<Member>> {
    let everybody: BTreeSet<Member> = members(before, network).chain(members(after, network)).collect();
    let mut groups: BTreeMap<Alike, Vec<Member>> = BTreeMap::new();
    for member in everybody {
        let at = |intent: &Intent| member.is_in(intent, network).then(|| subjects_of(intent, member));
        let (old, new) = (at(before), at(after));
        let changing = changing.sides(old.iter().chain(&new).flatten());
        let moved = old != new;
        let old = old.map(|subjects| ends.0.rules.sides(&subjects));
        let new = new.map(|subjects| ends.1.rules.sides(&subjects));
        groups.entry(Alike { old, new, changing, moved }).or_default().push(member);
    }
    groups
}

impl Comparison {
    fn add(&mut self, (froms, tos): (&[Member], &[Member]), old: &Reach, new: &Reach, most: usize) {
        // One who is in both has nothing to do with itself. Those alike are the same group, or none is in both.
        let itself = if froms == tos { froms.len() } else { 0 };
        let count = (froms.len() * tos.len() - itself) as u64;
        self.changing += count;
        self.gaining += if new.but(old).is_nothing() { 0 } else { count };
        self.losing += if old.but(new).is_nothing() { 0 } else { count };
        let pairs = froms.iter().flat_map(|from| tos.iter().map(|to| (*from, *to)));
        let room = most.saturating_sub(self.pairs.len());
        let change = |(from, to)| PairChange { from, to, before: old.clone(), after: new.clone() };
        self.pairs.extend(pairs.filter(|(from, to)| from != to).take(room).map(change));
    }
}
