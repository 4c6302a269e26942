//! Grants: who may open connections to whom, in words that do not change when members come and go.
//!
//! Sources and destinations are named by class, so that a newcomer with a tag needs one entry in its peers' maps and no new
//! grants. A class is a number that tells whether two members share it. No names of tags and groups travel, but the number is a
//! plain hash: whoever guesses a name can try it (ADR 15).

use minicbor::{Decode, Encode};
use model::{MemberId, NetworkId, Service};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Members of one network that policy may name together, by a number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Class(u64);

impl Class {
    /// The class of what is called `name` among things of this kind: the first eight bytes of SHA-256 over network, kind and
    /// name.
    pub fn new(network: NetworkId, kind: &str, name: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix(network.as_bytes())
            .chain_update(kind)
            .chain_update([0])
            .chain_update(name);
        let hash = hash.finalize();
        Self(hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The class with this number.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// One side of a grant.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub enum Party {
    /// Every member of the network.
    #[n(0)]
    Everything,
    /// The members of a class.
    #[n(1)]
    Class(#[n(0)] Class),
    /// One member; the host itself by its own id.
    #[n(2)]
    Member(#[n(0)] MemberId),
    /// Whatever is in no network: what an internet gateway leads to.
    #[n(3)]
    Outside,
}

/// Members that may open connections to others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Grant {
    /// Any of these …
    #[n(0)]
    pub from: Vec<Party>,
    /// … to any of these, of which the host is one or leads to it …
    #[n(1)]
    pub to: Vec<Party>,
    /// … by any of these; none is by everything.
    #[cbor(n(2), default, skip_if = "Vec::is_empty")]
    pub services: Vec<Service>,
}
