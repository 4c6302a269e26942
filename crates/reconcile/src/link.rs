//! The name and the kind of a network link.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The text cannot be a link's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be an interface name: 1 to 15 letters, digits, `-`, `_` or `.`, not starting with `-` or `.`"
)]
pub struct LinkNameError(String);

/// A name that Linux takes for a link and that no shell or path can misread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LinkName(String);

impl LinkName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LinkName {
    /// `netloom0`.
    fn default() -> Self {
        Self("netloom0".to_owned())
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LinkName {
    type Err = LinkNameError;

    fn from_str(text: &str) -> Result<Self, LinkNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good =
            (1..=15).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with(['-', '.']);
        if !good {
            return Err(LinkNameError(text.chars().take(40).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for LinkName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whose WireGuard drives a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// The kernel's own.
    Kernel,
    /// Our userspace device, in a process of its own behind a TUN link.
    Userspace,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_linux_takes_is_a_name() {
        for good in ["netloom0", "wg0", "a", "fifteen-letters", "eth0.5"] {
            assert_eq!(good.parse::<LinkName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "sixteen-letters-", "-x", "ä", "a\n"] {
            assert!(bad.parse::<LinkName>().is_err(), "{bad:?}");
        }
    }
}
