//! What a member is to this host.
//!
//! Not for how it is reached (`reach`). It keeps true that nodes judge themselves, whoever carries them, and that whoever
//! cannot is judged by the one who carries it.

use model::{HostId, MemberId};
use wire::{HostMap, Peer, PeerNode};

/// What a member is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Reached directly, or through somebody else.
    Other,
    /// A node that is reached through this one.
    Relayed,
    /// A client that comes in here.
    Client,
    /// A client of this gateway that came in by another one, which judges what goes to it.
    Away,
    /// A range that this host leads to.
    Range,
}

impl Standing {
    /// Of a member by one of its nodes, and by who carries what it has.
    pub(crate) fn of(own: HostId, member: MemberId, node: &PeerNode, carrier: MemberId) -> Self {
        if is_own_client(own, node) {
            return if carrier == member { Self::Client } else { Self::Away };
        }
        match (node.via.contains(&own), node.relayed) {
            (false, _) => Self::Other,
            (true, true) => Self::Relayed,
            (true, false) => Self::Range,
        }
    }

    /// Whether what goes to it is judged by this host on its behalf.
    pub(crate) const fn is_judged_here(self) -> bool {
        match self {
            Self::Client | Self::Range => true,
            Self::Other | Self::Relayed | Self::Away => false,
        }
    }
}

/// Whether a node is that of a client of this gateway, wherever it came in.
pub(crate) fn is_own_client(own: HostId, node: &PeerNode) -> bool {
    node.via.contains(&own) && !node.relayed && node.addresses.iter().next().is_some()
}

/// Whether a peer is a client of this gateway: it calls, and is never called.
pub(crate) fn is_client(map: &HostMap, peer: &Peer) -> bool {
    peer.nodes.iter().any(|node| is_own_client(map.host.id, node))
}
