//! What the machine has: what `platform` observes, each time anew.
//!
//! `Actual` is what exists under our link's name, what carries our mark elsewhere, and the few settings of the machine that
//! gateways need; other links, their addresses and their routes never enter it. Whether the link is ours is judged by
//! `conflict`, not by who looked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Endpoint, Keepalive, Timestamp, WgPublicKey};

use crate::{Family, FirewallLook, LinkKind, ROUTE_METRIC, ROUTE_PROTOCOL, ROUTE_TABLE, Rule};

/// What was observed under the link's name, and of ours elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actual {
    /// The link; none when no link has that name.
    pub link: Option<Link>,
    /// What of ours is not on the link.
    pub surroundings: Surroundings,
}

/// What of ours is not on the link, and what of the machine's settings we may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Our firewall; none where this machine's kernel has no nf_tables, or it cannot be asked.
    pub firewall: Option<FirewallLook>,
    /// The policy rules that are ours.
    pub rules: BTreeSet<Rule>,
    /// The families whose default route in our table is `unreachable`, by us.
    pub unreachable: BTreeSet<Family>,
    /// Settings of the kernel by name, as below /proc/sys (`net/ipv4/ip_forward`): those that gateways may need.
    pub sysctls: BTreeMap<String, String>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            firewall: Some(FirewallLook::Absent),
            rules: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            sysctls: BTreeMap::new(),
        }
    }
}

/// The link and what is around it, without the device: what it costs to see does not grow with the peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The link; none when no link has that name.
    pub link: Option<LinkLook>,
    /// What of ours is not on the link.
    pub surroundings: Surroundings,
}

/// A link that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its interface index: it must not change while the machine roams.
    pub index: u32,
    /// Whether it is up (`IFF_UP`).
    pub up: bool,
    /// Its MTU.
    pub mtu: u32,
    /// Its addresses with their prefixes, those of the kernel's own making (fe80::/10) too.
    pub addresses: BTreeSet<IpNet>,
    /// The routes out of it in the tables `ROUTE_TABLE`, `RANGE_TABLE` and `TUNNEL_TABLE`, whoever made them.
    pub routes: BTreeSet<Route>,
    /// The WireGuard device behind it; none for a link that is no WireGuard (a bridge that has the name by chance).
    pub device: Option<Device>,
}

/// A link as it is seen from outside, without the device behind it: what it costs to see does not grow with the peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkLook {
    /// Its interface index.
    pub index: u32,
    /// Whether it is up (`IFF_UP`).
    pub up: bool,
    /// Its MTU.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: BTreeSet<IpNet>,
    /// The routes out of it.
    pub routes: BTreeSet<Route>,
}

impl LinkLook {
    /// The link with this device behind it.
    pub fn with(self, device: Option<Device>) -> Link {
        let Self { index, up, mtu, addresses, routes } = self;
        Link { index, up, mtu, addresses, routes, device }
    }
}

impl Actual {
    /// The WireGuard device, where there is one.
    pub fn device(&self) -> Option<&Device> {
        self.link.as_ref()?.device.as_ref()
    }
}

/// A route out of our link, without gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// The preferred source address.
    pub source: Option<IpAddr>,
    /// Its metric.
    pub metric: u32,
    /// Who made it: `ROUTE_PROTOCOL` is us.
    pub protocol: u8,
    /// The table it is in: `ROUTE_TABLE`, `RANGE_TABLE` or `TUNNEL_TABLE`.
    pub table: u32,
}

impl Route {
    /// A route of ours: `ip route add DESTINATION dev LINK src SOURCE proto 78 metric 20044 table main`.
    pub const fn ours(destination: IpNet, source: IpAddr) -> Self {
        let (metric, protocol, table) = (ROUTE_METRIC, ROUTE_PROTOCOL, ROUTE_TABLE);
        Self { destination, source: Some(source), metric, protocol, table }
    }

    /// The same in another table.
    #[must_use]
    pub const fn in_table(self, table: u32) -> Self {
        Self { table, ..self }
    }

    /// Whether it carries our mark.
    pub const fn is_ours(&self) -> bool {
        self.protocol == ROUTE_PROTOCOL
    }
}

/// A WireGuard device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Whose WireGuard it is.
    pub kind: LinkKind,
    /// The wall-clock time of this observation, to judge the age of handshakes by.
    pub at: Timestamp,
    /// The public key of its private key; none while it has none.
    pub key: Option<WgPublicKey>,
    /// The UDP port; 0 while it has none.
    pub port: u16,
    /// The firewall mark of the datagrams it sends; 0 for none.
    pub mark: u32,
    /// Its peers.
    pub peers: BTreeMap<WgPublicKey, ActualPeer>,
}

/// A peer of a WireGuard device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActualPeer {
    /// Where its datagrams are sent.
    pub endpoint: Option<Endpoint>,
    /// The addresses that are sent to it and accepted from it.
    pub allowed: BTreeSet<IpNet>,
    /// Its persistent keepalive; none when off.
    pub keepalive: Option<Keepalive>,
    /// When the latest handshake was completed; none when there was none.
    pub last_handshake: Option<Timestamp>,
    /// Bytes received.
    pub rx: u64,
    /// Bytes sent.
    pub tx: u64,
}
