//! A network, as people define it.

use serde::{Deserialize, Serialize};

use crate::{Keepalive, NetworkId, NetworkName, Ranges, Timestamp};

/// A private network: a name, ranges, settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its identity.
    pub id: NetworkId,
    /// Its name, unique among networks.
    pub name: NetworkName,
    /// The ranges its nodes' addresses come from; no two networks' ranges overlap.
    pub ranges: Ranges,
    /// Keepalive between its nodes.
    pub keepalive: Keepalive,
    /// When it was made.
    pub created: Timestamp,
}
