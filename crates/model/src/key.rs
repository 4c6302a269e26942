//! Public keys and digests: 32 bytes each, written in base64 as WireGuard's own tools do.
//!
//! Private keys are not here: they live where they are used (`wire::secret`), and never leave their machine.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64 at all.
    #[error("not a key: a key is 44 characters of base64, ending in `=`")]
    NotBase64,
    /// Base64 of something else.
    #[error("not a key: expected 32 bytes, found {0}")]
    WrongLength(usize),
}

fn parse(text: &str) -> Result<[u8; 32], KeyError> {
    if text.len() > 64 {
        return Err(KeyError::WrongLength(text.len() * 3 / 4));
    }
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| KeyError::NotBase64)?;
    let length = bytes.len();
    <[u8; 32]>::try_from(bytes).map_err(|_| KeyError::WrongLength(length))
}

macro_rules! key {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type([u8; 32]);

        impl $type {
            /// The key with exactly these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the key.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE64.encode(&self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }

        impl FromStr for $type {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        crate::cbor::byte_string!($type, 32);
    };
}

key!(
    /// A host's WireGuard public key (X25519, RFC 7748).
    WgPublicKey
);
key!(
    /// The key a host signs its requests with (Ed25519, RFC 8032).
    SigningPublicKey
);
key!(
    /// The key from which the sealed channel between server and host is agreed (X25519 for HPKE, RFC 9180).
    SealingPublicKey
);
key!(
    /// A SHA-256 digest: of a random secret that is itself not kept, or of a certificate's public key.
    Digest
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_wireguard_writes_it() {
        let key = WgPublicKey::from_bytes([0x42; 32]);
        let text = key.to_string();
        assert_eq!(text.len(), 44);
        assert_eq!(text.parse(), Ok(key));
    }

    #[test]
    fn wrong_texts_say_what_is_wrong() {
        assert_eq!("!!".parse::<WgPublicKey>(), Err(KeyError::NotBase64));
        assert_eq!("AAAA".parse::<WgPublicKey>(), Err(KeyError::WrongLength(3)));
        assert!("A".repeat(10_000).parse::<WgPublicKey>().is_err());
    }
}
