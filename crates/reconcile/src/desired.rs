//! What this machine should have, derived from its host map and its own settings.
//!
//! Addresses stand alone (/32, /128) and each range has an explicit route with our mark and a preferred source. With the
//! range's prefix on the address instead, the kernel would make routes without our mark, broadcast addresses and
//! secondary addresses that vanish with their primary; and with several networks on one interface it would choose the
//! source address by itself, and the peers would drop what comes from the wrong one.
//!
//! It keeps true that nothing is allowed that the map does not give: an address counts only within a range of a network
//! that this host takes part in, is never this host's own, and belongs to one peer alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Endpoint, HostId, HostName, Keepalive, MemberId, Mtu, WgPublicKey};
use wire::{HostMap, Membership, Outcome, Peer};

use crate::{
    Family, Firewall, FirewallDigest, Kept, LinkKind, LinkName, LocalSettings, Need, Route, TUNNEL_TABLE,
};

/// What is known only while the agent runs, besides the map and the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// Where peers are to start: `Paths::endpoints`.
    pub endpoints: BTreeMap<WgPublicKey, Endpoint>,
    /// The machine's own addresses with their prefixes: what it is directly attached to is never reached through others.
    pub local: BTreeSet<IpNet>,
    /// Who is used of those that lead to a member: `Routers::chosen`. Of others it is the first.
    pub routers: BTreeMap<MemberId, HostId>,
    /// What settings of the kernel were before they were changed, as the shell has it on disk.
    pub kept: Kept,
}

/// What should exist under the link's name. Holds no private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The link's name.
    pub link: LinkName,
    /// This host's key: a WireGuard link with another key is somebody else's, whatever its name.
    pub key: WgPublicKey,
    /// Another key that makes a link ours, while this host changes its key.
    pub former: Option<WgPublicKey>,
    /// The interface; none when the machine is to be as if we had never been there.
    pub interface: Option<Interface>,
    /// What settings of the kernel get back when nothing needs them to be otherwise.
    pub kept: Kept,
    /// What the map gives and this machine cannot have, by member.
    pub left_out: BTreeMap<(MemberId, IpNet), LeftOut>,
}

/// The one interface of a host, and what belongs to it elsewhere.
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
    /// The networks' ranges and those that are reached through members, and the address to speak from there.
    pub routes: BTreeMap<IpNet, IpAddr>,
    /// Its WireGuard peers, those of the rendezvous too.
    pub peers: BTreeMap<WgPublicKey, DesiredPeer>,
    /// What is let in and through.
    pub firewall: Option<DesiredFirewall>,
    /// Whether the machine passes on packets of others.
    pub forwards: bool,
    /// The way of everything that has no other, where that is over this link.
    pub tunnel: Option<Tunnel>,
}

/// A firewall, with what it takes to compare it without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredFirewall {
    /// The firewall.
    pub firewall: Arc<Firewall>,
    /// Its digest.
    pub digest: FirewallDigest,
    /// Whether the rest may be done without it.
    pub need: Need,
}

/// A full tunnel: everything that has no other way goes over our link, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Whether the machine's own networks stay reachable directly.
    pub lan: bool,
    /// The address to speak from, for each family that the network has. The other family goes nowhere.
    pub sources: BTreeMap<Family, IpAddr>,
}

/// A range that the map gives and this machine does not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The member through which it would be reached.
    pub name: HostName,
    /// Why not.
    pub why: LeftOutWhy,
}

/// Why something that the map gives is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOutWhy {
    /// The machine is directly attached to this.
    Lan(IpNet),
    /// The mapped range has another size than the real one.
    Size,
    /// The internet gateway is itself reached through another node.
    NotDirect,
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
        let kept = Kept(BTreeMap::new());
        Self { link, key, former: None, interface: None, kept, left_out: BTreeMap::new() }
    }

    /// What the map gives and this machine cannot have, in words.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |((_, range), left): (&(MemberId, IpNet), &LeftOut)| left.outcome(*range);
        self.left_out.iter().map(outcome).collect()
    }
}

impl LeftOut {
    fn outcome(&self, range: IpNet) -> Outcome {
        let Self { name, why } = self;
        let op = match why {
            LeftOutWhy::Lan(_) | LeftOutWhy::Size => format!("reach the range {range} of egress {name}"),
            LeftOutWhy::NotDirect => format!("send everything to the internet gateway {name}"),
        };
        let error = match why {
            LeftOutWhy::Lan(lan) => format!(
                "the range {range} of egress {name} is this machine's own LAN ({lan}): left out; map it to another range"
            ),
            LeftOutWhy::Size => format!(
                "the range {range} of egress {name} cannot be mapped: both ranges must have the same family and size"
            ),
            LeftOutWhy::NotDirect => format!(
                "{name} is itself reached through another node: nothing leaves this machine; choose a gateway that is \
                 reached directly"
            ),
        };
        Outcome { op, error }
    }
}

