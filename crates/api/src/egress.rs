//! Egress: ways to ranges outside of a network.

use ipnet::IpNet;
use model::{EgressId, HostName, NetworkId, NetworkName, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Edit, HostSelector, NodeRef, schema, yes};

/// A node that leads to an egress range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Router {
    /// The node.
    pub node: NodeRef,
    /// Lower is used first.
    pub priority: u16,
    /// Whether the host's agent is connected to the server.
    pub online: bool,
}

/// A way to a range outside of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Egress {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: EgressId,
    /// The network.
    #[schema(value_type = schema::Id)]
    pub network: NetworkId,
    /// The network's name.
    #[schema(value_type = schema::NetworkName)]
    pub network_name: NetworkName,
    /// Its name.
    #[schema(value_type = schema::HostName)]
    pub name: HostName,
    /// The range as it is behind the routers.
    #[schema(value_type = schema::Range)]
    pub range: IpNet,
    /// The range under which members reach it, where it is another; null: it is the same.
    #[schema(value_type = Option<schema::Range>)]
    pub mapped: Option<IpNet>,
    /// The range under which members reach it.
    #[schema(value_type = schema::Range)]
    pub reached_as: IpNet,
    /// Who leads there, best first.
    pub routers: Vec<Router>,
    /// Whether machines there see the router's address instead of the member's.
    pub nat: bool,
    /// Whether it is in use.
    pub enabled: bool,
    /// What may keep it from working as it is now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl Egress {
    /// An egress range with its network, its routers, and what may keep it from working.
    pub fn of(
        egress: &model::Egress,
        network: &model::Network,
        routers: Vec<Router>,
        notes: Vec<String>,
    ) -> Self {
        let model::Egress { id, network: _, name, range, mapped, routers: _, nat, enabled, created } = egress;
        Self {
            id: *id,
            network: network.id,
            network_name: network.name.clone(),
            name: name.clone(),
            range: *range,
            mapped: *mapped,
            reached_as: egress.reached_as(),
            routers,
            nat: *nat,
            enabled: *enabled,
            notes,
            created: *created,
        }
    }
}

/// A node that is to lead to an egress range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRouter {
    /// The node, by id or host.
    #[schema(value_type = schema::Selector)]
    pub node: HostSelector,
    /// Lower is used first; none: its place in the list. All of a list have one, or none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
}

/// Makes a way to a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEgress {
    /// Its name; no other egress range of the network may have it.
    #[schema(value_type = schema::HostName)]
    pub name: HostName,
    /// The range as it is behind the routers.
    #[schema(value_type = schema::Range)]
    pub range: IpNet,
    /// The range under which members reach it, as large as `range`; none: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Range>)]
    pub mapped: Option<IpNet>,
    /// Who leads there, best first; at least one.
    #[schema(min_items = 1, max_items = 16)]
    pub routers: Vec<SetRouter>,
    /// Whether machines there see the router's address instead of the member's, so that they need no way back; true where
    /// nothing is said.
    #[serde(default = "yes")]
    #[schema(value_type = Option<bool>)]
    pub nat: bool,
    /// Whether it is in use; true where nothing is said.
    #[serde(default = "yes")]
    #[schema(value_type = Option<bool>)]
    pub enabled: bool,
}

/// Changes a way to a range. The range itself is fixed. What is missing stays; `null` takes away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchEgress {
    /// Its new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::HostName>)]
    pub name: Option<HostName>,
    /// The range under which members reach it; null: the same.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Range>)]
    pub mapped: Edit<IpNet>,
    /// All who lead there, best first, in place of those until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 16)]
    pub routers: Option<Vec<SetRouter>>,
    /// Whether machines there see the router's address instead of the member's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<bool>,
    /// Whether it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}
