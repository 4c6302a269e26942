//! Paths in words: what `netclient status` and `netclient peers` show.

use std::fmt;

use model::Endpoint;
use serde::{Deserialize, Serialize};
use wire::NatMapping;

use super::{Own, PathKind, PeerView};

/// How things stand with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "path")]
pub enum PathStatus {
    /// Datagrams go to and fro.
    Direct {
        /// Where the peer is.
        endpoint: Endpoint,
        /// What the path runs over.
        kind: PathKind,
    },
    /// It worked a moment ago; this machine or the peer has moved.
    Checking {
        /// Where the peer was last.
        endpoint: Endpoint,
    },
    /// Its addresses are being tried.
    Trying {
        /// The one that has its turn.
        endpoint: Option<Endpoint>,
        /// How many there are.
        addresses: usize,
    },
    /// Nothing worked so far; it is tried again from time to time, and at once when its addresses change.
    Unreachable(Obstacle),
}

/// Why a peer cannot be reached, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Obstacle {
    /// No address of it is known.
    NoAddress,
    /// Neither NAT keeps one mapping.
    BothPerDestination,
    /// This machine's NAT makes a mapping per destination.
    OwnPerDestination,
    /// The peer's NAT makes a mapping per destination.
    PeerPerDestination,
    /// Nothing answers.
    NoAnswer {
        /// At how many addresses.
        addresses: usize,
    },
}

impl Obstacle {
    pub(super) fn of(own: &Own, peer: &PeerView, addresses: usize) -> Self {
        match (own.nat, peer.nat) {
            _ if addresses == 0 => Self::NoAddress,
            (NatMapping::PerDestination, NatMapping::PerDestination) => Self::BothPerDestination,
            (NatMapping::PerDestination, NatMapping::Unknown | NatMapping::Endpoint) => {
                Self::OwnPerDestination
            }
            (NatMapping::Unknown | NatMapping::Endpoint, NatMapping::PerDestination) => {
                Self::PeerPerDestination
            }
            (NatMapping::Unknown | NatMapping::Endpoint, NatMapping::Unknown | NatMapping::Endpoint) => {
                Self::NoAnswer { addresses }
            }
        }
    }
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lan => "LAN",
            Self::Fixed => "address set by hand",
            Self::Ipv6 => "IPv6",
            Self::Seen => "direct",
            Self::Routed => "private network",
            Self::Learned => "direct, address learned from it",
        })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => {
                f.write_str("no address of it is known: it is off, or cannot send UDP to the server")
            }
            Self::BothPerDestination => f.write_str(
                "both NATs map per destination, so neither side can be told where the other will be; \
                 forward a UDP port on one of them and set it as static endpoint",
            ),
            Self::OwnPerDestination => f.write_str(
                "the NAT of this machine maps per destination, and the peer lets in only whom it knows; \
                 forward a UDP port to either and set it as static endpoint",
            ),
            Self::PeerPerDestination => f.write_str(
                "the peer's NAT maps per destination, and this machine's lets in only whom it knows; \
                 forward a UDP port to either and set it as static endpoint",
            ),
            Self::NoAnswer { addresses: 1 } => {
                f.write_str("no answer at its only address: it is off, or a firewall in between drops UDP")
            }
            Self::NoAnswer { addresses } => {
                write!(
                    f,
                    "no answer at any of its {addresses} addresses: it is off, or a firewall in between drops UDP"
                )
            }
        }
    }
}

impl fmt::Display for PathStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { endpoint, kind } => write!(f, "{kind} ({endpoint})"),
            Self::Checking { endpoint } => write!(f, "checking after a change ({endpoint})"),
            Self::Trying { endpoint: Some(endpoint), addresses } => {
                write!(f, "trying {endpoint}, one of {addresses} addresses")
            }
            Self::Trying { endpoint: None, .. } => f.write_str("waiting for an address"),
            Self::Unreachable(obstacle) => write!(f, "unreachable: {obstacle}"),
        }
    }
}
