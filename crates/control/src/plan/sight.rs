//! Who is told of whom: the definition, in plain words, for one node at a time. `layout` says the same of all at once.
//!
//! It keeps true that a node is told of those whom it, or whom it carries, may talk to, and of those who lead there; of nobody
//! else; and that of two nodes either both are told of a session between them or neither.

use std::collections::BTreeSet;

use model::{Node, NodeId};

use super::member::{carried, carriers, is_there};
use crate::Intent;
use crate::policy::{Member, may_talk, members};

/// Whether packets between the two are wanted at all: a policy lets one of them open connections to the other, or one is the
/// other's way to everything.
fn are_partners(intent: &Intent, node: &Node, one: Member, other: Member) -> bool {
    may_talk(intent, node.network, one, other)
        || uses(intent, one).any(|gateway| other == Member::Node(gateway))
        || uses(intent, other).any(|gateway| one == Member::Node(gateway))
}

/// The nodes through which it reaches everything outside.
fn uses(intent: &Intent, member: Member) -> impl Iterator<Item = NodeId> {
    let (mut gateway, mut client) = (None, None);
    match member {
        Member::Node(id) => gateway = intent.node(id).and_then(|node| node.internet?.gateway),
        Member::Client(id) => client = intent.client(id).filter(|client| client.full_tunnel),
        Member::Egress(_) => {}
    }
    let gateways = client.map(|client| client.gateways.as_slice()).unwrap_or_default();
    gateway.into_iter().chain(gateways.iter().copied())
}

/// The members of its network that a node is told of; nobody while it does not take part.
pub(super) fn seen_by(intent: &Intent, node: &Node) -> BTreeSet<Member> {
    let own = Member::Node(node.id);
    let there = |member: &Member| is_there(intent, node.network, *member);
    if !there(&own) {
        return BTreeSet::new();
    }
    let mut seen: BTreeSet<Member> = carried(intent, node).collect();
    let led: Vec<Member> = std::iter::once(own).chain(seen.iter().copied()).collect();
    let partner =
        |member: &Member| led.iter().any(|one| one != member && are_partners(intent, node, *one, *member));
    seen.extend(members(intent, node.network).filter(there).filter(partner));
    let leading: Vec<Member> =
        seen.iter().flat_map(|member| carriers(intent, *member)).map(|node| Member::Node(node.id)).collect();
    let relay = intent.relay_of(node).map(|relay| Member::Node(relay.id));
    seen.extend(leading.into_iter().chain(relay).filter(there));
    seen.remove(&own);
    seen
}
