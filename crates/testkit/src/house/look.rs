//! What `netclient status --json` says, as far as tests and the demo read it.
//!
//! Not the agent's own type: whoever reads its JSON from outside has no other contract than the field names.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{Addresses, Endpoint};
use reconcile::{LinkKind, PathStatus};
use serde::Deserialize;

/// All of it; beside the state there is a judgement for people.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    pub(super) state: Look,
}

/// The state.
#[derive(Debug, Clone, Deserialize)]
pub struct Look {
    /// Whether the daemon runs.
    pub daemon: bool,
    /// Its interface.
    pub interface: Option<InterfaceLook>,
    /// Its networks.
    pub networks: Vec<NetworkLook>,
    /// Its peers.
    pub peers: Vec<PeerLook>,
}

/// The interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InterfaceLook {
    /// Its name.
    pub name: String,
    /// Whose WireGuard drives it; none when it is not there.
    pub wireguard: Option<LinkKind>,
    /// Its index.
    pub index: Option<u32>,
    /// Its UDP port.
    pub port: u16,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NetworkLook {
    /// Its name.
    pub name: String,
    /// The host's addresses in it.
    pub addresses: Vec<IpAddr>,
    /// Whether the host takes part.
    pub connected: bool,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PeerLook {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub networks: Vec<PeerNetworkLook>,
    /// How things stand with it.
    pub path: Option<PathStatus>,
    /// Where its datagrams go.
    pub endpoint: Option<Endpoint>,
}

/// A network shared with a peer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PeerNetworkLook {
    /// Its name.
    pub network: String,
    /// The peer's addresses in it.
    #[serde(flatten)]
    pub addresses: Addresses,
}

impl Look {
    /// The peer of this name.
    pub fn peer(&self, name: &str) -> Option<&PeerLook> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// All addresses the host has in its networks.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.networks.iter().flat_map(|network| network.addresses.iter().copied()).collect()
    }
}
