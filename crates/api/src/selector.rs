//! What names a thing in a path, a query or a body: its id, or its name or title.
//!
//! A text may be both (a host called like a UUID). The id is tried first, then the name.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use model::{
    ClientId, DnsName, EgressId, EnrollmentKeyId, HostId, HostName, NetworkId, NetworkName, PolicyId, Title,
    UpstreamId, UserId, UserName,
};
use serde::{Deserialize, Deserializer, Serialize};

/// The text is neither an id nor a name of that kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an id nor a name")]
pub struct SelectorError(String);

/// An id, a name, or a text that could be both.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Selector<I, N> {
    text: String,
    #[serde(skip)]
    kinds: PhantomData<(I, N)>,
}

/// A network, by id or name.
pub type NetworkSelector = Selector<NetworkId, NetworkName>;
/// A host, by id or name.
pub type HostSelector = Selector<HostId, HostName>;
/// An enrollment key, by id or title.
pub type KeySelector = Selector<EnrollmentKeyId, Title>;
/// A client, by id or name.
pub type ClientSelector = Selector<ClientId, HostName>;
/// An egress range, by id or name.
pub type EgressSelector = Selector<EgressId, HostName>;
/// A policy, by id or name.
pub type PolicySelector = Selector<PolicyId, Title>;
/// Name servers for a domain, by id or domain.
pub type UpstreamSelector = Selector<UpstreamId, DnsName>;
/// A user, by id or name.
pub type UserSelector = Selector<UserId, UserName>;

impl<I: FromStr, N: FromStr> Selector<I, N> {
    /// The id, if it can be one.
    pub fn id(&self) -> Option<I> {
        self.text.parse().ok()
    }

    /// The name, if it can be one.
    pub fn name(&self) -> Option<N> {
        self.text.parse().ok()
    }
}

impl<I, N: fmt::Display> Selector<I, N> {
    /// What has this name.
    pub fn named(name: &N) -> Self {
        Self { text: name.to_string(), kinds: PhantomData }
    }
}

impl<I: fmt::Display, N> Selector<I, N> {
    /// What has this id.
    pub fn with_id(id: &I) -> Self {
        Self { text: id.to_string(), kinds: PhantomData }
    }
}

impl<I, N> Selector<I, N> {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<I: FromStr, N: FromStr> FromStr for Selector<I, N> {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.parse::<I>().is_err() && text.parse::<N>().is_err() {
            return Err(SelectorError(text.chars().take(64).collect()));
        }
        Ok(Self { text: text.to_owned(), kinds: PhantomData })
    }
}

impl<I, N> fmt::Display for Selector<I, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<I, N> fmt::Debug for Selector<I, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({})", self.text)
    }
}

impl<'de, I: FromStr, N: FromStr> Deserialize<'de> for Selector<I, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_an_id_a_name_or_refused() {
        let name: NetworkSelector = "Home".parse().unwrap();
        assert_eq!((name.id(), name.name()), (None, "home".parse().ok()));
        let both: HostSelector = "0195b7a2-7c3e-7d4f-8a51-0123456789ab".parse().unwrap();
        assert!(both.id().is_some() && both.name().is_some());
        assert!("my net".parse::<NetworkSelector>().is_err());
    }
}
