//! Records: the nouns of intent as the database keeps them, `(kind, id) -> JSON`.
//!
//! Not for meaning: what a record may hold beside others is `Intent::check`'s. It keeps true that a record's key is its
//! value's own id, and that `Serialize` writes the bare value, as it stands in the database.

use std::fmt;
use std::str::FromStr;

use model::{
    ApiToken, ApiTokenId, Client, ClientId, DnsRecord, DnsRecordId, Egress, EgressId, EnrollmentKey,
    EnrollmentKeyId, Host, HostId, IdError, Network, NetworkId, Node, NodeId, Policy, PolicyId, PolicyTest,
    PolicyTestId, Upstream, UpstreamId, User, UserId,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The key under which a record is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The kind of record.
    pub kind: Kind,
    /// The bytes of its id.
    pub id: [u8; 16],
}

impl RecordKey {
    /// The key with this id, as `id_text` writes it.
    pub fn parse(kind: Kind, id: &str) -> Result<Self, IdError> {
        // All ids are written alike.
        let id: HostId = id.parse()?;
        Ok(Self { kind, id: *id.as_bytes() })
    }

    /// The id as people see it.
    pub fn id_text(&self) -> String {
        HostId::from_bytes(self.id).to_string()
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id_text())
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text names no kind of record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of record; a newer version may know it")]
pub struct UnknownKind(String);

/// What one kind of record holds.
pub trait Noun: Sized {
    /// What the record holds, if it is of this kind.
    fn of(record: &Record) -> Option<&Self>;
}

macro_rules! records {
    ($($type:ident($id:ident) = $name:literal),* $(,)?) => {
        /// The kinds of record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the nouns are documented in `model`")]
        pub enum Kind {
            $($type,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$type,)*];

            /// Its name in the database.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$type => $name,)*
                }
            }
        }

        impl FromStr for Kind {
            type Err = UnknownKind;

            fn from_str(text: &str) -> Result<Self, UnknownKind> {
                let same = |kind: &&Self| kind.as_str() == text;
                Self::ALL.iter().find(same).copied().ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
            }
        }

        /// One record.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the nouns are documented in `model`")]
        pub enum Record {
            $($type($type),)*
        }

        impl Record {
            /// The key under which it is kept.
            pub fn key(&self) -> RecordKey {
                match self {
                    $(Self::$type(value) => RecordKey { kind: Kind::$type, id: *value.id.as_bytes() },)*
                }
            }

            /// What it holds, if that is such a noun.
            pub fn noun<T: Noun>(&self) -> Option<&T> {
                T::of(self)
            }

            /// Reads the bare value of a record of this kind.
            pub fn deserialize_as<'de, D: Deserializer<'de>>(kind: Kind, from: D) -> Result<Self, D::Error> {
                match kind {
                    $(Kind::$type => $type::deserialize(from).map(Self::$type),)*
                }
            }
        }

        impl Serialize for Record {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$type(value) => value.serialize(serializer),)*
                }
            }
        }

        $(
            impl Noun for $type {
                fn of(record: &Record) -> Option<&Self> {
                    if let Record::$type(value) = record { Some(value) } else { None }
                }
            }

            impl From<$type> for Record {
                fn from(value: $type) -> Self {
                    Self::$type(value)
                }
            }

            impl From<$id> for RecordKey {
                fn from(id: $id) -> Self {
                    Self { kind: Kind::$type, id: *id.as_bytes() }
                }
            }
        )*
    };
}

records! {
    Network(NetworkId) = "network",
    Host(HostId) = "host",
    Node(NodeId) = "node",
    EnrollmentKey(EnrollmentKeyId) = "enrollment_key",
    User(UserId) = "user",
    ApiToken(ApiTokenId) = "api_token",
    Client(ClientId) = "client",
    Egress(EgressId) = "egress",
    Policy(PolicyId) = "policy",
    PolicyTest(PolicyTestId) = "policy_test",
    DnsRecord(DnsRecordId) = "dns_record",
    Upstream(UpstreamId) = "upstream",
}

impl Kind {
    /// The fields of its records that are secrets, if only as hashes: for passwords and digests there is no place in what people
    /// read. A new kind makes the compiler ask here.
    pub const fn secret_fields(self) -> &'static [&'static str] {
        match self {
            Self::User => &["password"],
            Self::EnrollmentKey | Self::ApiToken => &["digest"],
            Self::Network
            | Self::Host
            | Self::Node
            | Self::Client
            | Self::Egress
            | Self::Policy
            | Self::PolicyTest
            | Self::DnsRecord
            | Self::Upstream => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_keys_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            let key = RecordKey { kind: *kind, id: [0xa5; 16] };
            assert_eq!(RecordKey::parse(*kind, &key.id_text()), Ok(key));
        }
        assert!("relay".parse::<Kind>().is_err());
    }

    #[test]
    fn a_record_is_written_as_its_bare_value() {
        let network = Network {
            id: NetworkId::from_bytes([1; 16]),
            name: "office".parse().unwrap(),
            ranges: model::Ranges::new(Some("10.7.0.0/24".parse().unwrap()), None).unwrap(),
            keepalive: model::Keepalive::DEFAULT,
            access: model::Access::Allow,
            approval: false,
            hub: None,
            domain: None,
            created: model::Timestamp::from_millis(1_700_000_000_000),
        };
        let record = Record::from(network.clone());
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(json, serde_json::to_string(&network).unwrap());
        assert_eq!((record.noun::<Network>(), record.noun::<Host>()), (Some(&network), None));
        let mut from = serde_json::Deserializer::from_str(&json);
        assert_eq!(Record::deserialize_as(Kind::Network, &mut from).unwrap(), record);
    }
}
