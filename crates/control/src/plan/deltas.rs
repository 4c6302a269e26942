//! The deltas of what was touched: the same as comparing every host's map before and after, without making the maps.
//!
//! It costs what was touched, and for each host that hears of it a look at where it is. Hosts that are told of the same
//! sections share what is said of their peers, encoded once.

use std::collections::{BTreeMap, BTreeSet};

use model::{Generation, HostId, NetworkId, Node, Policy};
use wire::{Delta, Down, Membership, OwnHost, OwnPart, PeersPart, encode_delta};

use super::own::{ends, membership_by, own_host};
use super::shift::Shift;
use super::views::{View, Views};
use super::{Picture, Roster, Touched, others};
use crate::policy::{Rules, subjects_of};

/// The most peers that one delta names: some 40 KB, for each of the hosts that hear of them. A host that is to hear of more
/// fetches its map instead, when there is room for it, and mostly gets what was packed once for everybody.
///
/// So one host that comes into a network of thousands, or leaves it, costs no list of them, and a thousand that change at
/// once are not each told of a thousand.
pub const MOST_TOLD: usize = 256;

/// What changes for one host. What many hosts see alike they share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostDelta {
    /// The host itself and its networks.
    pub own: OwnPart,
    /// Its peers.
    pub peers: PeersPart,
}

impl HostDelta {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.peers.is_empty()
    }

    /// The encoded `Down::Delta` that leads from one generation to another.
    pub fn encode(&self, base: Generation, generation: Generation) -> Vec<u8> {
        encode_delta(base, generation, &self.own, &self.peers)
    }

    /// The delta as it is read by whom it is sent to.
    pub fn to_wire(&self, base: Generation, generation: Generation) -> Delta {
        match wire::decode(&self.encode(base, generation)) {
            Ok(Down::Delta(delta)) => delta,
            read @ (Ok(Down::Fetch(_) | Down::Removed) | Err(_)) => {
                unreachable!("a delta was encoded, and read as {read:?}")
            }
        }
    }
}

/// What changes for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deltas {
    /// For each host whose map changes, what changes; by host.
    pub changed: Vec<(HostId, HostDelta)>,
    /// Hosts that fetch their map: they had none before, or more changes than is told in a delta. By host.
    pub new: Vec<HostId>,
    /// Hosts that have none any more: they are told that they were removed. By host.
    pub removed: Vec<HostId>,
}

/// The deltas from one picture to another. All that differs must be in `touched`, and the rosters be those of the pictures.
pub fn deltas(
    before: &Picture<'_>,
    after: &Picture<'_>,
    roster_before: &Roster,
    roster_after: &Roster,
    touched: &Touched,
) -> Deltas {
    deltas_within(MOST_TOLD, (before, after), (roster_before, roster_after), touched)
}

/// The same, of at most so many peers for each host.
pub fn deltas_within(
    most: usize,
    (before, after): (&Picture<'_>, &Picture<'_>),
    rosters: (&Roster, &Roster),
    touched: &Touched,
) -> Deltas {
    let shifts = shifts(rosters, touched);
    let own = looked_at(before, after, touched);
    let shifted = shifts.iter().filter(|(_, shift)| !shift.is_empty());
    let audience = shifted.flat_map(|(network, _)| others(after.intent, *network, None));
    let audience = sorted(audience.map(|node| node.host).chain(own.iter().copied()).collect());
    let mut views = Views::new((*before, *after), rosters, shifts, most);
    let mut deltas = Deltas { changed: Vec::with_capacity(audience.len()), ..Deltas::default() };
    let mut own = own.into_iter().peekable();
    for host in audience {
        if own.next_if_eq(&host).is_some() {
            deltas.of_touched((before, after), rosters, &mut views, host);
            continue;
        }
        let view = views.of(host, rosters.0.place(host), rosters.1.place(host));
        deltas.put(host, OwnPart::default(), view);
    }
    deltas
}

/// What changes in which network.
pub(super) fn shifts<'a>(
    (before, after): (&'a Roster, &'a Roster),
    touched: &Touched,
) -> BTreeMap<NetworkId, Shift<'a>> {
    let seen = touched.seen.iter().map(|(network, _)| *network);
    let networks: BTreeSet<NetworkId> = seen.chain(touched.relaid.iter().copied()).collect();
    let shift = |network| (network, Shift::between(before, after, touched, network));
    networks.into_iter().map(shift).collect()
}

