//! A host, as it registered and as people set it. What it merely reports is inventory (`control::inventory`).

use serde::{Deserialize, Serialize};

use crate::{Endpoint, HostId, HostName, Mtu, SealingPublicKey, SigningPublicKey, Timestamp, WgPublicKey};

/// What the server needs to agree the sealed channel with a host again: both are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingIdentity {
    /// The host's static sealing key.
    pub key: SealingPublicKey,
    /// The encapsulated key of its HPKE hand-over to the server (32 bytes for X25519).
    pub encapsulated: SealingPublicKey,
    /// The server's key that it was agreed with; none: the first one that the server had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SealingPublicKey>,
}

/// A machine with an identity, one WireGuard key, and one interface for all its networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its identity.
    pub id: HostId,
    /// Its name, unique among hosts.
    pub name: HostName,
    /// Its WireGuard key, unique among hosts.
    pub wireguard_key: WgPublicKey,
    /// The key it signs with, unique among hosts: this is how a host that registers again is known.
    pub signing_key: SigningPublicKey,
    /// Its end of the sealed channel.
    pub sealing: SealingIdentity,
    /// The MTU of its interface, when it is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// An endpoint set by hand: tried besides those that are seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_endpoint: Option<Endpoint>,
    /// Whether it joins every new network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// Whether it is removed once it has been away for a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
    /// Whether it is to make itself a new WireGuard key; over when it registers one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotate: bool,
    /// Since when it is asked for that or, where it is not, has waited for its turn: hosts are asked one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_since: Option<Timestamp>,
    /// When it last brought another WireGuard key; none where it has the one that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekeyed: Option<Timestamp>,
    /// When it first registered.
    pub created: Timestamp,
}
