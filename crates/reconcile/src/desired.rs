//! What this machine should have, derived from its host map and its own settings.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Endpoint, Keepalive, Mtu, WgPublicKey};

use crate::{LinkKind, LinkName};

/// What should exist under the link's name. Holds no private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The link's name.
    pub link: LinkName,
    /// This host's key: a WireGuard link with another key is somebody else's, whatever its name.
    pub key: WgPublicKey,
    /// The interface; none when the machine is to be as if we had never been there.
    pub interface: Option<Interface>,
}

/// The one interface of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Whose WireGuard.
    pub kind: LinkKind,
    /// Its MTU.
    pub mtu: Mtu,
    /// Its UDP port.
    pub port: u16,
    /// Its addresses, each alone (/32, /128): the ranges are reached by `routes`.
    pub addresses: BTreeSet<IpAddr>,
    /// The networks' ranges and the address to speak from there.
    pub routes: BTreeMap<IpNet, IpAddr>,
    /// Its WireGuard peers, those of the rendezvous too.
    pub peers: BTreeMap<WgPublicKey, DesiredPeer>,
}

/// A WireGuard peer as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredPeer {
    /// Its addresses; no two peers share one. Empty for the rendezvous.
    pub allowed: BTreeSet<IpNet>,
    /// Its persistent keepalive.
    pub keepalive: Keepalive,
    /// Where to start. A peer that has an endpoint already keeps it: WireGuard's own roaming and `Paths` move it.
    pub endpoint: Option<Endpoint>,
}

impl Desired {
    /// Nothing of ours.
    pub const fn absent(link: LinkName, key: WgPublicKey) -> Self {
        Self {
            link,
            key,
            interface: None,
        }
    }
}
