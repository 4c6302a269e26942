//! What the agent shows of itself: data, made by the daemon or from the state on disk, read by every command that shows
//! something, and printed as it is by `--json`.
//!
//! Not for words (`command::status`). Field names are a contract with scripts: they are added to, not changed.

use std::net::{IpAddr, SocketAddr};

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
    /// What is let in and through; none where nobody looked.
    #[serde(default)]
    pub firewall: Option<FirewallView>,
    /// Names; none where nobody answers.
    #[serde(default)]
    pub dns: Option<DnsView>,
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
    /// Whether it did, and its answer cannot be read: nothing changes on this machine until it can.
    #[serde(default)]
    pub unreadable: bool,
    /// Whether changes are pushed.
    pub pushes: bool,
    /// The broker by which they are, where it is not the server's own.
    #[serde(default)]
    pub broker: Option<String>,
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

/// The firewall, as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirewallView {
    /// There is none: this machine's kernel has no nf_tables.
    Impossible,
    /// There is none.
    Absent,
    /// It is as it was made.
    Holds,
    /// Somebody else has changed it: it is about to be made anew.
    Changed,
}

/// Where names are answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DnsView {
    /// The addresses at which this machine answers.
    pub listening: Vec<SocketAddr>,
    /// Whom it asks about all other names.
    pub upstreams: Vec<SocketAddr>,
}

/// The way to everything outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InternetView {
    /// The internet gateway; none: it is paused or was removed, and nothing goes out.
    #[serde(default)]
    pub gateway: Option<HostName>,
    /// Whether the machine's own networks stay reachable directly.
    pub lan: bool,
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
    /// Whether somebody has yet to let this host in.
    #[serde(default)]
    pub pending: bool,
    /// The node through which this host reaches everybody else.
    #[serde(default)]
    pub via: Option<HostName>,
    /// Whether what no policy allows is dropped.
    #[serde(default)]
    pub guarded: bool,
    /// Ranges outside of the network that this host leads to.
    #[serde(default)]
    pub leads_to: Vec<IpNet>,
    /// Whether this host is the way to everything outside for others.
    #[serde(default)]
    pub internet_gateway: bool,
    /// The way to everything outside for this host.
    #[serde(default)]
    pub internet: Option<InternetView>,
    /// Its nodes and clients, but for this host.
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
    /// Whether it is reached, where that is not `path`'s to say: through whoever carries it, or as a client that came in
    /// lately; none where nobody knows.
    #[serde(default)]
    pub reached: Option<bool>,
}

/// A peer's place in a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerNetwork {
    /// The network.
    pub network: NetworkName,
    /// Its addresses in it.
    #[serde(flatten)]
    pub addresses: Addresses,
    /// Ranges that are reached with it.
    #[serde(default)]
    pub ranges: Vec<IpNet>,
    /// Those through whom it is reached, best first; none: directly.
    #[serde(default)]
    pub via: Vec<HostName>,
    /// Who of them is used.
    #[serde(default)]
    pub used: Option<HostName>,
}

impl PeerView {
    /// Whether datagrams go to and fro, as far as is known.
    pub fn reachable(&self) -> Option<bool> {
        let path =
            self.path.map(|path| matches!(path, PathStatus::Direct { .. } | PathStatus::Checking { .. }));
        path.or(self.reached)
    }

    /// Whether it is a range behind somebody, and no machine.
    pub fn is_range(&self) -> bool {
        self.addresses().next().is_none() && self.networks.iter().any(|network| !network.ranges.is_empty())
    }

    /// Who carries it.
    pub fn carrier(&self) -> Option<&HostName> {
        self.networks.iter().find_map(|network| network.used.as_ref())
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
                "the server {server} has removed this machine: an administrator did, or it was ephemeral and away for too \
                 long; join again with a token, or clean up with `netclient uninstall`"
            ),
            Self::Copied => f.write_str(
                "the state of netclient was copied here from another machine, whose keys this one must not use; join with \
                 a token of its own: `netclient join -t TOKEN` makes new keys",
            ),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}
