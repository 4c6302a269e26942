//! Sections: the members of a network whom policies and carriers treat alike.
//!
//! It keeps true that of two members of one section whoever is told of one is told of the other, in the same form, and that
//! two nodes of one section are told of the same others.

use std::sync::Arc;

use model::{Access, HostId, NetworkId, Subject};
use wire::Class;

use super::Picture;
use super::member::{carriers, has_duties};
use super::own::{Offer, offers};
use crate::Intent;
use crate::policy::{Member, Rules, subjects_of};

/// How a member is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// With its key and endpoints: there is a session with it.
    Full = 0,
    /// Without: it is reached through others.
    Bare = 1,
}

impl Form {
    /// By number.
    pub(super) const BOTH: [Self; 2] = [Self::Full, Self::Bare];
}

/// What decides in a network about who is told of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guard {
    pub(super) access: Access,
    /// The enabled policies; none where everything passes anyway.
    pub(super) rules: Rules,
    /// What each of the rules offers. What is as it was before is shared with it.
    pub(super) offers: Vec<Arc<Offer>>,
}

impl Guard {
    /// Of a network, where this was known of it: the same, if nothing changed.
    pub(super) fn of(intent: &Intent, network: NetworkId, known: Option<&Arc<Self>>) -> Arc<Self> {
        let access = intent.network(network).map_or(Access::Deny, |network| network.access);
        let (rules, offers) = match access {
            Access::Allow => (Rules::default(), Vec::new()),
            Access::Deny => (Rules::of(intent, network), offers(intent, network)),
        };
        let before = known.map(|known| known.offers.as_slice()).unwrap_or_default();
        let guard = Self { access, rules, offers: shared(before, offers) };
        let same = known.filter(|known| ***known == guard);
        same.cloned().unwrap_or_else(|| Arc::new(guard))
    }
}

/// These, those in place of them that are the same; both are ordered by source.
fn shared(before: &[Arc<Offer>], offers: Vec<Offer>) -> Vec<Arc<Offer>> {
    let mut before = before.iter().peekable();
    let share = |offer: Offer| {
        while before.next_if(|other| other.source < offer.source).is_some() {}
        let same = before.next_if(|other| ***other == offer);
        same.map_or_else(|| Arc::new(offer), Arc::clone)
    };
    offers.into_iter().map(share).collect()
}

/// A section's number: a hash of its signature, so that it does not depend on what was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SectionId(Class);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    Client,
    Egress,
}

/// All that tells members apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) kind: Kind,
    /// What policies name it by, but for `Everything`.
    pub(super) subjects: Vec<Subject>,
    /// A node that does something for others is alone in its section.
    pub(super) duties: Option<HostId>,
    /// Who carries it, by id.
    pub(super) via: Vec<HostId>,
    /// The internet gateway that it uses, where that is not its partner anyway.
    pub(super) uses: Option<HostId>,
}

impl Signature {
    /// Of a member that is there.
    pub(super) fn of(picture: &Picture<'_>, guard: &Guard, member: Member) -> Self {
        let intent = picture.intent;
        let subjects = named(intent, guard, member);
        let mut via: Vec<HostId> = carriers(intent, member).map(|node| node.host).collect();
        via.sort_unstable();
        via.dedup();
        let (mut duties, mut uses) = (None, None);
        let kind = match member {
            Member::Node(id) => {
                let node = intent.node(id);
                duties = node.filter(|node| has_duties(intent, node)).map(|node| node.host);
                if guard.access == Access::Deny {
                    let gateway = node.and_then(|node| intent.node(node.internet?.gateway?));
                    uses = gateway.map(|gateway| gateway.host);
                }
                Kind::Node
            }
            Member::Client(_) => Kind::Client,
            Member::Egress(_) => Kind::Egress,
        };
        Self { kind, subjects, duties, via, uses }
    }

    /// The same member's, of which nothing changed but what policies name it by.
    pub(super) fn renamed(&self, intent: &Intent, guard: &Guard, member: Member) -> Self {
        Self { subjects: named(intent, guard, member), via: self.via.clone(), ..*self }
    }

    pub(super) fn id(&self, network: NetworkId) -> SectionId {
        let mut text = vec![self.kind as u8];
        let mut put = |what: u8, bytes: &[u8]| {
            text.push(what);
            text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            text.extend_from_slice(bytes);
        };
        for subject in &self.subjects {
            match subject {
                Subject::Everything => put(0, &[]),
                Subject::Node(id) => put(1, id.as_bytes()),
                Subject::Client(id) => put(2, id.as_bytes()),
                Subject::Egress(id) => put(3, id.as_bytes()),
                Subject::Tag(tag) => put(4, tag.as_str().as_bytes()),
                Subject::User(id) => put(5, id.as_bytes()),
                Subject::Group(group) => put(6, group.as_str().as_bytes()),
            }
        }
        self.duties.iter().for_each(|host| put(7, host.as_bytes()));
        self.via.iter().for_each(|host| put(8, host.as_bytes()));
        self.uses.iter().for_each(|host| put(9, host.as_bytes()));
        SectionId(Class::new(network, "section", &text))
    }
}

/// What policies name the member by.
fn named(intent: &Intent, guard: &Guard, member: Member) -> Vec<Subject> {
    if guard.access == Access::Allow {
        return Vec::new();
    }
    let mut subjects = subjects_of(intent, member);
    subjects.retain(|subject| guard.rules.names(subject));
    subjects.sort_unstable();
    subjects
}

/// Where a host is: its section in each network in which it takes part, by network.
pub(super) type Place = Arc<[(NetworkId, SectionId)]>;
