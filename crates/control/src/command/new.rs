//! What commands make or register, where it has many parts.
//!
//! Not for checking it: that is `decide`'s.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    Addresses, Digest, HostName, Keepalive, Mtu, NetworkId, NodeId, Router, SealingPublicKey, Service,
    SigningPublicKey, Subject, Tag, Timestamp, Title, UserId, WgPublicKey,
};
use wire::HostSettings;

/// A registration whose proofs were verified, with the digest of the enrollment key's secret in place of the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Digest of the enrollment key's secret; none for a known host that only renews what it registered.
    pub enrollment: Option<Digest>,
    /// What the machine calls itself.
    pub hostname: HostName,
    /// Its WireGuard key.
    pub wireguard_key: WgPublicKey,
    /// The key it signs with.
    pub signing_key: SigningPublicKey,
    /// Its end of the sealed channel.
    pub sealing_key: SealingPublicKey,
    /// The encapsulated key of its HPKE hand-over.
    pub encapsulated: SealingPublicKey,
    /// The server's key that the channel was agreed with.
    pub server: Option<SealingPublicKey>,
    /// What its own settings say. What they leave open stays as it is.
    pub settings: HostSettings,
    /// Addresses it would have in the networks it joins; none: any.
    pub addresses: Vec<IpAddr>,
}

impl Register {
    /// Of a verified registration, the digest of its enrollment secret (`wire::TokenSecret::digest`), and the server's sealing key.
    pub fn of(
        registration: wire::Registration,
        enrollment: Option<Digest>,
        server: SealingPublicKey,
    ) -> Self {
        let wire::Registration {
            enrollment: _,
            hostname,
            wireguard_key,
            signing_key,
            sealing_key,
            encapsulated,
            settings,
            facts: _,
            time: _,
            addresses,
        } = registration;
        Self {
            enrollment,
            hostname,
            wireguard_key,
            signing_key,
            sealing_key,
            encapsulated,
            server: Some(server),
            settings,
            addresses,
        }
    }
}

/// A client to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClient {
    /// The network.
    pub network: NetworkId,
    /// Its name.
    pub name: HostName,
    /// Its WireGuard key.
    pub key: WgPublicKey,
    /// Its addresses; what is left open is handed out.
    pub addresses: Option<Addresses>,
    /// The gateways that let it in, best first.
    pub gateways: Vec<NodeId>,
    /// Whose it is.
    pub owner: Option<UserId>,
    /// Whether it is let in.
    pub enabled: bool,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
    /// From when on it is let in no longer.
    pub expires: Option<Timestamp>,
    /// Ranges behind it.
    pub ranges: BTreeSet<IpNet>,
    /// Whether everything it sends goes through the gateway.
    pub full_tunnel: bool,
    /// Whom it asks for names; none: its gateway. Empty: its own choice stays.
    pub dns: Option<Vec<IpAddr>>,
    /// The MTU of its interface.
    pub mtu: Option<Mtu>,
    /// Its keepalive; none: the network's.
    pub keepalive: Option<Keepalive>,
}

/// A way to a range outside of a network, to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEgress {
    /// The network whose members use it.
    pub network: NetworkId,
    /// Its name.
    pub name: HostName,
    /// The range as it is behind the routers.
    pub range: IpNet,
    /// The range under which members reach it, where it is to be another.
    pub mapped: Option<IpNet>,
    /// Who leads there.
    pub routers: BTreeSet<Router>,
    /// Whether machines there see the router's address.
    pub nat: bool,
    /// Whether it is in use.
    pub enabled: bool,
}

/// A policy to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPolicy {
    /// The network.
    pub network: NetworkId,
    /// What people call it.
    pub name: Title,
    /// Whether it counts.
    pub enabled: bool,
    /// Who may open connections.
    pub from: BTreeSet<Subject>,
    /// To whom.
    pub to: BTreeSet<Subject>,
    /// By what; none is everything.
    pub services: BTreeSet<Service>,
    /// Whether the other way round too.
    pub both: bool,
}
