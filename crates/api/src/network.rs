//! Networks.

use ipnet::{Ipv4Net, Ipv6Net};
use model::{DnsName, Keepalive, NetworkId, NetworkName, RangeError, Ranges, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Edit, FieldError, HostSelector, NodeRef, schema};

/// What happens to what no policy speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It passes.
    #[default]
    Allow,
    /// It does not.
    Deny,
}

impl From<model::Access> for Access {
    fn from(access: model::Access) -> Self {
        match access {
            model::Access::Allow => Self::Allow,
            model::Access::Deny => Self::Deny,
        }
    }
}

impl From<Access> for model::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::Allow => Self::Allow,
            Access::Deny => Self::Deny,
        }
    }
}

/// A network, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkRef {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: NetworkId,
    /// Its name.
    #[schema(value_type = schema::NetworkName)]
    pub name: NetworkName,
}

impl From<&model::Network> for NetworkRef {
    fn from(network: &model::Network) -> Self {
        Self { id: network.id, name: network.name.clone() }
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: NetworkId,
    /// Its name.
    #[schema(value_type = schema::NetworkName)]
    pub name: NetworkName,
    /// Its IPv4 range.
    #[schema(value_type = Option<schema::Ipv4Range>)]
    pub v4: Option<Ipv4Net>,
    /// Its IPv6 range.
    #[schema(value_type = Option<schema::Ipv6Range>)]
    pub v6: Option<Ipv6Net>,
    /// Seconds between keepalives of its nodes.
    #[schema(value_type = schema::Keepalive)]
    pub keepalive: Keepalive,
    /// What happens to what no policy speaks of.
    #[serde(default)]
    pub access: Access,
    /// Whether new nodes wait until somebody lets them in.
    #[serde(default)]
    pub approval: bool,
    /// Hub and spoke: the node through which all nodes without a relay of their own reach one another; null: none.
    #[serde(default)]
    pub hub: Option<NodeRef>,
    /// The domain of its names; null: its name below the server's domain (`netloom.internal`).
    #[serde(default)]
    #[schema(value_type = Option<schema::DnsName>)]
    pub domain: Option<DnsName>,
    /// How many nodes it has.
    pub nodes: u64,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl Network {
    /// A network with its hub and this many nodes.
    pub fn of(network: &model::Network, hub: Option<NodeRef>, nodes: u64) -> Self {
        let model::Network { id, name, ranges, keepalive, access, approval, hub: _, domain, created } =
            network;
        Self {
            id: *id,
            name: name.clone(),
            v4: ranges.v4(),
            v6: ranges.v6(),
            keepalive: *keepalive,
            access: (*access).into(),
            approval: *approval,
            hub,
            domain: domain.clone(),
            nodes,
            created: *created,
        }
    }
}

/// Makes a network. Where no range is given, free ones are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNetwork {
    /// Its name; no other network may have it.
    #[schema(value_type = schema::NetworkName)]
    pub name: NetworkName,
    /// Its IPv4 range; it must not overlap any other network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4Range>)]
    pub v4: Option<Ipv4Net>,
    /// Its IPv6 range; it must not overlap any other network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6Range>)]
    pub v6: Option<Ipv6Net>,
    /// Seconds between keepalives of its nodes; 20 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Keepalive>)]
    pub keepalive: Option<Keepalive>,
    /// What happens to what no policy speaks of; `allow` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Whether new nodes wait until somebody lets them in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub approval: bool,
    /// The domain of its names; none: its name below the server's domain (`netloom.internal`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::DnsName>)]
    pub domain: Option<DnsName>,
}

impl CreateNetwork {
    /// A network of this name, all else as it comes.
    pub fn named(name: NetworkName) -> Self {
        Self { name, v4: None, v6: None, keepalive: None, access: None, approval: false, domain: None }
    }

    /// Its ranges, checked; none when free ones are to be found.
    pub fn ranges(&self) -> Result<Option<Ranges>, FieldError> {
        if self.v4.is_none() && self.v6.is_none() {
            return Ok(None);
        }
        Ranges::new(self.v4, self.v6).map(Some).map_err(|error| {
            let is_v6 = match &error {
                RangeError::None => false,
                RangeError::NotARange { given: range, .. }
                | RangeError::Size(range)
                | RangeError::Reserved(range) => range.addr().is_ipv6(),
            };
            FieldError { field: if is_v6 { "v6" } else { "v4" }.to_owned(), message: error.to_string() }
        })
    }
}

/// Changes a network. Its ranges are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchNetwork {
    /// Its new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::NetworkName>)]
    pub name: Option<NetworkName>,
    /// Seconds between keepalives of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Keepalive>)]
    pub keepalive: Option<Keepalive>,
    /// What happens to what no policy speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Whether new nodes wait until somebody lets them in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<bool>,
    /// The node through which all nodes without a relay of their own reach one another; null: none.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Selector>)]
    pub hub: Edit<HostSelector>,
    /// The domain of its names; null: its name below the server's domain (`netloom.internal`).
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::DnsName>)]
    pub domain: Edit<DnsName>,
}

/// Whether something is deleted together with what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Force {
    /// `true`: also what is in it goes.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_range_is_told_at_its_field_and_none_means_any() {
        let create = |v6: Option<&str>| CreateNetwork {
            v4: Some("10.0.0.0/24".parse().unwrap()),
            v6: v6.map(|text| text.parse().unwrap()),
            ..CreateNetwork::named("home".parse().unwrap())
        };
        assert!(create(None).ranges().unwrap().is_some());
        assert_eq!(create(Some("fe80::/64")).ranges().unwrap_err().field, "v6");
        assert_eq!(CreateNetwork { v4: None, ..create(None) }.ranges(), Ok(None));
    }
}
