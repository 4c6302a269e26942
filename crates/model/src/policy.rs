//! Policies: who may open connections to whom.
//!
//! Not for working out who that is (`control::policy`). Policies only allow; what none allows, the network's default decides.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    ClientId, EgressId, GroupName, NetworkId, NodeId, PolicyId, PolicyTestId, Service, Tag, Timestamp, Title,
    UserId,
};

/// What happens to what no policy speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// It passes.
    #[default]
    Allow,
    /// It does not.
    Deny,
}

/// Whom a policy speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Every member of the network: nodes, clients and egress ranges.
    Everything,
    /// One node.
    Node(NodeId),
    /// One client.
    Client(ClientId),
    /// One egress range.
    Egress(EgressId),
    /// Nodes and clients with this tag.
    Tag(Tag),
    /// The clients of this user.
    User(UserId),
    /// The clients of the users in this group.
    Group(GroupName),
}

/// A policy of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its identity.
    pub id: PolicyId,
    /// The network.
    pub network: NetworkId,
    /// What people call it, unique in the network.
    pub name: Title,
    /// Whether it counts.
    pub enabled: bool,
    /// Who may open connections; at least one.
    pub from: BTreeSet<Subject>,
    /// To whom; at least one.
    pub to: BTreeSet<Subject>,
    /// By what; none is everything.
    pub services: BTreeSet<Service>,
    /// Whether the other way round too.
    pub both: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// A sentence about policies that must stay true: a change of policies that makes it wrong is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTest {
    /// Its identity.
    pub id: PolicyTestId,
    /// The network.
    pub network: NetworkId,
    /// Everybody in this …
    pub from: Subject,
    /// … to everybody in this …
    pub to: Subject,
    /// … by this: one protocol and at most one port …
    pub service: Service,
    /// … is allowed, or denied.
    pub expect: Access,
    /// When it was made.
    pub created: Timestamp,
}