impl Interface {
    /// All routes out of the link, in both tables.
    pub fn all_routes(&self) -> impl Iterator<Item = Route> {
        let main = self.routes.iter().map(|(destination, source)| Route::ours(*destination, *source));
        let tunnel = self.tunnel.iter().flat_map(|tunnel| {
            // What has a route of its own keeps its source address there.
            let ranges = self.routes.iter().map(|(destination, source)| (*destination, *source));
            let defaults = tunnel.sources.iter().map(|(family, source)| (family.everything(), *source));
            ranges.chain(defaults)
        });
        main.chain(tunnel.map(|(to, source)| Route::ours(to, source).in_table(TUNNEL_TABLE)))
    }

    /// Whether more than the networks' own ranges is reached over the link.
    pub(crate) fn reaches_beyond(&self) -> bool {
        self.routes.iter().any(|(range, source)| !range.contains(source))
    }
}

/// What this machine should have.
pub fn desired(map: &HostMap, settings: &LocalSettings, circumstances: &Circumstances) -> Desired {
    let interface = Interface {
        kind: settings.kind,
        mtu: settings.mtu.unwrap_or(map.host.mtu),
        port: settings.port,
        addresses: connected(map).flat_map(|membership| membership.addresses.iter()).collect(),
        routes: connected(map).flat_map(routes).collect(),
        peers: peers(map, settings.key, &circumstances.endpoints),
        firewall: None,
        forwards: false,
        tunnel: None,
    };
    let (link, kept) = (settings.link.clone(), circumstances.kept.clone());
    let (key, former, left_out) = (settings.key, settings.former, BTreeMap::new());
    Desired { link, key, former, interface: Some(interface), kept, left_out }
}

/// One peer as it should be, without looking at the others: for a change that touches it alone.
pub(crate) fn desired_peer(map: &HostMap, peer: &Peer, endpoint: Option<Endpoint>) -> DesiredPeer {
    let given = peer.nodes.iter().flat_map(|node| {
        let membership = map.networks.get(&node.network).filter(|membership| membership.connected);
        let within = move |ip: &IpAddr| membership.is_some_and(|membership| membership.ranges.contains(*ip));
        node.addresses.iter().filter(within)
    });
    let ours =
        |ip: &IpAddr| connected(map).any(|membership| membership.addresses.iter().any(|own| own == *ip));
    let allowed = given.filter(|ip| !ours(ip)).map(IpNet::from).collect();
    DesiredPeer { allowed, keepalive: keepalive(map, peer), endpoint }
}

/// The keepalive to a peer: the shortest of the networks shared with it.
pub(crate) fn keepalive(map: &HostMap, peer: &Peer) -> Keepalive {
    let shared = peer.nodes.iter().filter_map(|node| map.networks.get(&node.network));
    shared.map(|membership| membership.keepalive).min().unwrap_or(Keepalive::DEFAULT)
}

fn connected(map: &HostMap) -> impl Iterator<Item = &Membership> {
    map.networks.values().filter(|membership| membership.connected)
}

fn routes(membership: &Membership) -> impl Iterator<Item = (IpNet, IpAddr)> {
    let v4 = membership.ranges.v4().map(IpNet::from).zip(membership.addresses.v4.map(IpAddr::from));
    let v6 = membership.ranges.v6().map(IpNet::from).zip(membership.addresses.v6.map(IpAddr::from));
    v4.into_iter().chain(v6)
}

fn peers(
    map: &HostMap,
    own: WgPublicKey,
    endpoints: &BTreeMap<WgPublicKey, Endpoint>,
) -> BTreeMap<WgPublicKey, DesiredPeer> {
    let mut peers = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let keyed = map.peers.values().filter_map(|peer| Some((peer.key.filter(|key| *key != own)?, peer)));
    for (key, peer) in keyed {
        let mut wanted = desired_peer(map, peer, endpoints.get(&key).copied());
        wanted.allowed.retain(|address| taken.insert(*address));
        peers.entry(key).or_insert(wanted);
    }
    for rendezvous in map.server.rendezvous.iter().filter(|rendezvous| rendezvous.key != own) {
        let endpoint = endpoints.get(&rendezvous.key).copied();
        peers.entry(rendezvous.key).or_insert_with(|| desired_door(endpoint));
    }
    peers
}

/// An identity of the rendezvous as it should be.
pub(crate) const fn desired_door(endpoint: Option<Endpoint>) -> DesiredPeer {
    DesiredPeer { allowed: BTreeSet::new(), keepalive: Keepalive::DEFAULT, endpoint }
}
