//! A full tunnel as the map asks for it, and what of the machine's own networks stays reachable beside it.
//!
//! Not for the routes and rules that make it so (`desired`, `rule`). It keeps true that nobody who hands out addresses and routes
//! in a LAN can make the internet, or a part of it, a LAN.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use wire::HostMap;

use crate::Family;
use crate::access::behind;
use crate::reach::taken_part;

/// Private and link-local addresses (RFC 1918, 3927, 4193, 4291, 6598).
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// A full tunnel: everything that has no other way goes over our link, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// What of the machine's own networks stays reachable directly, by its own routes but the default one: private ranges,
    /// and the IPv6 prefixes that it is attached to. Empty where nothing does.
    pub lan: BTreeSet<IpNet>,
    /// The ranges that this host leads to: what goes there goes as it would without the tunnel.
    pub leads_to: BTreeSet<IpNet>,
    /// The address to speak from, for each family that the network has. The other family goes nowhere.
    pub sources: BTreeMap<Family, IpAddr>,
}

/// What is nobody's in the internet, and somebody's in a LAN.
pub(crate) fn private() -> [IpNet; PRIVATE.len()] {
    PRIVATE.map(|text| text.parse().expect("a prefix of this file"))
}

/// The full tunnel, where the map asks for one: also while its gateway is not there.
pub(crate) fn tunnel(map: &HostMap, local: &BTreeSet<IpNet>) -> Option<Tunnel> {
    let mut all = taken_part(map).filter_map(|(_, membership)| Some((membership, membership.internet?)));
    let (membership, way) = all.next()?;
    let sources = membership.addresses.iter().map(|ip| (Family::of(ip), ip)).collect();
    let lan = if way.lan { lan(local) } else { BTreeSet::new() };
    Some(Tunnel { lan, leads_to: behind(map), sources })
}

/// What may be a LAN, to a machine that is attached to these: whoever hands out addresses there may say that anything is, and
/// would have it sent to him. So no public IPv4, and of public IPv6 no more than one link.
fn lan(local: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let private = private();
    let is_link = |net: &&IpNet| matches!(net, IpNet::V6(v6) if (64..128).contains(&v6.prefix_len()));
    let links = local.iter().filter(is_link).map(IpNet::trunc);
    let links = links.filter(|link| !private.iter().any(|net| net.contains(link)));
    private.into_iter().chain(links.collect::<Vec<_>>()).collect()
}
