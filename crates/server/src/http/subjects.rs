//! Whom requests speak of, in one network: subjects of policies, and members.

use std::collections::BTreeSet;

use control::Intent;
use control::policy::Member;
use model::{Network, Subject};

use super::{Failure, find};

/// Whom a policy is to speak of.
pub(super) fn subject(
    intent: &Intent,
    network: &Network,
    subject: &api::Subject,
) -> Result<Subject, Failure> {
    Ok(match subject {
        api::Subject::Everything => Subject::Everything,
        api::Subject::Node(node) => Subject::Node(find::node_in(intent, network, node)?.id),
        api::Subject::Client(client) => Subject::Client(find::client(intent, network, client)?.id),
        api::Subject::Egress(egress) => Subject::Egress(find::egress(intent, network, egress)?.id),
        api::Subject::Tag(tag) => Subject::Tag(tag.clone()),
        api::Subject::User(user) => Subject::User(find::user(intent, user)?.id),
        api::Subject::Group(group) => Subject::Group(group.clone()),
    })
}

/// All of them, each once.
pub(super) fn all(
    intent: &Intent,
    network: &Network,
    subjects: &[api::Subject],
) -> Result<BTreeSet<Subject>, Failure> {
    subjects.iter().map(|one| subject(intent, network, one)).collect()
}

/// A member of the network. A bare name is a node's, else a client's, else an egress range's.
pub(super) fn member(intent: &Intent, network: &Network, member: &api::Member) -> Result<Member, Failure> {
    Ok(match member {
        api::Member::Node(node) => Member::Node(find::node_in(intent, network, node)?.id),
        api::Member::Client(client) => Member::Client(find::client(intent, network, client)?.id),
        api::Member::Egress(egress) => Member::Egress(find::egress(intent, network, egress)?.id),
        api::Member::Any(name) => {
            let node = || intent.node_of(intent.host_by_name(name)?.id, network.id);
            let client = || intent.client_by_name(network.id, name);
            let egress = || intent.egress_by_name(network.id, name);
            let found = node().map(|node| Member::Node(node.id));
            let found = found.or_else(|| client().map(|client| Member::Client(client.id)));
            let found = found.or_else(|| egress().map(|egress| Member::Egress(egress.id)));
            found.ok_or_else(|| find::not_in(network, "node, client or egress range", name))?
        }
    })
}
