//! Nodes: hosts in a network.

use std::net::{Ipv4Addr, Ipv6Addr};

use model::{Addresses, HostId, HostName, NetworkId, NetworkName, NodeId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{HostSelector, schema};

/// A host in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: NodeId,
    /// The network.
    #[schema(value_type = schema::Id)]
    pub network: NetworkId,
    /// The network's name.
    #[schema(value_type = schema::NetworkName)]
    pub network_name: NetworkName,
    /// The host.
    #[schema(value_type = schema::Id)]
    pub host: HostId,
    /// The host's name.
    #[schema(value_type = schema::HostName)]
    pub host_name: HostName,
    /// Its IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4>)]
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6>)]
    pub v6: Option<Ipv6Addr>,
    /// Whether it takes part.
    pub connected: bool,
    /// Whether the host's agent is connected to the server.
    pub online: bool,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl Node {
    /// A node with its network and host.
    pub fn of(node: &model::Node, network: &model::Network, host: &model::Host, online: bool) -> Self {
        let Addresses { v4, v6 } = node.addresses;
        Self {
            id: node.id,
            network: network.id,
            network_name: network.name.clone(),
            host: host.id,
            host_name: host.name.clone(),
            v4,
            v6,
            connected: node.connected,
            online,
            created: node.created,
        }
    }
}

/// Puts a host into a network. Addresses that are not given are handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddNode {
    /// The host, by id or name.
    #[schema(value_type = schema::Selector)]
    pub host: HostSelector,
    /// Its IPv4 address, out of the network's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4>)]
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, out of the network's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6>)]
    pub v6: Option<Ipv6Addr>,
}

impl AddNode {
    /// The addresses asked for; none when all are to be handed out.
    pub fn addresses(&self) -> Option<Addresses> {
        let Self { host: _, v4, v6 } = self;
        (v4.is_some() || v6.is_some()).then_some(Addresses { v4: *v4, v6: *v6 })
    }
}

/// Lets a node take part, or pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchNode {
    /// Whether it takes part. A node that does not keeps its addresses and has no peers.
    pub connected: bool,
}
