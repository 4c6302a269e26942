//! Candidates: the addresses at which a peer may be reached, best first, and what each of them is.
//!
//! A pure function of what this host is like and what the map says of the peer. It keeps true that no candidate lies within
//! one of our own networks (that would be WireGuard within itself) or is this very machine. One within a range behind a
//! member is as good as any: what WireGuard sends is marked, and goes past our own routes there (`Rule`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::{Endpoint, Keepalive};
use serde::{Deserialize, Serialize};
use wire::{HostMap, NatMapping, Peer};

/// At most this many candidates of a peer are tried.
const MOST_CANDIDATES: usize = 8;

/// What this host is like, as far as paths depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// Its addresses with their prefixes, without loopback, link-local and tunnels.
    pub local: BTreeSet<IpNet>,
    /// Where the rendezvous sees it.
    pub seen: Vec<Endpoint>,
    /// How its NAT maps.
    pub nat: NatMapping,
    /// The ranges of its networks.
    pub ranges: BTreeSet<IpNet>,
}

impl Own {
    /// What the map and the machine's addresses say.
    pub fn new(map: &HostMap, local: BTreeSet<IpNet>) -> Self {
        let ranges = map.networks.values().flat_map(|membership| membership.ranges.iter()).collect();
        Self { local, seen: map.host.seen.clone(), nat: map.host.nat, ranges }
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.local.iter().any(|net| net.addr() == ip)
    }

    fn connected(&self, ip: IpAddr) -> bool {
        self.local.iter().any(|net| net.prefix_len() < net.max_prefix_len() && net.contains(&ip))
    }

    fn reaches_ipv6(&self) -> bool {
        self.local.iter().any(|net| is_global_v6(net.addr()))
    }

    fn public_v4(&self) -> Option<IpAddr> {
        self.seen.iter().map(|endpoint| endpoint.ip()).find(IpAddr::is_ipv4)
    }
}

/// What the map says of a peer, as far as paths depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Where the rendezvous sees it.
    pub seen: Vec<Endpoint>,
    /// Its own addresses.
    pub local: Vec<Endpoint>,
    /// An endpoint set by hand.
    pub fixed: Option<Endpoint>,
    /// How its NAT maps.
    pub nat: NatMapping,
    /// The keepalive both ends keep up.
    pub keepalive: Keepalive,
}

impl PeerView {
    /// What the map says of this peer.
    pub fn new(map: &HostMap, peer: &Peer) -> Self {
        let Peer { name: _, key: _, nodes: _, seen, local, fixed, nat } = peer;
        let keepalive = crate::desired::keepalive(map, peer);
        Self { seen: seen.clone(), local: local.clone(), fixed: *fixed, nat: *nat, keepalive }
    }

    pub(super) fn says(&self, endpoint: &Endpoint) -> bool {
        self.seen.contains(endpoint) || self.local.contains(endpoint) || self.fixed.as_ref() == Some(endpoint)
    }
}

/// What a path runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// A network both machines are in, or the one behind their common NAT.
    Lan,
    /// The endpoint an administrator set.
    Fixed,
    /// A global IPv6 address.
    Ipv6,
    /// The address the rendezvous sees.
    Seen,
    /// A private address that is in none of our own networks; routers in between may know it.
    Routed,
    /// An address WireGuard learned from the peer's own datagrams.
    Learned,
}

/// One address to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub endpoint: Endpoint,
    /// What it is.
    pub kind: PathKind,
}

impl Candidate {
    /// How long it has to answer in the first round. A LAN answers fast, and what looks like the peer's LAN is often
    /// another one with the same range.
    pub(super) const fn first_wait(&self) -> Duration {
        match self.kind {
            PathKind::Lan => Duration::from_millis(150),
            PathKind::Fixed | PathKind::Ipv6 | PathKind::Seen | PathKind::Routed | PathKind::Learned => {
                Duration::from_millis(500)
            }
        }
    }
}

fn is_global_v6(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.segments()[0] & 0xe000 == 0x2000)
}

fn is_private_v4(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64))
}

fn is_ula(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unique_local())
}

fn sendable(own: &Own, ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_loopback(),
    };
    let within = own.ranges.iter().any(|range| range.contains(&ip));
    let no_way = is_global_v6(ip) && !own.reaches_ipv6() && !own.connected(ip);
    !link_local && !within && !no_way && !own.has(ip)
}

fn kind_of_local(own: &Own, same_nat: bool, ip: IpAddr) -> PathKind {
    if own.connected(ip) || (same_nat && is_private_v4(ip)) {
        return PathKind::Lan;
    }
    if is_global_v6(ip) {
        return PathKind::Ipv6;
    }
    if is_far(own, ip) {
        return PathKind::Routed;
    }
    PathKind::Seen
}

