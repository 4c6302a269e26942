//! Nodes: hosts in a network.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use model::{Addresses, HostId, HostName, NetworkId, NetworkName, NodeId, Tag, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Edit, ExpiryError, HostSelector, expiry_edit, schema};

/// A node, named by its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeRef {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: NodeId,
    /// The host.
    #[schema(value_type = schema::Id)]
    pub host: HostId,
    /// The host's name.
    #[schema(value_type = schema::HostName)]
    pub host_name: HostName,
}

impl NodeRef {
    /// A node with its host.
    pub fn of(node: &model::Node, host: &model::Host) -> Self {
        Self { id: node.id, host: host.id, host_name: host.name.clone() }
    }
}

/// Through whom a node reaches everything outside of its networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InternetUse {
    /// The internet gateway; null: it was removed, and nothing goes out until another is chosen, or none is wanted.
    pub gateway: Option<NodeRef>,
    /// Whether the machine's own networks stay reachable directly.
    pub lan: bool,
}

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
    /// Whether it waits for somebody to let it in; until then it has no peers.
    #[serde(default)]
    pub pending: bool,
    /// Its tags.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Tag>)]
    pub tags: BTreeSet<Tag>,
    /// Whether it lets clients in.
    #[serde(default)]
    pub remote_access: bool,
    /// Whether it is a way to everything, for those who choose it.
    #[serde(default)]
    pub internet_gateway: bool,
    /// The relay set for this node; null: none, or the network's hub.
    #[serde(default)]
    pub relay: Option<NodeRef>,
    /// The node through which it really is reached: its relay, else the network's hub; null: directly.
    #[serde(default)]
    pub relayed_by: Option<NodeRef>,
    /// Through whom it reaches everything outside of its networks; null: as ever.
    #[serde(default)]
    pub internet: Option<InternetUse>,
    /// When it is removed; null: never.
    #[serde(default)]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Option<Timestamp>,
    /// Whether the host's agent is connected to the server.
    pub online: bool,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

/// The nodes that a node names, and what inventory knows of it.
#[derive(Debug, Clone, Default)]
pub struct NodeRelations {
    /// The relay set for this node.
    pub relay: Option<NodeRef>,
    /// The node through which it is reached.
    pub relayed_by: Option<NodeRef>,
    /// Its internet gateway.
    pub internet: Option<NodeRef>,
    /// Whether its agent is connected.
    pub online: bool,
}

impl Node {
    /// A node with its network, its host, and the nodes it names.
    pub fn of(
        node: &model::Node,
        network: &model::Network,
        host: &model::Host,
        relations: NodeRelations,
    ) -> Self {
        let model::Node {
            id,
            host: _,
            network: _,
            addresses: Addresses { v4, v6 },
            connected,
            pending,
            tags,
            duties,
            relay: _,
            internet,
            expires,
            created,
        } = node;
        let NodeRelations { relay, relayed_by, internet: gateway, online } = relations;
        Self {
            id: *id,
            network: network.id,
            network_name: network.name.clone(),
            host: host.id,
            host_name: host.name.clone(),
            v4: *v4,
            v6: *v6,
            connected: *connected,
            pending: *pending,
            tags: tags.clone(),
            remote_access: duties.remote_access,
            internet_gateway: duties.internet,
            relay,
            relayed_by,
            internet: internet.map(|used| InternetUse { gateway, lan: used.lan }),
            expires: *expires,
            online,
            created: *created,
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
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub tags: BTreeSet<Tag>,
}

impl AddNode {
    /// This host, at addresses that are handed out.
    pub fn of(host: HostSelector) -> Self {
        Self { host, v4: None, v6: None, tags: BTreeSet::new() }
    }

    /// The addresses asked for; none when all are to be handed out.
    pub fn addresses(&self) -> Option<Addresses> {
        let Self { host: _, v4, v6, tags: _ } = self;
        (v4.is_some() || v6.is_some()).then_some(Addresses { v4: *v4, v6: *v6 })
    }
}

/// Sends everything that a node sends outside of its networks through a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UseInternet {
    /// The internet gateway: a node of the same network, by id or host; none: the one until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Selector>)]
    pub gateway: Option<HostSelector>,
    /// Whether the machine's own networks stay reachable directly; none: as until now, and true where there was no gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan: Option<bool>,
}

/// Changes a node. What is missing stays; `null` takes away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchNode {
    /// Whether it takes part. A node that does not keeps its addresses and has no peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// Its IPv4 address, out of the network's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4>)]
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, out of the network's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6>)]
    pub v6: Option<Ipv6Addr>,
    /// All its tags, in place of those until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub tags: Option<BTreeSet<Tag>>,
    /// Tags it gets beside those that it has then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub add_tags: BTreeSet<Tag>,
    /// Tags it loses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub remove_tags: BTreeSet<Tag>,
    /// Whether it lets clients in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_access: Option<bool>,
    /// Whether it is a way to everything, for those who choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internet_gateway: Option<bool>,
    /// The node of the same network through which it is reached, by id or host; null: none but the network's hub.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Selector>)]
    pub relay: Edit<HostSelector>,
    /// Through whom it reaches everything outside of its networks; null: as ever.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<UseInternet>)]
    pub internet: Edit<UseInternet>,
    /// When it is removed; null: never. Not together with `expires_in`.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Edit<Timestamp>,
    /// The same in seconds from now, at most ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    pub expires_in: Option<u64>,
}

impl PatchNode {
    /// Only lets it take part, or pause.
    pub fn connected(connected: bool) -> Self {
        Self { connected: Some(connected), ..Self::default() }
    }

    /// Its new addresses, where one is given; a family that is left open stays as it is.
    pub fn addresses(&self, now: Addresses) -> Option<Addresses> {
        let given = self.v4.is_some() || self.v6.is_some();
        given.then(|| Addresses { v4: self.v4.or(now.v4), v6: self.v6.or(now.v6) })
    }

    /// The change of when it is removed.
    pub fn expiry(&self, now: Timestamp) -> Result<Edit<Timestamp>, ExpiryError> {
        expiry_edit(self.expires, self.expires_in, now)
    }
}
