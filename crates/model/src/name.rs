//! Names that people choose. Those of hosts and networks are DNS labels (RFC 1035, 2.3.1), because names become DNS.
//!
//! Upper case is folded on the way in; nothing else is changed silently.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Longer than the kind allows.
    #[error("the {what} has {found} characters; at most {most} are allowed")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// Its length in characters.
        found: usize,
        /// The longest length allowed.
        most: usize,
    },
    /// A character that the kind does not allow.
    #[error("the {what} `{name}` has the character {character:?}; allowed are {allowed}")]
    Character {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        name: String,
        /// The first character that is not allowed.
        character: char,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A name that begins or ends with a hyphen.
    #[error("the {what} `{name}` begins or ends with a hyphen; DNS does not allow that")]
    Hyphen {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        name: String,
    },
}

struct Rule {
    what: &'static str,
    most: usize,
    allowed: &'static str,
    permits: fn(char) -> bool,
    label: bool,
}

impl Rule {
    fn check(&self, text: &str) -> Result<(), NameError> {
        let Rule { what, most, allowed, permits, label } = *self;
        if text.is_empty() {
            return Err(NameError::Empty(what));
        }
        let found = text.chars().count();
        if found > most {
            return Err(NameError::TooLong { what, found, most });
        }
        if let Some(character) = text.chars().find(|c| !permits(*c)) {
            return Err(NameError::Character { what, name: text.to_owned(), character, allowed });
        }
        if label && (text.starts_with('-') || text.ends_with('-')) {
            return Err(NameError::Hyphen { what, name: text.to_owned() });
        }
        Ok(())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, fold: $fold:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            const RULE: Rule = $rule;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let text = if $fold { text.to_ascii_lowercase() } else { text.to_owned() };
                Self::RULE.check(&text)?;
                Ok(Self(text))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                d.str()?.parse().map_err(minicbor::decode::Error::custom)
            }
        }
    };
}

fn is_label(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn is_account(c: char) -> bool {
    is_label(c) || matches!(c, '.' | '_' | '@' | '+')
}

fn is_title(c: char) -> bool {
    !c.is_control()
}

name!(
    /// A host's name: a DNS label of 1 to 63 characters.
    HostName, fold: true,
    Rule { what: "host name", most: 63, allowed: "a-z, 0-9 and -", permits: is_label, label: true }
);
name!(
    /// A network's name: a DNS label of 1 to 32 characters.
    NetworkName, fold: true,
    Rule { what: "network name", most: 32, allowed: "a-z, 0-9 and -", permits: is_label, label: true }
);
name!(
    /// A user's log-in name, 1 to 64 characters.
    UserName, fold: true,
    Rule { what: "user name", most: 64, allowed: "a-z, 0-9 and - . _ @ +", permits: is_account, label: false }
);
name!(
    /// A free title for keys and tokens, 1 to 64 characters without control characters.
    Title, fold: false,
    Rule { what: "title", most: 64, allowed: "everything but control characters", permits: is_title, label: false }
);

name!(
    /// A name for a set of nodes and clients: 1 to 63 characters.
    Tag, fold: true,
    Rule { what: "tag", most: 63, allowed: "a-z, 0-9 and -", permits: is_label, label: true }
);
name!(
    /// A name for a set of users: 1 to 63 characters.
    GroupName, fold: true,
    Rule { what: "group name", most: 63, allowed: "a-z, 0-9 and -", permits: is_label, label: true }
);

impl HostName {
    /// The nearest host name to what a machine calls itself: the first label of its hostname, other characters
    /// as hyphens. `host` where nothing is left.
    pub fn nearest(hostname: &str) -> Self {
        let label = hostname.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let mapped: String = label.chars().map(|c| if is_label(c) { c } else { '-' }).take(63).collect();
        let trimmed = mapped.trim_matches('-');
        Self(if trimmed.is_empty() { "host".to_owned() } else { trimmed.to_owned() })
    }

    /// This name with `-number` behind it, cut so that it stays a label: the way out when a name is taken.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let head: String = self.0.chars().take(63 - suffix.len()).collect();
        Self(format!("{}{suffix}", head.trim_end_matches('-')))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn upper_case_is_folded_and_the_rest_refused() {
        assert_eq!("Web-01".parse::<HostName>().unwrap().as_str(), "web-01");
        assert!("web_01".parse::<HostName>().is_err());
        assert!("-web".parse::<HostName>().is_err());
        assert!("".parse::<NetworkName>().is_err());
        assert!("x".repeat(64).parse::<HostName>().is_err());
    }

    #[test]
    fn an_error_names_the_character_and_what_is_allowed() {
        let text = "my net".parse::<NetworkName>().unwrap_err().to_string();
        assert!(text.contains("' '") && text.contains("a-z, 0-9 and -"), "{text}");
    }

    proptest! {
        #[test]
        fn the_nearest_name_is_always_a_name(hostname in ".{0,100}", number in 0u32..) {
            let name = HostName::nearest(&hostname);
            prop_assert_eq!(name.as_str().parse::<HostName>().unwrap(), name.clone());
            let numbered = name.numbered(number);
            prop_assert_eq!(numbered.as_str().parse::<HostName>().unwrap(), numbered);
        }
    }
}
