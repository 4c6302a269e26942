//! Numbers that people set, each within the bounds in which it works.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a number cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{given}` is not possible; allowed are {allowed}")]
pub struct SettingError {
    what: &'static str,
    given: String,
    allowed: &'static str,
}

macro_rules! bounded {
    ($(#[$doc:meta])* $type:ident, $what:literal, $allowed:literal, $low:literal..=$high:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(u16);

        impl $type {
            /// Checks the bounds.
            pub fn new(number: u16) -> Result<Self, SettingError> {
                if !($low..=$high).contains(&number) {
                    return Err(Self::refuse(&number.to_string()));
                }
                Ok(Self(number))
            }

            /// The number.
            pub const fn get(self) -> u16 {
                self.0
            }

            fn refuse(given: &str) -> SettingError {
                SettingError { what: $what, given: given.chars().take(32).collect(), allowed: $allowed }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = SettingError;

            fn from_str(text: &str) -> Result<Self, SettingError> {
                text.parse().map_err(|_| Self::refuse(text)).and_then(Self::new)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(u16::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.u16(self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                Self::new(d.u16()?).map_err(minicbor::decode::Error::custom)
            }
        }
    };
}

bounded!(
    /// The MTU of the WireGuard interface, in bytes. IPv6 needs 1280.
    Mtu, "MTU", "1280 to 9000 bytes", 1280..=9000
);
bounded!(
    /// Seconds between WireGuard keepalives to a peer; they hold NAT mappings open.
    Keepalive, "keepalive", "1 to 300 seconds", 1..=300
);

impl Mtu {
    /// WireGuard's usual 1420: 1500 less 40 (IPv6), 8 (UDP) and 32 (WireGuard).
    pub const DEFAULT: Self = Self(1420);
}

impl Keepalive {
    /// Twenty seconds: below the 30 seconds after which common NATs forget a UDP mapping.
    pub const DEFAULT: Self = Self(20);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_are_named() {
        assert!(Mtu::new(1279).is_err());
        assert_eq!("1420".parse(), Ok(Mtu::DEFAULT));
        let text = "fast".parse::<Keepalive>().unwrap_err().to_string();
        assert!(text.contains("`fast`") && text.contains("1 to 300 seconds"), "{text}");
    }
}
