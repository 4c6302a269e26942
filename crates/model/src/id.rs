//! Identifiers: 128 bits each, written as UUIDs, never made here (randomness and time are arguments).
//!
//! Each noun has a type of its own, so that a node's id cannot be given where a host's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id; ids look like 0195b7a2-7c3e-7d4f-8a51-0123456789ab")]
pub struct IdError(String);

macro_rules! id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Uuid);

        impl $type {
            /// Makes a UUID version 7 (RFC 9562) of the given time and randomness.
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The id with exactly these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.0.as_hyphenated())
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError(text.chars().take(64).collect()))
            }
        }

        crate::cbor::byte_string!($type, 16);
    };
}

id!(
    /// A machine with an identity.
    HostId
);
id!(
    /// A network.
    NetworkId
);
id!(
    /// A host's membership in one network.
    NodeId
);
id!(
    /// An enrollment key (the record, not its secret).
    EnrollmentKeyId
);
id!(
    /// A person with an account.
    UserId
);
id!(
    /// An API token or a log-in (the record, not its secret).
    ApiTokenId
);

id!(
    /// A remote access client.
    ClientId
);
id!(
    /// A way to a range outside of a network.
    EgressId
);
id!(
    /// A policy.
    PolicyId
);
id!(
    /// A test of policies.
    PolicyTestId
);
id!(
    /// A DNS record that people made.
    DnsRecordId
);
id!(
    /// Name servers for a domain.
    UpstreamId
);
id!(
    /// Whatever is a member of a network, by its own id: a host, a client, an egress range.
    MemberId
);

macro_rules! member {
    ($($type:ident),*) => {
        $(
            impl From<$type> for MemberId {
                fn from(id: $type) -> Self {
                    Self::from_bytes(*id.as_bytes())
                }
            }

            impl PartialEq<$type> for MemberId {
                fn eq(&self, id: &$type) -> bool {
                    self.as_bytes() == id.as_bytes()
                }
            }
        )*
    };
}

member!(HostId, ClientId, EgressId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_wrote() {
        let id = HostId::new(Timestamp::from_millis(1_700_000_000_123), [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let bytes = minicbor::to_vec(id).unwrap();
        assert_eq!(bytes.len(), 17);
        assert_eq!(minicbor::decode::<HostId>(&bytes).unwrap(), id);
    }

    #[test]
    fn ids_made_later_sort_later() {
        let early = NodeId::new(Timestamp::from_millis(1_000), [255; 10]);
        let late = NodeId::new(Timestamp::from_millis(2_000), [0; 10]);
        assert!(early < late);
    }

    #[test]
    fn what_is_no_id_is_named_in_the_error() {
        let error = "web-01".parse::<HostId>().unwrap_err();
        assert!(error.to_string().contains("`web-01`"));
    }
}
