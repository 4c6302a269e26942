//! The enabled policies of a network, found by whom they speak of: for working on many members at once.
//!
//! It keeps true that members of whom the same named subjects speak are treated alike.

use std::collections::BTreeMap;

use model::{NetworkId, Policy, Subject};

use super::{Member, Reach};
use crate::Intent;

/// The subjects that speak of the member, but for `Everything`.
pub(crate) fn subjects_of(intent: &Intent, member: Member) -> Vec<Subject> {
    match member {
        Member::Node(id) => {
            let tags = intent.node(id).map(|node| &node.tags).into_iter().flatten();
            std::iter::once(Subject::Node(id)).chain(tags.cloned().map(Subject::Tag)).collect()
        }
        Member::Client(id) => {
            let client = intent.client(id);
            let tags = client.map(|client| &client.tags).into_iter().flatten();
            let owner = client.and_then(|client| client.owner).and_then(|owner| intent.user(owner));
            let groups = owner.map(|owner| &owner.groups).into_iter().flatten();
            std::iter::once(Subject::Client(id))
                .chain(tags.cloned().map(Subject::Tag))
                .chain(owner.map(|owner| Subject::User(owner.id)))
                .chain(groups.cloned().map(Subject::Group))
                .collect()
        }
        Member::Egress(id) => vec![Subject::Egress(id)],
    }
}

/// The rules on one side of which something is, by number, ascending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Sides {
    pub(crate) from: Vec<u32>,
    pub(crate) to: Vec<u32>,
}

impl Sides {
    fn add(&mut self, other: &Self) {
        self.from.extend_from_slice(&other.from);
        self.to.extend_from_slice(&other.to);
    }

    fn ordered(mut self) -> Self {
        for side in [&mut self.from, &mut self.to] {
            side.sort_unstable();
            side.dedup();
        }
        self
    }
}

/// The enabled policies of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    /// What each lets through: first the one direction of a policy, then, if it has it, the other.
    rules: Vec<Reach>,
    by_subject: BTreeMap<Subject, Sides>,
}

impl Rules {
    /// Of a network's enabled policies.
    pub(crate) fn of(intent: &Intent, network: NetworkId) -> Self {
        Self::of_policies(intent.policies_in_network(network).filter(|policy| policy.enabled))
    }

    /// Of these policies.
    pub(crate) fn of_policies<'a>(policies: impl Iterator<Item = &'a Policy>) -> Self {
        let mut rules = Self::default();
        for policy in policies {
            let Policy { from, to, services, both, .. } = policy;
            let reach = Reach::of_policy(services);
            rules.add(&reach, from, to);
            if *both {
                rules.add(&reach, to, from);
            }
        }
        rules
    }

    fn add<'a>(
        &mut self,
        reach: &Reach,
        from: impl IntoIterator<Item = &'a Subject>,
        to: impl IntoIterator<Item = &'a Subject>,
    ) {
        let number = u32::try_from(self.rules.len()).expect("there are far fewer than 2^32 policies");
        self.rules.push(reach.clone());
        for subject in from {
            self.sides_mut(subject).from.push(number);
        }
        for subject in to {
            self.sides_mut(subject).to.push(number);
        }
    }

    fn sides_mut(&mut self, subject: &Subject) -> &mut Sides {
        if !self.by_subject.contains_key(subject) {
            self.by_subject.insert(subject.clone(), Sides::default());
        }
        self.by_subject.get_mut(subject).expect("it was put in just now")
    }

    /// What each lets through.
    pub(super) fn reaches(&self) -> &[Reach] {
        &self.rules
    }

    /// The subjects that they name, each with the rules on whose sides it is.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (&Subject, &Sides)> {
        self.by_subject.iter()
    }

    /// How many there are, each direction counting.
    pub(crate) const fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether some policy names the subject.
    pub(crate) fn names(&self, subject: &Subject) -> bool {
        self.by_subject.contains_key(subject)
    }

    /// The subjects that only the ones or only the others name, but for `Everything`.
    pub(crate) fn named_differently(&self, others: &Self) -> Vec<Subject> {
        let only = |these: &Self, those: &Self| {
            let named = these.by_subject.keys().filter(|subject| !those.names(subject));
            named.cloned().collect::<Vec<_>>()
        };
        let mut named = only(self, others);
        named.extend(only(others, self));
        named.retain(|subject| *subject != Subject::Everything);
        named
    }

    /// The rules on one side of which members are of whom these subjects speak, and `Everything`.
    pub(crate) fn sides<'a>(&self, subjects: impl IntoIterator<Item = &'a Subject>) -> Sides {
        let mut sides = self.by_subject.get(&Subject::Everything).cloned().unwrap_or_default();
        for subject in subjects {
            self.by_subject.get(subject).into_iter().for_each(|more| sides.add(more));
        }
        sides.ordered()
    }

    /// By what those on the first side of the ones may open connections to those on the second side of the others.
    pub(crate) fn reach(&self, from: &Sides, to: &Sides) -> Reach {
        let mut reach = Reach::nothing();
        for rule in common(&from.from, &to.to) {
            reach.add(&self.rules[rule as usize]);
            if reach.is_everything() {
                break;
            }
        }
        reach
    }

    /// Whether some rule leads from the ones to the others.
    pub(crate) fn meet(&self, from: &Sides, to: &Sides) -> bool {
        common(&from.from, &to.to).next().is_some()
    }
}

/// What is in both; both are ascending.
fn common<'a>(ones: &'a [u32], others: &'a [u32]) -> impl Iterator<Item = u32> + use<'a> {
    let mut others = others.iter().peekable();
    ones.iter().copied().filter(move |one| {
        while others.next_if(|other| *other < one).is_some() {}
        others.peek() == Some(&one)
    })
}
