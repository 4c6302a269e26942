//! Names: records beside those that members have by themselves, and name servers for single domains.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use model::{DnsName, DnsRecordId, NetworkId, Timestamp, UpstreamId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RecordData {
    /// An IPv4 address.
    A {
        /// The address.
        #[schema(value_type = schema::Ipv4)]
        address: Ipv4Addr,
    },
    /// An IPv6 address.
    Aaaa {
        /// The address.
        #[schema(value_type = schema::Ipv6)]
        address: Ipv6Addr,
    },
    /// Another name for this one.
    Cname {
        /// The whole name that is meant.
        #[schema(value_type = schema::DnsName)]
        target: DnsName,
    },
    /// Text.
    Txt {
        /// At most 4,000 bytes.
        #[schema(max_length = 4000)]
        text: String,
    },
    /// Where a service is (RFC 2782).
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Among equals, the share.
        weight: u16,
        /// The port.
        port: u16,
        /// The whole name of the machine.
        #[schema(value_type = schema::DnsName)]
        target: DnsName,
    },
}

impl From<&model::RecordData> for RecordData {
    fn from(data: &model::RecordData) -> Self {
        match data.clone() {
            model::RecordData::A { address } => Self::A { address },
            model::RecordData::Aaaa { address } => Self::Aaaa { address },
            model::RecordData::Cname { target } => Self::Cname { target },
            model::RecordData::Txt { text } => Self::Txt { text },
            model::RecordData::Srv { priority, weight, port, target } => {
                Self::Srv { priority, weight, port, target }
            }
        }
    }
}

impl From<RecordData> for model::RecordData {
    fn from(data: RecordData) -> Self {
        match data {
            RecordData::A { address } => Self::A { address },
            RecordData::Aaaa { address } => Self::Aaaa { address },
            RecordData::Cname { target } => Self::Cname { target },
            RecordData::Txt { text } => Self::Txt { text },
            RecordData::Srv { priority, weight, port, target } => {
                Self::Srv { priority, weight, port, target }
            }
        }
    }
}

/// A record that people made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsRecord {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: DnsRecordId,
    /// The network in whose domain it is.
    #[schema(value_type = schema::Id)]
    pub network: NetworkId,
    /// Its name below the network's domain; null: the domain itself.
    #[schema(value_type = Option<schema::DnsName>)]
    pub name: Option<DnsName>,
    /// How many seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: RecordData,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl From<&model::DnsRecord> for DnsRecord {
    fn from(record: &model::DnsRecord) -> Self {
        let model::DnsRecord { id, network, name, ttl, data, created } = record;
        Self {
            id: *id,
            network: *network,
            name: name.clone(),
            ttl: *ttl,
            data: data.into(),
            created: *created,
        }
    }
}

/// Makes a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDnsRecord {
    /// Its name below the network's domain; none: the domain itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::DnsName>)]
    pub name: Option<DnsName>,
    /// How many seconds it may be kept; 60 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// What it says.
    pub data: RecordData,
}

/// Changes a record. Its name is fixed. What is missing stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchDnsRecord {
    /// How many seconds it may be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<RecordData>,
}

/// The text names no name server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name server; write its address, with a port where it is not 53: 10.0.0.1, 10.0.0.1:5353 or [fd00::1]:5353"
)]
pub struct NameServerError(String);

/// A name server: an address, and a port, which is 53 where none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameServer(pub SocketAddr);

impl FromStr for NameServer {
    type Err = NameServerError;

    fn from_str(text: &str) -> Result<Self, NameServerError> {
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
        let usable = address.ok().filter(|address: &SocketAddr| address.port() != 0);
        usable.map(Self).ok_or_else(|| NameServerError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == 53 {
            return self.0.ip().fmt(f);
        }
        self.0.fmt(f)
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NameServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Name servers to ask about one domain, for all hosts of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upstream {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: UpstreamId,
    /// The network whose hosts ask there.
    #[schema(value_type = schema::Id)]
    pub network: NetworkId,
    /// The domain, unique in the network.
    #[schema(value_type = schema::DnsName)]
    pub domain: DnsName,
    /// Whom to ask, in order.
    #[schema(value_type = Vec<schema::NameServer>)]
    pub servers: Vec<NameServer>,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl From<&model::Upstream> for Upstream {
    fn from(upstream: &model::Upstream) -> Self {
        let model::Upstream { id, network, domain, servers, created } = upstream;
        let servers = servers.iter().copied().map(NameServer).collect();
        Self { id: *id, network: *network, domain: domain.clone(), servers, created: *created }
    }
}

/// Names servers to ask about a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUpstream {
    /// The domain.
    #[schema(value_type = schema::DnsName)]
    pub domain: DnsName,
    /// Whom to ask, in order.
    #[schema(value_type = Vec<schema::NameServer>, min_items = 1, max_items = 8)]
    pub servers: Vec<NameServer>,
}

/// Names other servers to ask about a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchUpstream {
    /// Whom to ask, in order, in place of those until now.
    #[schema(value_type = Vec<schema::NameServer>, min_items = 1, max_items = 8)]
    pub servers: Vec<NameServer>,
}

/// In which form a network's names are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ZoneFormat {
    /// A zone file (RFC 1035), for CoreDNS's `file` and others.
    #[default]
    Zone,
    /// Addresses and names as in `/etc/hosts`, for CoreDNS's `hosts` and others.
    Hosts,
}

/// In which form a network's names are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ZoneQuery {
    /// A zone file where nothing is said.
    #[serde(default)]
    #[param(value_type = Option<ZoneFormat>)]
    pub format: ZoneFormat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_spelt_by_its_type() {
        let read = |text: &str| crate::read::<CreateDnsRecord>(text.as_bytes());
        let record = read(r#"{"name": "www", "data": {"type": "a", "address": "10.0.0.7"}}"#).unwrap();
        assert_eq!(record.data, RecordData::A { address: "10.0.0.7".parse().unwrap() });
        assert_eq!(
            serde_json::to_value(&record).unwrap()["data"],
            serde_json::json!({"type": "a", "address": "10.0.0.7"})
        );
        assert!(read(r#"{"data": {"type": "mx", "target": "x"}}"#).unwrap_err().detail.contains("mx"));
        assert!(
            read(r#"{"data": {"type": "a", "address": "10.0.0.7", "port": 1}}"#)
                .unwrap_err()
                .detail
                .contains("port")
        );
    }

    #[test]
    fn a_name_server_has_port_53_where_none_is_written() {
        for text in ["10.0.0.1", "10.0.0.1:5353", "fd00::1", "[fd00::1]:5353"] {
            assert_eq!(text.parse::<NameServer>().unwrap().to_string(), text);
        }
        assert_eq!("[fd00::1]:53".parse::<NameServer>().unwrap().to_string(), "fd00::1");
        assert!("10.0.0.1:0".parse::<NameServer>().is_err() && "dns".parse::<NameServer>().is_err());
    }
}
