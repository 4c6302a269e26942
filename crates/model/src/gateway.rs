//! What nodes do for others: clients, ways to ranges outside of a network, the way to everything.
//!
//! A relay has no noun of its own: it is whom other nodes name (`Node::relay`, `Network::hub`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    Addresses, ClientId, EgressId, HostName, Keepalive, Mtu, NetworkId, NodeId, Tag, Timestamp, UserId,
    WgPublicKey,
};

/// A node's duties as a gateway. Those of egress ranges name their routers themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Duties {
    /// Whether it lets clients in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote_access: bool,
    /// Whether it is a way to everything, for those who choose it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internet: bool,
}

/// Through whom a node reaches everything outside of its networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetUse {
    /// The internet gateway, a node of the same network; none: it was removed, and nothing goes out until another is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<NodeId>,
    /// Whether the machine's own networks stay reachable directly.
    pub lan: bool,
}

/// A remote access client: a plain WireGuard app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its identity.
    pub id: ClientId,
    /// The network.
    pub network: NetworkId,
    /// Its name, unique among the clients and hosts of the network.
    pub name: HostName,
    /// Its WireGuard key, unique among all hosts and clients.
    pub key: WgPublicKey,
    /// Its addresses.
    pub addresses: Addresses,
    /// The gateways that let it in, best first; none: the last one was removed, and it cannot come in until it gets another.
    pub gateways: Vec<NodeId>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// Whether people want it let in.
    pub enabled: bool,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// From when on it is let in no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The last expiry whose time has come: with another one, or none, it is let in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<Timestamp>,
    /// Ranges behind it, which others reach through it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ranges: BTreeSet<IpNet>,
    /// Whether everything it sends goes through the gateway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full_tunnel: bool,
    /// Whom it asks for names; none: its gateway. Empty: its own choice stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
    /// The MTU of its interface, when its app is not to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// Its keepalive; none: the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
    /// When it was made.
    pub created: Timestamp,
}

impl Client {
    /// Whether gateways let it in.
    pub fn is_let_in(&self) -> bool {
        self.enabled && !self.is_over()
    }

    /// Whether the time of its expiry has come.
    pub fn is_over(&self) -> bool {
        self.expires.is_some() && self.expires == self.expired
    }
}

/// A node that leads to an egress range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Router {
    /// Lower is used first; among equals the one with the lower id.
    pub priority: u16,
    /// The node.
    pub node: NodeId,
}

/// A way to a range outside of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Its identity.
    pub id: EgressId,
    /// The network whose members use it.
    pub network: NetworkId,
    /// Its name, unique in the network.
    pub name: HostName,
    /// The range as it is behind the routers.
    pub range: IpNet,
    /// The range under which the network's members reach it, where the same range is in use elsewhere: as large as `range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<IpNet>,
    /// Who leads there; nobody: the last one was removed, and it cannot be reached until it gets another.
    pub routers: BTreeSet<Router>,
    /// Whether machines there see the router's address instead of the member's, so that they need no way back.
    pub nat: bool,
    /// Whether it is in use.
    pub enabled: bool,
    /// When it was made.
    pub created: Timestamp,
}

impl Egress {
    /// The range under which the network's members reach it.
    pub fn reached_as(&self) -> IpNet {
        self.mapped.unwrap_or(self.range)
    }
}
