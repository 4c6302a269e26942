//! What a member is to this host.
//!
//! Not for how it is reached (`reach`). It keeps true that nodes judge themselves, whoever carries them, and that whoever
//! cannot is judged by those who carry it.

use model::HostId;
use wire::{HostMap, Peer, PeerNode};

/// What a member is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Reached directly, or through somebody else.
    Other,
    /// A node that is reached through this one.
    Relayed,
    /// A client of this gateway.
    Client,
    /// A range that this host leads to.
    Range,
}

impl Standing {
    /// Of a member by one of its nodes.
    pub(crate) fn of(own: HostId, node: &PeerNode) -> Self {
        if !node.via.contains(&own) {
            return Self::Other;
        }
        match (node.relayed, node.addresses.iter().next()) {
            (true, _) => Self::Relayed,
            (false, Some(_)) => Self::Client,
            (false, None) => Self::Range,
        }
    }

    /// Whether what goes to it is judged by this host on its behalf.
    pub(crate) const fn is_judged_here(self) -> bool {
        match self {
            Self::Client | Self::Range => true,
            Self::Other | Self::Relayed => false,
        }
    }
}

/// Whether a peer is a client of this gateway: it calls, and is never called.
pub(crate) fn is_client(map: &HostMap, peer: &Peer) -> bool {
    peer.nodes.iter().any(|node| Standing::of(map.host.id, node) == Standing::Client)
}