/// The peer's addresses worth trying, best first.
pub fn candidates(own: &Own, peer: &PeerView) -> Vec<Candidate> {
    let public = |seen: &[Endpoint]| seen.iter().map(|endpoint| endpoint.ip()).find(IpAddr::is_ipv4);
    let same_nat = own.public_v4().is_some() && own.public_v4() == public(&peer.seen);
    let local = peer.local.iter().map(|&endpoint| {
        let kind = kind_of_local(own, same_nat, endpoint.ip());
        // A network we are in ourselves is surer than one that is merely behind the same NAT.
        let doubt = u8::from(kind == PathKind::Lan && !own.connected(endpoint.ip()));
        (kind, doubt, endpoint)
    });
    let seen = peer.seen.iter().map(|&endpoint| {
        let kind = if is_global_v6(endpoint.ip()) { PathKind::Ipv6 } else { PathKind::Seen };
        (kind, 0, endpoint)
    });
    let fixed = peer.fixed.map(|endpoint| (PathKind::Fixed, 0, endpoint));

    let mut all: Vec<_> =
        local.chain(seen).chain(fixed).filter(|(_, _, endpoint)| sendable(own, endpoint.ip())).collect();
    all.sort();
    let mut known = BTreeSet::new();
    all.retain(|(_, _, endpoint)| known.insert(*endpoint));
    all.truncate(MOST_CANDIDATES);
    all.into_iter().map(|(kind, _, endpoint)| Candidate { endpoint, kind }).collect()
}

/// Whether this is a private address of a network that this host is not in.
pub(super) fn is_far(own: &Own, ip: IpAddr) -> bool {
    (is_private_v4(ip) || is_ula(ip)) && !own.connected(ip)
}

/// What an endpoint in use is.
pub(super) fn kind_in_use(own: &Own, candidates: &[Candidate], endpoint: Endpoint) -> PathKind {
    match candidates.iter().find(|candidate| candidate.endpoint == endpoint) {
        Some(candidate) => candidate.kind,
        None if own.connected(endpoint.ip()) => PathKind::Lan,
        None => PathKind::Learned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(local: &[&str], seen: &[&str]) -> Own {
        Own {
            local: local.iter().map(|text| text.parse().unwrap()).collect(),
            seen: seen.iter().map(|text| text.parse().unwrap()).collect(),
            nat: NatMapping::Endpoint,
            ranges: BTreeSet::from(["10.77.0.0/16".parse().unwrap()]),
        }
    }

    fn peer(local: &[&str], seen: &[&str], fixed: Option<&str>) -> PeerView {
        PeerView {
            seen: seen.iter().map(|text| text.parse().unwrap()).collect(),
            local: local.iter().map(|text| text.parse().unwrap()).collect(),
            fixed: fixed.map(|text| text.parse().unwrap()),
            nat: NatMapping::Endpoint,
            keepalive: Keepalive::DEFAULT,
        }
    }

    #[track_caller]
    fn check(own: &Own, peer: &PeerView, expected: &[&str]) {
        let found: Vec<String> =
            candidates(own, peer).iter().map(|c| format!("{:?} {}", c.kind, c.endpoint)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_lan_comes_first_and_the_seen_address_after_ipv6() {
        let own = own(&["192.168.1.5/24", "2001:db8:1::5/64"], &["203.0.113.1:4000"]);
        let peer = peer(
            &["192.168.1.9:51820", "[2001:db8:2::9]:51820"],
            &["198.51.100.2:5000"],
            Some("198.51.100.2:51820"),
        );
        check(
            &own,
            &peer,
            &[
                "Lan 192.168.1.9:51820",
                "Fixed 198.51.100.2:51820",
                "Ipv6 [2001:db8:2::9]:51820",
                "Seen 198.51.100.2:5000",
            ],
        );
    }

    #[test]
    fn behind_the_same_nat_private_addresses_are_the_lan() {
        let own = own(&["192.168.1.5/24"], &["203.0.113.1:4000"]);
        let peer = peer(&["192.168.2.9:51820", "192.168.1.9:51820"], &["203.0.113.1:4001"], None);
        check(&own, &peer, &["Lan 192.168.1.9:51820", "Lan 192.168.2.9:51820", "Seen 203.0.113.1:4001"]);
    }

    #[test]
    fn nothing_is_sent_into_our_own_networks_to_ourselves_or_by_a_family_we_lack() {
        let own = own(&["192.168.1.5/24"], &["203.0.113.1:4000"]);
        let peer = peer(
            &[
                "10.77.0.9:51820",
                "192.168.1.5:51820",
                "[2001:db8::9]:51820",
                "169.254.1.1:51820",
                "10.1.1.1:51820",
            ],
            &["198.51.100.2:5000"],
            None,
        );
        check(&own, &peer, &["Seen 198.51.100.2:5000", "Routed 10.1.1.1:51820"]);
    }
}