/// Hosts that may have changed themselves, or of which a network has.
fn looked_at(before: &Picture<'_>, after: &Picture<'_>, touched: &Touched) -> Vec<HostId> {
    let members = |network: &NetworkId| {
        let [before, after] = [before, after].map(|picture| picture.intent.nodes_in_network(*network, None));
        before.chain(after).map(|node| node.host)
    };
    let own = touched.networks.iter().flat_map(members).chain(touched.own.iter().copied());
    sorted(own.chain(granted(before, after, touched)).collect())
}

/// Hosts of whom, or of what they stand guard over, a policy speaks that was touched.
fn granted<'a>(
    before: &'a Picture<'_>,
    after: &'a Picture<'_>,
    touched: &'a Touched,
) -> impl Iterator<Item = HostId> + 'a {
    let networks: BTreeSet<NetworkId> = touched.policies.iter().map(|(network, _)| *network).collect();
    networks.into_iter().flat_map(move |network| {
        let policies = touched.policies.iter().filter(move |(other, _)| *other == network);
        let both = policies.flat_map(|(_, id)| [before.intent.policy(*id), after.intent.policy(*id)]);
        let enabled = both.flatten().filter(|policy: &&Policy| policy.enabled);
        let rules = Rules::of_policies(enabled);
        let nodes = others(after.intent, network, None);
        nodes.filter(move |node| !sides_to(after, &rules, node).is_empty()).map(|node| node.host)
    })
}

/// In order, each once. What comes in a few runs that are in order already costs one walk.
fn sorted(mut hosts: Vec<HostId>) -> Vec<HostId> {
    hosts.sort();
    hosts.dedup();
    hosts
}

impl Deltas {
    fn of_touched(
        &mut self,
        (before, after): (&Picture<'_>, &Picture<'_>),
        rosters: (&Roster, &Roster),
        views: &mut Views<'_>,
        host: HostId,
    ) {
        match (own_host(before, host), own_host(after, host)) {
            (None, None) => {}
            (None, Some(_)) => self.new.push(host),
            (Some(_), None) => self.removed.push(host),
            (Some(old), Some(new)) => {
                let view = views.of(host, rosters.0.place(host), rosters.1.place(host));
                self.put(host, own_part((before, after), rosters, host, (old, new)), view);
            }
        }
    }

    fn put(&mut self, host: HostId, own: OwnPart, view: View) {
        match view {
            View::TooMuch => self.new.push(host),
            View::Part(peers) => {
                let delta = HostDelta { own, peers };
                if !delta.is_empty() {
                    self.changed.push((host, delta));
                }
            }
        }
    }
}

fn own_part(
    (before, after): (&Picture<'_>, &Picture<'_>),
    rosters: (&Roster, &Roster),
    host: HostId,
    (old, new): (OwnHost, OwnHost),
) -> OwnPart {
    let (from, to) = (memberships(before, rosters.0, host), memberships(after, rosters.1, host));
    let is_in =
        |networks: &[(NetworkId, Membership)], id: &NetworkId| networks.iter().any(|(other, _)| other == id);
    let gone = from.iter().filter(|(id, _)| !is_in(&to, id)).map(|(id, _)| *id).collect();
    OwnPart {
        host: (old != new).then_some(new),
        server: (before.links != after.links).then(|| after.links.clone()),
        networks: to.into_iter().filter(|membership| !from.contains(membership)).collect(),
        networks_gone: gone,
    }
}

/// What the host is in, by network id: by the policies that speak of what it stands guard over.
pub(super) fn memberships(
    picture: &Picture<'_>,
    roster: &Roster,
    host: HostId,
) -> Vec<(NetworkId, Membership)> {
    let nodes = picture.intent.nodes_of_host(host);
    nodes.filter_map(|node| Some((node.network, membership(picture, roster, node)?))).collect()
}

fn membership(picture: &Picture<'_>, roster: &Roster, node: &Node) -> Option<Membership> {
    let guard = roster.layout(node.network).map(|layout| &layout.guard);
    let rules = guard.map(|guard| sides_to(picture, &guard.rules, node)).unwrap_or_default();
    let offers = guard.map(|guard| guard.offers.as_slice()).unwrap_or_default();
    membership_by(picture, node, rules.iter().map(|rule| &offers[*rule as usize]))
}

/// The rules that lead to what the node stands guard over.
fn sides_to(picture: &Picture<'_>, rules: &Rules, node: &Node) -> Vec<u32> {
    if rules.len() == 0 {
        return Vec::new();
    }
    let subjects = ends(picture.intent, node).into_iter().flat_map(|end| subjects_of(picture.intent, end));
    rules.sides(&subjects.collect::<Vec<_>>()).to
}
