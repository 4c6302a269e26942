//! A network, as people define it.

use serde::{Deserialize, Serialize};

use crate::{Access, DnsName, Keepalive, NetworkId, NetworkName, NodeId, Ranges, Timestamp};

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
    /// What happens to what no policy speaks of.
    #[serde(default)]
    pub access: Access,
    /// Whether new nodes wait until somebody lets them in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
    /// Hub and spoke: the node through which all nodes without a relay of their own reach one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<NodeId>,
    /// The domain of its names; none: its name below the server's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DnsName>,
    /// When it was made.
    pub created: Timestamp,
}

impl Network {
    /// The domain of its names: its own, or its name below the server's; none if that is too long.
    pub fn domain_below(&self, server: &DnsName) -> Option<DnsName> {
        let below = || self.name.as_str().parse::<DnsName>().ok()?.below(server);
        self.domain.clone().or_else(below)
    }
}
