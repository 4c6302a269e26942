//! Policies at work: who may open connections to whom, why, what a change of policies changes, and whether the tests hold.
//!
//! Not for what hosts are told of it (`plan`) nor for what may be written (`decide`). `allowed` is the definition; the rest
//! says the same, faster or in more words.

mod compare;
mod explain;
mod prove;
mod reach;
mod rules;

use model::{
    Access, ClientId, EgressId, MemberId, NetworkId, NodeId, Policy, Protocol, Service, Subject, Tag,
};

pub use compare::{Comparison, PairChange, compare};
pub use explain::{Explanation, Verdict, explain};
pub use prove::{Failure, pairs_of_tests, run_tests};
pub use reach::Reach;
pub(crate) use rules::{Rules, Sides, subjects_of};

use crate::Intent;

/// A member of a network, as policies speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// A node that takes part.
    Node(NodeId),
    /// A client that is let in.
    Client(ClientId),
    /// An egress range that is in use.
    Egress(EgressId),
}

impl Member {
    /// The id under which hosts know it: a node is known by its host's. None if it is not there.
    pub fn id(self, intent: &Intent) -> Option<MemberId> {
        match self {
            Self::Node(id) => intent.node(id).map(|node| node.host.into()),
            Self::Client(id) => Some(id.into()),
            Self::Egress(id) => Some(id.into()),
        }
    }

    /// Whether it is a member of this network now.
    pub fn is_in(self, intent: &Intent, network: NetworkId) -> bool {
        match self {
            Self::Node(id) => {
                intent.node(id).is_some_and(|node| node.network == network && node.takes_part())
            }
            Self::Client(id) => {
                intent.client(id).is_some_and(|client| client.network == network && client.is_let_in())
            }
            Self::Egress(id) => {
                intent.egress(id).is_some_and(|egress| egress.network == network && egress.enabled)
            }
        }
    }
}

/// The members of a network: its nodes that take part, by host, then its clients and egress ranges that are enabled.
pub fn members(intent: &Intent, network: NetworkId) -> impl Iterator<Item = Member> {
    let nodes = intent.nodes_in_network(network, None).filter(|node| node.takes_part());
    let clients = intent.clients_in_network(network).filter(|client| client.is_let_in());
    let egresses = intent.egresses_in_network(network).filter(|egress| egress.enabled);
    nodes
        .map(|node| Member::Node(node.id))
        .chain(clients.map(|client| Member::Client(client.id)))
        .chain(egresses.map(|egress| Member::Egress(egress.id)))
}

/// Whether the subject speaks of the member.
pub fn speaks_of(intent: &Intent, subject: &Subject, member: Member) -> bool {
    let tagged = |tag: &Tag| match member {
        Member::Node(id) => intent.node(id).is_some_and(|node| node.tags.contains(tag)),
        Member::Client(id) => intent.client(id).is_some_and(|client| client.tags.contains(tag)),
        Member::Egress(_) => false,
    };
    let owner = || match member {
        Member::Client(id) => intent.client(id).and_then(|client| client.owner),
        Member::Node(_) | Member::Egress(_) => None,
    };
    match subject {
        Subject::Everything => true,
        Subject::Node(id) => member == Member::Node(*id),
        Subject::Client(id) => member == Member::Client(*id),
        Subject::Egress(id) => member == Member::Egress(*id),
        Subject::Tag(tag) => tagged(tag),
        Subject::User(user) => owner() == Some(*user),
        Subject::Group(group) => {
            owner().and_then(|owner| intent.user(owner)).is_some_and(|owner| owner.groups.contains(group))
        }
    }
}

/// Whether the policy, were it enabled, would let one open connections to the other, by its direction alone.
fn leads(intent: &Intent, policy: &Policy, from: Member, to: Member) -> bool {
    let among = |subjects: &std::collections::BTreeSet<Subject>, member| {
        subjects.iter().any(|subject| speaks_of(intent, subject, member))
    };
    (among(&policy.from, from) && among(&policy.to, to))
        || (policy.both && among(&policy.to, from) && among(&policy.from, to))
}

/// Whether one member may open connections to the other by this protocol, to this port. Both must be members.
pub fn allowed(
    intent: &Intent,
    network: NetworkId,
    from: Member,
    to: Member,
    protocol: Protocol,
    port: Option<u16>,
) -> bool {
    if !from.is_in(intent, network) || !to.is_in(intent, network) {
        return false;
    }
    if intent.network(network).is_some_and(|network| network.access == Access::Allow) {
        return true;
    }
    let by = |policy: &Policy| {
        policy.services.is_empty() || policy.services.iter().any(|service| service.permits(protocol, port))
    };
    let mut policies = intent.policies_in_network(network).filter(|policy| policy.enabled);
    policies.any(|policy| by(policy) && leads(intent, policy, from, to))
}

/// Whether a service is of one protocol and at most one port: what can be asked about with one answer.
pub fn is_of_one_port(service: &Service) -> bool {
    match service.ports() {
        [] => true,
        [range] => range.first() == range.last(),
        [_, _, ..] => false,
    }
}

/// Whether a policy, or the network's default, lets one of the two open connections to the other by anything at all.
pub fn may_talk(intent: &Intent, network: NetworkId, one: Member, other: Member) -> bool {
    if !one.is_in(intent, network) || !other.is_in(intent, network) {
        return false;
    }
    if intent.network(network).is_some_and(|network| network.access == Access::Allow) {
        return true;
    }
    let mut policies = intent.policies_in_network(network).filter(|policy| policy.enabled);
    policies.any(|policy| leads(intent, policy, one, other) || leads(intent, policy, other, one))
}
