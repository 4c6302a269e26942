//! What is sealed downwards.

use minicbor::{Decode, Encode};
use model::{Generation, NetworkName};

use crate::{Delta, PartsHead};

/// A message pushed to an agent. One that cannot be read makes the agent ask for its map.
#[expect(clippy::large_enum_variant, reason = "nearly every message is a delta, and none is kept")]
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Down {
    /// The next change of its map.
    #[n(0)]
    Delta(#[n(0)] Delta),
    /// Fetch the map: what changed is too much to push, or not known any more.
    #[n(1)]
    Fetch(#[n(0)] Generation),
    /// The host was removed by an administrator: everything of this server is to be taken down.
    #[n(2)]
    Removed,
}

/// The head of the answer to a [`MapRequest`](crate::MapRequest): the first of its frames.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MapReply {
    /// What it has is current, and this is its generation now.
    #[n(0)]
    Current(#[n(0)] Generation),
    /// What it missed.
    #[n(2)]
    Delta(#[n(0)] Delta),
    /// The buckets that differ. In the frames that follow are lists of [`Part`](crate::Part).
    #[n(3)]
    Parts(#[n(0)] PartsHead),
}

/// A host's wish to take part in one of its networks, or to pause.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NodeSwitch {
    /// The network.
    #[n(0)]
    pub network: NetworkName,
    /// Whether to take part.
    #[n(1)]
    pub connected: bool,
}
