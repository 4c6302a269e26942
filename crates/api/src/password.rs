//! Passwords and other secrets on their way in. `Debug` shows nothing, and memory is wiped when they go.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Why a password cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Fewer than 10 characters.
    #[error("the password has {0} characters; at least {least} are needed", least = Password::LEAST)]
    Short(usize),
    /// More than 256 characters.
    #[error("the password has {0} characters; at most {most} are allowed", most = Password::MOST)]
    Long(usize),
}

/// A secret that is compared with one that is known: a password at log-in, the set-up code.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The longest that is looked at, in bytes.
    pub const MOST: usize = 1024;

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        if text.is_empty() || text.len() > Self::MOST {
            return Err(serde::de::Error::custom("1 to 1024 bytes are expected"));
        }
        Ok(Self(text))
    }
}

/// A new password: 10 to 256 characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Secret);

impl Password {
    /// The fewest characters.
    pub const LEAST: usize = 10;
    /// The most characters.
    pub const MOST: usize = 256;

    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl FromStr for Password {
    type Err = PasswordError;

    fn from_str(text: &str) -> Result<Self, PasswordError> {
        match text.chars().count() {
            short if short < Self::LEAST => Err(PasswordError::Short(short)),
            long if long > Self::MOST => Err(PasswordError::Long(long)),
            _ => Ok(Self(Secret::from(text.to_owned()))),
        }
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! silent {
    ($type:ident) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), "(…)"))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.expose())
            }
        }
    };
}

silent!(Secret);
silent!(Password);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_10_to_256_characters_and_is_never_shown() {
        assert_eq!("ninechars".parse::<Password>(), Err(PasswordError::Short(9)));
        assert_eq!("ä".repeat(257).parse::<Password>(), Err(PasswordError::Long(257)));
        let password: Password = "ä".repeat(256).parse().unwrap();
        assert_eq!(format!("{password:?}"), "Password(…)");
        let error = serde_json::from_str::<Password>("\"geheim\"").unwrap_err().to_string();
        assert!(error.contains("6 characters") && !error.contains("geheim"), "{error}");
    }
}
