//! What this machine should have, derived from its host map and its own settings.
//!
//! Addresses stand alone (/32, /128) and each range has an explicit route with our mark and a preferred source. With the
//! range's prefix on the address instead, the kernel would make routes without our mark, broadcast addresses and
//! secondary addresses that vanish with their primary; and with several networks on one interface it would choose the
//! source address by itself, and the peers would drop what comes from the wrong one.
//!
//! It keeps true that nothing is allowed that the map does not give (`reach`), that an address or range belongs to one peer
//! alone, that of the first member that claims it, and that what is let in and through is what grants say (`access`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Endpoint, HostId, Keepalive, MemberId, Mtu, NetworkId, WgPublicKey};
use wire::{HostMap, Membership, Outcome, Peer};

use crate::access::{Shape, Standing, carries_always};
use crate::reach::{Claim, Ground, Reach, duties, taken_part};
use crate::tunnel::tunnel;
use crate::{
    Family, Firewall, FirewallDigest, Kept, LeftOut, LinkKind, LinkName, LocalSettings, Need, RANGE_TABLE,
    ROUTE_METRIC, ROUTE_PROTOCOL, ROUTE_TABLE, Route, TUNNEL_TABLE, Tunnel,
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
    /// The clients that are here although the map leads to another gateway first: `Clients::here`.
    pub here: BTreeSet<MemberId>,
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

/// A WireGuard peer as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredPeer {
    /// Its addresses and ranges, and those of whomever it carries; no two peers share one. Empty for the rendezvous.
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

impl Interface {
    /// All routes out of the link, in all tables.
    pub fn all_routes(&self) -> impl Iterator<Item = Route> {
        let reached = self.routes.iter().flat_map(|(destination, source)| {
            let tables: &[u32] = match (is_range(destination, source), self.tunnel.is_some()) {
                (true, _) => &[RANGE_TABLE],
                (false, true) => &[ROUTE_TABLE, RANGE_TABLE],
                (false, false) => &[ROUTE_TABLE],
            };
            tables.iter().map(|table| Route::ours(*destination, *source).in_table(*table))
        });
        let everything = self.tunnel.iter().flat_map(|tunnel| &tunnel.sources);
        let everything = everything
            .map(|(family, source)| Route::ours(family.everything(), *source).in_table(TUNNEL_TABLE));
        reached.chain(everything).chain(self.tunnel_of_nobody())
    }

    /// The ranges that are reached through members, but for the networks' own.
    pub fn ranges(&self) -> impl Iterator<Item = IpNet> {
        let ranges = self.routes.iter().filter(|(destination, source)| is_range(destination, source));
        ranges.map(|(destination, _)| *destination)
    }

    /// Where the tunnel is for IPv6 alone, IPv4 goes into it and to no peer. Were it `unreachable`, a kernel that checks where
    /// packets come from, strictly or not, would drop the tunnel's own datagrams that come in over IPv4.
    fn tunnel_of_nobody(&self) -> Option<Route> {
        let tunnel = self.tunnel.as_ref()?;
        let destination = Family::V4.everything();
        let (metric, protocol, table) = (ROUTE_METRIC, ROUTE_PROTOCOL, TUNNEL_TABLE);
        let nobody = Route { destination, source: None, metric, protocol, table };
        (!tunnel.sources.contains_key(&Family::V4)).then_some(nobody)
    }

    /// Allows a peer what is claimed, with a route if there is none yet; whether there is such a peer.
    fn allow(&mut self, key: WgPublicKey, claim: &Claim) -> bool {
        let Some(peer) = self.peers.get_mut(&key) else { return false };
        peer.allowed.insert(claim.net);
        if let (Reach::Range, Some(source)) = (claim.reach, claim.source) {
            self.routes.insert(claim.net, source);
        }
        true
    }

    pub(crate) fn set_access(&mut self, shape: Shape) {
        self.forwards = shape.forwards;
        let digest = shape.firewall.digest();
        let firewall = Arc::new(shape.firewall);
        self.firewall = Some(DesiredFirewall { firewall, digest, need: shape.need });
    }

    /// Whether more than the networks' own ranges is reached over the link.
    pub(crate) fn reaches_beyond(&self) -> bool {
        self.ranges().next().is_some()
    }

    /// Whether what comes to the machine over other links may be from where it sends to over ours: answers to the link's own
    /// datagrams from within a range, or from anywhere.
    pub(crate) fn hears_beside(&self) -> bool {
        self.tunnel.is_some() || self.reaches_beyond()
    }
}

/// A network's own range is the one in which this host has its address; one behind members never holds an address of this
/// host (`reach`).
fn is_range(destination: &IpNet, source: &IpAddr) -> bool {
    !destination.contains(source)
}

/// What this machine should have.
pub fn desired(map: &HostMap, settings: &LocalSettings, circumstances: &Circumstances) -> Desired {
    let ground = Ground::new(map, settings, circumstances);
    let mut interface = Interface {
        kind: settings.kind,
        mtu: settings.mtu.unwrap_or(map.host.mtu),
        port: settings.port,
        addresses: taken_part(map).flat_map(|(_, membership)| membership.addresses.iter()).collect(),
        routes: taken_part(map).flat_map(|(_, membership)| routes(membership)).collect(),
        peers: BTreeMap::new(),
        firewall: None,
        forwards: false,
        tunnel: tunnel(map, &circumstances.local),
    };
    let mut owners = BTreeMap::new();
    for (member, peer) in &map.peers {
        let Some(key) = ground.key_of(peer) else { continue };
        owners.entry(key).or_insert(*member);
        let endpoint = circumstances.endpoints.get(&key).copied();
        interface.peers.entry(key).or_insert_with(|| desired_peer(map, peer, endpoint));
    }
    for rendezvous in map.server.rendezvous.iter().filter(|rendezvous| rendezvous.key != settings.key) {
        let endpoint = circumstances.endpoints.get(&rendezvous.key).copied();
        interface.peers.entry(rendezvous.key).or_insert_with(|| desired_door(endpoint));
    }
    let (claims, left_out) = first_claims(map, &ground);
    let held: Vec<(MemberId, Claim)> = claims
        .into_values()
        .filter(|(_, claim)| {
            let key = map.peers.get(&claim.carrier).and_then(|peer| ground.key_of(peer));
            key.is_some_and(|key| owners.get(&key) == Some(&claim.carrier) && interface.allow(key, claim))
        })
        .collect();
    let shape = access(map, &held, interface.tunnel.as_ref());
    interface.set_access(shape);
    Desired {
        link: settings.link.clone(),
        key: settings.key,
        former: settings.former,
        interface: Some(interface),
        kept: circumstances.kept.clone(),
        left_out,
    }
}

/// For each address and range the first member that claims it; and what cannot be had.
#[expect(clippy::type_complexity, reason = "two maps, each named by what it is keyed by")]
fn first_claims(
    map: &HostMap,
    ground: &Ground,
) -> (BTreeMap<IpNet, (MemberId, Claim)>, BTreeMap<(MemberId, IpNet), LeftOut>) {
    let (mut first, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    for (member, peer) in &map.peers {
        let claims = ground.claims(map, *member, peer);
        for claim in claims.claims {
            first.entry(claim.net).or_insert((*member, claim));
        }
        let named = |(net, why)| ((*member, net), LeftOut::of(peer, why));
        left_out.extend(claims.left_out.into_iter().map(named));
    }
    (first, left_out)
}

/// The firewall for these members, each with what it has.
fn access(map: &HostMap, held: &[(MemberId, Claim)], tunnel: Option<&Tunnel>) -> Shape {
    let node = |member: &MemberId, network| {
        let peer = map.peers.get(member)?;
        peer.nodes.iter().find(|node| node.network == network)
    };
    let standing = |member: &MemberId, claim: &Claim| {
        let node = node(member, claim.network);
        node.map_or(Standing::Other, |node| Standing::of(map.host.id, *member, node, claim.carrier))
    };
    let carried = held.iter().filter(|(member, claim)| standing(member, claim) != Standing::Other);
    let carrying = carried.map(|(_, claim)| claim.network).chain(carries_always(map)).collect();
    let ranges = held.iter().filter(|(_, claim)| claim.reach == Reach::Range).map(|(_, claim)| claim.net);
    let mut shape = Shape::new(map, &carrying, ranges, tunnel);
    let addresses = held.iter().filter(|(_, claim)| claim.reach != Reach::Everything);
    let mut placed: Vec<(MemberId, NetworkId, Standing, IpNet)> = addresses
        .map(|(member, claim)| (*member, claim.network, standing(member, claim), claim.net))
        .collect();
    placed
        .extend(duties(map).map(|(network, duty)| (duty.id, network, Standing::Range, duty.range.0.trunc())));
    for (member, network, standing, net) in placed {
        let classes = node(&member, network).map_or(&[][..], |node| &node.classes);
        for id in shape.sets_of(network, member, standing, classes) {
            shape.firewall.sets.get_mut(&id).map(|set| set.insert(net));
        }
    }
    shape
}

/// A host as a peer, before anything is allowed to it.
pub(crate) fn desired_peer(map: &HostMap, peer: &Peer, endpoint: Option<Endpoint>) -> DesiredPeer {
    DesiredPeer { allowed: BTreeSet::new(), keepalive: keepalive(map, peer), endpoint }
}

/// The keepalive to a peer: the shortest of the networks shared with it.
pub(crate) fn keepalive(map: &HostMap, peer: &Peer) -> Keepalive {
    let shared = peer.nodes.iter().filter_map(|node| map.networks.get(&node.network));
    shared.map(|membership| membership.keepalive).min().unwrap_or(Keepalive::DEFAULT)
}

fn routes(membership: &Membership) -> impl Iterator<Item = (IpNet, IpAddr)> {
    let v4 = membership.ranges.v4().map(IpNet::from).zip(membership.addresses.v4.map(IpAddr::from));
    let v6 = membership.ranges.v6().map(IpNet::from).zip(membership.addresses.v6.map(IpAddr::from));
    v4.into_iter().chain(v6)
}

/// An identity of the rendezvous as it should be.
pub(crate) const fn desired_door(endpoint: Option<Endpoint>) -> DesiredPeer {
    DesiredPeer { allowed: BTreeSet::new(), keepalive: Keepalive::DEFAULT, endpoint }
}
