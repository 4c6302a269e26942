//! Whom policies speak of, and members of networks, as people write them: `tag:web`, `node:web-01`, `everything`.
//!
//! Not for finding out who that is: a name is looked up by the server, in the network that is spoken of.

use std::fmt;
use std::str::FromStr;

use model::{GroupName, HostName, Tag};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ClientSelector, EgressSelector, HostSelector, UserSelector};

/// The text names no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// None of the kinds there are.
    #[error(
        "`{0}` is no subject; subjects are everything, node:NAME, client:NAME, egress:NAME, tag:NAME, user:NAME and group:NAME"
    )]
    Kind(String),
    /// None of the kinds of members there are.
    #[error("`{0}` is no member; members are node:NAME, client:NAME, egress:NAME, or the bare name of one")]
    Member(String),
    /// What stands behind the colon cannot be.
    #[error("`{text}`: {reason}")]
    Name {
        /// The whole text.
        text: String,
        /// What is wrong with the name.
        reason: String,
    },
}

/// Whom a policy speaks of. Nodes, clients, egress ranges and users by id or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Every member of the network.
    Everything,
    /// One node, by its id or its host.
    Node(HostSelector),
    /// One client.
    Client(ClientSelector),
    /// One egress range.
    Egress(EgressSelector),
    /// Nodes and clients with this tag.
    Tag(Tag),
    /// The clients of this user.
    User(UserSelector),
    /// The clients of the users in this group.
    Group(GroupName),
}

/// One member of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A node, by its id or its host.
    Node(HostSelector),
    /// A client.
    Client(ClientSelector),
    /// An egress range.
    Egress(EgressSelector),
    /// Whatever has this name: a node, else a client, else an egress range.
    Any(HostName),
}

fn named<T: FromStr<Err: fmt::Display>>(text: &str, name: &str) -> Result<T, SubjectError> {
    let short = || text.chars().take(80).collect();
    name.parse().map_err(|error: T::Err| SubjectError::Name { text: short(), reason: error.to_string() })
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        if text == "everything" {
            return Ok(Self::Everything);
        }
        let unknown = || SubjectError::Kind(text.chars().take(80).collect());
        let (kind, name) = text.split_once(':').ok_or_else(unknown)?;
        match kind {
            "node" => named(text, name).map(Self::Node),
            "client" => named(text, name).map(Self::Client),
            "egress" => named(text, name).map(Self::Egress),
            "tag" => named(text, name).map(Self::Tag),
            "user" => named(text, name).map(Self::User),
            "group" => named(text, name).map(Self::Group),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Node(node) => write!(f, "node:{node}"),
            Self::Client(client) => write!(f, "client:{client}"),
            Self::Egress(egress) => write!(f, "egress:{egress}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Group(group) => write!(f, "group:{group}"),
        }
    }
}

impl FromStr for Member {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let Some((kind, name)) = text.split_once(':') else {
            return named(text, text).map(Self::Any);
        };
        match kind {
            "node" => named(text, name).map(Self::Node),
            "client" => named(text, name).map(Self::Client),
            "egress" => named(text, name).map(Self::Egress),
            _ => Err(SubjectError::Member(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node:{node}"),
            Self::Client(client) => write!(f, "client:{client}"),
            Self::Egress(egress) => write!(f, "egress:{egress}"),
            Self::Any(name) => name.fmt(f),
        }
    }
}

macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Subject, Member);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_reads_back() {
        for text in [
            "everything",
            "node:web-01",
            "client:phone",
            "egress:office",
            "tag:web",
            "user:anna@example.org",
            "group:staff",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in ["node:web-01", "client:phone", "egress:office", "phone"] {
            assert_eq!(text.parse::<Member>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |text: &str| text.parse::<Subject>().unwrap_err().to_string();
        assert!(told("web").starts_with("`web` is no subject; subjects are everything, node:NAME"));
        assert!(told("host:web").contains("is no subject"));
        assert!(told("tag:a b").contains("' '"), "{}", told("tag:a b"));
        let told = "tag:web".parse::<Member>().unwrap_err().to_string();
        assert!(told.contains("`tag:web` is no member"), "{told}");
    }
}
