//! Names and records of the DNS, as far as people write them: domains, records beside those of members, name servers for
//! single domains.
//!
//! Not for answering (crate `dns`). It keeps true that a name fits into a DNS message (RFC 1035, 2.3.4).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{DnsRecordId, NetworkId, Timestamp, UpstreamId};

/// Why a text is no DNS name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameError {
    /// Nothing was given.
    #[error("the DNS name is empty")]
    Empty,
    /// The root.
    #[error(
        "`.` is the root, to which all names belong, and none of its own; name a domain, such as `corp.example`"
    )]
    Root,
    /// Longer than a DNS message can hold.
    #[error("the DNS name has {0} characters; at most 253 are allowed")]
    TooLong(usize),
    /// A part between dots that cannot be.
    #[error(
        "`{name}` is no DNS name: `{label}` is not 1 to 63 of the characters a-z, 0-9, - and _, without a hyphen at either end"
    )]
    Label {
        /// The whole text as given.
        name: String,
        /// The part that is wrong.
        label: String,
    },
}

/// A DNS name without the dot at its end, in lower case: `office.netloom.internal`, `_ldap._tcp`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DnsName(String);

impl DnsName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name below a domain; none if that is too long.
    pub fn below(&self, domain: &Self) -> Option<Self> {
        format!("{self}.{domain}").parse().ok()
    }

    /// Whether it is this domain or below it.
    pub fn is_within(&self, domain: &Self) -> bool {
        self == domain || self.0.strip_suffix(domain.as_str()).is_some_and(|head| head.ends_with('.'))
    }
}

fn is_dns_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    (1..=63).contains(&label.len())
        && label.chars().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        if text == "." {
            return Err(DnsNameError::Root);
        }
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.is_empty() {
            return Err(DnsNameError::Empty);
        }
        if text.len() > 253 {
            return Err(DnsNameError::TooLong(text.len()));
        }
        match text.split('.').find(|label| !is_dns_label(label)) {
            None => Ok(Self(text)),
            Some(label) => Err(DnsNameError::Label { label: label.to_owned(), name: text.clone() }),
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DnsName({})", self.0)
    }
}

impl<'de> Deserialize<'de> for DnsName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

crate::cbor::text!(DnsName);

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RecordData {
    /// An IPv4 address.
    #[n(0)]
    A {
        /// The address.
        #[n(0)]
        address: Ipv4Addr,
    },
    /// An IPv6 address.
    #[n(1)]
    Aaaa {
        /// The address.
        #[n(0)]
        address: Ipv6Addr,
    },
    /// Another name for this one.
    #[n(2)]
    Cname {
        /// The whole name that is meant.
        #[n(0)]
        target: DnsName,
    },
    /// Text of at most 4,000 bytes.
    #[n(3)]
    Txt {
        /// The text.
        #[n(0)]
        text: String,
    },
    /// Where a service is (RFC 2782).
    #[n(4)]
    Srv {
        /// Lower is tried first.
        #[n(0)]
        priority: u16,
        /// Among equals, the share.
        #[n(1)]
        weight: u16,
        /// The port.
        #[n(2)]
        port: u16,
        /// The whole name of the machine.
        #[n(3)]
        target: DnsName,
    },
}

impl RecordData {
    /// The most bytes of a TXT record's text.
    pub const MOST_TEXT: usize = 4_000;
}

/// A record beside those that members have by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// Its identity.
    pub id: DnsRecordId,
    /// The network in whose domain it is.
    pub network: NetworkId,
    /// Its name below the network's domain; none: the domain itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DnsName>,
    /// How many seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: RecordData,
    /// When it was made.
    pub created: Timestamp,
}

impl DnsRecord {
    /// Where nothing else is said.
    pub const DEFAULT_TTL: u32 = 60;
}

/// Name servers to ask about one domain, for all hosts of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its identity.
    pub id: UpstreamId,
    /// The network whose hosts ask there.
    pub network: NetworkId,
    /// The domain, unique in the network.
    pub domain: DnsName,
    /// Whom to ask, in order; at least one.
    pub servers: Vec<SocketAddr>,
    /// When it was made.
    pub created: Timestamp,
}

/// A record as hosts are told of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct ToldRecord {
    /// Its name below the network's domain; none: the domain itself.
    #[n(0)]
    pub name: Option<DnsName>,
    /// How many seconds it may be kept.
    #[n(1)]
    pub ttl: u32,
    /// What it says.
    #[n(2)]
    pub data: RecordData,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_folded_and_its_wrong_label_is_named() {
        assert_eq!(name("Web.Office.").as_str(), "web.office");
        assert!("a..b".parse::<DnsName>().unwrap_err().to_string().contains("``"));
        assert!("-a.b".parse::<DnsName>().is_err());
        assert!("".parse::<DnsName>().is_err());
        assert_eq!(".".parse::<DnsName>(), Err(DnsNameError::Root));
        assert!("_ldap._tcp".parse::<DnsName>().is_ok());
        assert!(format!("{}.x", "a".repeat(64)).parse::<DnsName>().is_err());
        assert!(vec!["abcdefgh"; 29].join(".").parse::<DnsName>().is_err());
    }

    #[test]
    fn within_means_by_whole_labels() {
        assert!(name("web.office").is_within(&name("office")));
        assert!(name("office").is_within(&name("office")));
        assert!(!name("backoffice").is_within(&name("office")));
    }

    #[test]
    fn a_told_record_reads_back() {
        let told = ToldRecord {
            name: None,
            ttl: 60,
            data: RecordData::Srv { priority: 1, weight: 2, port: 3, target: name("a.b") },
        };
        let bytes = minicbor::to_vec(&told).unwrap();
        assert_eq!(minicbor::decode::<ToldRecord>(&bytes).unwrap(), told);
    }
}
