//! What the agent shows of itself: data, made by the daemon or from the state on disk, read by every command that shows
//! something, and printed as it is by `--json`.
//!
//! Not for words (`command::status`). Field names are a contract with scripts: they are added to, not changed.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    Addresses, Endpoint, Generation, HostId, HostName, MemberId, NetworkName, Timestamp, WgPublicKey,
};
use reconcile::{LinkKind, LinkName, PathStatus};
use serde::{Deserialize, Serialize};
use wire::{NatMapping, Outcome};

/// Everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    /// The version of the daemon, or of this program where none runs.
    pub version: String,
    /// Whether the daemon made this.
    pub daemon: bool,
    /// Why nothing is done; none when all is as usual.
    pub idle: Option<Idle>,
    /// The server in use.
    pub server: Option<ServerView>,
    /// This host, once its map is known.
    pub host: Option<HostView>,
    /// The interface.
    pub interface: Option<InterfaceView>,
    /// Ops that failed, and the map that could not be written.
    pub failures: Vec<Outcome>,
    /// The networks.
    pub networks: Vec<NetworkView>,
    /// The peers.
    pub peers: Vec<PeerView>,
}

/// Why the daemon does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    /// No server was joined, or none is in use.
    NotJoined,
    /// The server has removed this host.
    Removed(HostName),
    /// The disk was copied from another machine.
    Copied,
    /// Something is wrong with this machine.
    Broken(String),
}

/// The server in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerView {
    /// What it is called here.
    pub name: HostName,
    /// Its address.
    pub url: String,
    /// Since when this daemon talks to it.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// When it last answered this daemon.
    pub answered: Option<Timestamp>,
    /// Why it did not, the last time it was asked.
    pub error: Option<String>,
    /// Whether changes are pushed.
    pub pushes: bool,
    /// Why they are not.
    pub push_error: Option<String>,
    /// Where the rendezvous is, and whether it answers.
    pub rendezvous: Vec<RendezvousView>,
}

/// One identity of the rendezvous.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RendezvousView {
    /// Where it is; none while its name is not resolved.
    pub endpoint: Option<Endpoint>,
    /// Whether it answered lately.
    pub answers: bool,
}

/// This host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostView {
    /// Its identity.
    pub id: HostId,
    /// Its name.
    pub name: HostName,
    /// The newest map it has.
    pub generation: Generation,
    /// The map it has carried out.
    pub applied: Option<Generation>,
    /// Where the rendezvous sees it.
    pub seen: Vec<Endpoint>,
    /// How its NAT maps.
    pub nat: NatMapping,
    /// Its own addresses.
    pub local: Vec<IpNet>,
}

/// The interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Its name.
    pub name: LinkName,
    /// Whose WireGuard; none when there is no such interface.
    pub wireguard: Option<LinkKind>,
    /// Its index.
    pub index: Option<u32>,
    /// Whether it is up.
    pub up: bool,
    /// Its MTU.
    pub mtu: Option<u32>,
    /// Its UDP port.
    pub port: u16,
    /// Its public key.
    pub key: WgPublicKey,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// A network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkView {
    /// Its name.
    pub name: NetworkName,
    /// Its ranges.
    pub ranges: Vec<IpNet>,
    /// This host's addresses in it.
    pub addresses: Vec<IpAddr>,
    /// Whether this host takes part.
    pub connected: bool,
    /// Its peers.
    pub peers: usize,
    /// Those of them with a working path; none where nobody knows.
    pub reachable: Option<usize>,
}

/// A peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerView {
    /// Its name.
    pub name: HostName,
    /// Its identity.
    pub id: MemberId,
    /// Its key; none where it is reached through others.
    pub key: Option<WgPublicKey>,
    /// Its addresses by network.
    pub networks: Vec<PeerNetwork>,
    /// How things stand with it; none where no daemon watches.
    pub path: Option<PathStatus>,
    /// Where its datagrams are sent.
    pub endpoint: Option<Endpoint>,
    /// Its latest handshake.
    pub handshake: Option<Timestamp>,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}

/// A peer's place in a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerNetwork {
    /// The network.
    pub network: NetworkName,
    /// Its addresses in it.
    #[serde(flatten)]
    pub addresses: Addresses,
}

impl PeerView {
    /// Whether datagrams go to and fro, as far as is known.
    pub fn reachable(&self) -> Option<bool> {
        self.path.map(|path| matches!(path, PathStatus::Direct { .. } | PathStatus::Checking { .. }))
    }

    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.networks.iter().flat_map(|network| network.addresses.iter())
    }
}

impl std::fmt::Display for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotJoined => f.write_str("this machine has joined no network; join with `netclient join -t TOKEN`"),
            Self::Removed(server) => write!(
                f,
                "this machine was removed from the server {server} by an administrator; join again with a token, or clean \
                 up with `netclient uninstall`"
            ),
            Self::Copied => f.write_str(
                "the state of netclient was copied here from another machine, whose keys this one must not use; join with \
                 a token of its own: `netclient join -t TOKEN` makes new keys",
            ),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}
