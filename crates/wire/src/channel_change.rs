//! Another sealed channel for a host that is known, agreed with the sealing key that the servers change to.
//!
//! The request is signed like every one of a host, and the agreement itself proves the host's sealing key: whoever has not got
//! that makes a channel that opens nothing.

use minicbor::{Decode, Encode};
use model::SealingPublicKey;

/// What the server needs to come to the same channel. Saying it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChannelChange {
    /// The server's key that it was agreed with: `NextKeys::sealing`.
    #[n(0)]
    pub server: SealingPublicKey,
    /// What the agreement sends over.
    #[n(1)]
    pub encapsulated: SealingPublicKey,
}
