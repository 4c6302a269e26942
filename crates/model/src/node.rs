//! A node: one host in one network.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Addresses, Duties, HostId, InternetUse, NetworkId, NodeId, Tag, Timestamp};

/// A host's membership in one network. A host has at most one node in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its identity.
    pub id: NodeId,
    /// The host.
    pub host: HostId,
    /// The network.
    pub network: NetworkId,
    /// Its addresses there; no other node has them.
    pub addresses: Addresses,
    /// Whether it takes part. A node that does not keeps its addresses and has no peers.
    pub connected: bool,
    /// Whether it waits for somebody to let it in; until then it has no peers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// What it does for others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub duties: Duties,
    /// The node of the same network through which it reaches all others and they reach it; none: directly, or as the
    /// network's hub says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<NodeId>,
    /// Through whom it reaches everything outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internet: Option<InternetUse>,
    /// When it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
}

impl Node {
    /// Whether it has peers: it takes part, and waits for nobody.
    pub const fn takes_part(&self) -> bool {
        self.connected && !self.pending
    }
}

fn is_default(duties: &Duties) -> bool {
    *duties == Duties::default()
}
