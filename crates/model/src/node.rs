//! A node: one host in one network.

use serde::{Deserialize, Serialize};

use crate::{Addresses, HostId, NetworkId, NodeId, Timestamp};

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
    /// When it was made.
    pub created: Timestamp,
}
