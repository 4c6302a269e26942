//! How answers name what intent holds by id: nodes by their hosts, and whom policies speak of.
//!
//! Not for finding what requests name (`find`). What is gone keeps its id for a name.

use api::{NodeRef, PolicyRef, Selector, UserRef};
use control::Intent;
use control::policy::Member;
use model::{NodeId, PolicyId, UserId};

pub(super) fn node(intent: &Intent, id: NodeId) -> Option<NodeRef> {
    let node = intent.node(id)?;
    Some(NodeRef::of(node, intent.host(node.host)?))
}

pub(super) fn user(intent: &Intent, id: UserId) -> Option<UserRef> {
    intent.user(id).map(UserRef::from)
}

pub(super) fn policies(intent: &Intent, ids: &[PolicyId]) -> Vec<PolicyRef> {
    ids.iter().filter_map(|id| intent.policy(*id)).map(PolicyRef::from).collect()
}

fn by_host(intent: &Intent, id: NodeId) -> api::HostSelector {
    match node(intent, id) {
        Some(node) => Selector::named(&node.host_name),
        None => Selector::with_id(&model::HostId::from_bytes(*id.as_bytes())),
    }
}

fn by_name<I: std::fmt::Display, N: std::fmt::Display>(id: &I, name: Option<&N>) -> Selector<I, N> {
    name.map_or_else(|| Selector::with_id(id), Selector::named)
}

/// Whom a policy speaks of.
pub(super) fn subject(intent: &Intent, subject: &model::Subject) -> api::Subject {
    match subject {
        model::Subject::Everything => api::Subject::Everything,
        model::Subject::Node(id) => api::Subject::Node(by_host(intent, *id)),
        model::Subject::Client(id) => {
            api::Subject::Client(by_name(id, intent.client(*id).map(|client| &client.name)))
        }
        model::Subject::Egress(id) => {
            api::Subject::Egress(by_name(id, intent.egress(*id).map(|egress| &egress.name)))
        }
        model::Subject::Tag(tag) => api::Subject::Tag(tag.clone()),
        model::Subject::User(id) => api::Subject::User(by_name(id, intent.user(*id).map(|user| &user.name))),
        model::Subject::Group(group) => api::Subject::Group(group.clone()),
    }
}

/// A member of a network.
pub(super) fn member(intent: &Intent, member: Member) -> api::Member {
    match member {
        Member::Node(id) => api::Member::Node(by_host(intent, id)),
        Member::Client(id) => api::Member::Client(by_name(&id, intent.client(id).map(|client| &client.name))),
        Member::Egress(id) => api::Member::Egress(by_name(&id, intent.egress(id).map(|egress| &egress.name))),
    }
}
