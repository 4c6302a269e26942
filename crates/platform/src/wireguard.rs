//! How a WireGuard device is changed, the same for the kernel's own and for one in user space, and which of the two people
//! want.
//!
//! Not for speaking to a device: `uapi` has one protocol's text, `linux::wireguard` the other's messages. What a device is,
//! `reconcile::Device` says. It keeps true that a change says only what is to be different: what it does not name stays.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use model::{Endpoint, Keepalive, WgPublicKey};
use reconcile::LinkKind;
use wire::WgSecret;

/// Whose WireGuard people want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The kernel's where there is one, else a process.
    #[default]
    Auto,
    /// This one or none.
    Only(LinkKind),
}

/// A text that is no choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceError(String);

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no WireGuard implementation; write auto, kernel or userspace", self.0)
    }
}

impl std::error::Error for ChoiceError {}

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Only(LinkKind::Kernel)),
            "userspace" => Ok(Self::Only(LinkKind::Userspace)),
            _ => Err(ChoiceError(text.chars().take(32).collect())),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Only(kind) => kind.fmt(f),
        }
    }
}

/// What is to be different about a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DeviceChange {
    /// A new private key.
    pub(crate) private_key: Option<WgSecret>,
    /// Another UDP port.
    pub(crate) listen_port: Option<u16>,
    /// The firewall mark of what it sends; 0 for none.
    pub(crate) mark: Option<u32>,
    /// Changes to peers, in order.
    pub(crate) peers: Vec<PeerChange>,
}

/// What is to be different about a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerChange {
    /// The peer.
    pub(crate) key: WgPublicKey,
    /// What happens to it.
    pub(crate) step: PeerStep,
}

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerStep {
    /// It is made, or changed if it is there.
    Put(PeerSettings),
    /// The same, but nothing happens if it is not there.
    Update(PeerSettings),
    /// It goes.
    Remove,
}

/// Settings of a peer. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PeerSettings {
    /// Where datagrams for it are sent.
    pub(crate) endpoint: Option<Endpoint>,
    /// The keepalive, or none.
    pub(crate) keepalive: Option<Option<Keepalive>>,
    /// The addresses it may use.
    pub(crate) allowed: Allowed,
}

/// What happens to a peer's addresses. An address that another peer had moves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Allowed {
    /// They stay.
    #[default]
    Same,
    /// These besides.
    More(Vec<IpNet>),
    /// Exactly these.
    Exactly(Vec<IpNet>),
}

impl Allowed {
    /// The addresses that are named.
    pub(crate) fn named(&self) -> &[IpNet] {
        match self {
            Self::Same => &[],
            Self::More(nets) | Self::Exactly(nets) => nets,
        }
    }
}

impl PeerStep {
    /// The settings, unless it goes.
    pub(crate) fn settings(&self) -> Option<&PeerSettings> {
        match self {
            Self::Put(settings) | Self::Update(settings) => Some(settings),
            Self::Remove => None,
        }
    }
}

impl PeerSettings {
    /// As the seconds that both protocols take: 0 for none.
    pub(crate) fn keepalive_seconds(&self) -> Option<u16> {
        self.keepalive.map(|keepalive| keepalive.map_or(0, Keepalive::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_back_and_a_wrong_one_names_the_right_ones() {
        for text in ["auto", "kernel", "userspace"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        let text = "go".parse::<Choice>().unwrap_err().to_string();
        assert!(text.contains("`go`") && text.contains("userspace"), "{text}");
    }
}
