//! The deltas of what was touched: the same as comparing every host's map before and after, without making the maps.
//!
//! It costs what was touched, and for each host that hears of it a look at what it takes part in. Hosts that take part in
//! the same networks share what is said of their peers, encoded once.

use model::{Generation, HostId, NetworkId};
use wire::{Delta, Down, Membership, OwnHost, OwnPart, PeersPart, encode_delta};

use super::changes::Changes;
use super::views::{View, Views};
use super::{Picture, Roster, Touched, memberships, others, own_host, takes_part};

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
    let changes = Changes::between(rosters.0, rosters.1, touched);
    let own = looked_at(before, after, touched);
    let audience = changes.networks().flat_map(|network| others(after.intent, network, None));
    let audience = sorted(audience.map(|node| node.host).chain(own.iter().copied()).collect());
    let mut views = Views::new(*after, rosters, changes, most);
    let mut deltas = Deltas { changed: Vec::with_capacity(audience.len()), ..Deltas::default() };
    let mut own = own.into_iter().peekable();
    let mut networks = Vec::new();
    for host in audience {
        if own.next_if_eq(&host).is_some() {
            deltas.of_touched(before, after, &mut views, host);
            continue;
        }
        // Neither itself nor what it takes part in has changed.
        networks.clear();
        networks.extend(takes_part(after.intent, host));
        let view = views.steady(host, &networks);
        deltas.put(host, OwnPart::default(), view);
    }
    deltas
}

/// Hosts that may have changed themselves, or of which a network has.
fn looked_at(before: &Picture<'_>, after: &Picture<'_>, touched: &Touched) -> Vec<HostId> {
    let members = |network: &NetworkId| {
        let [before, after] = [before, after].map(|picture| picture.intent.nodes_in_network(*network, None));
        before.chain(after).map(|node| node.host)
    };
    sorted(touched.networks.iter().flat_map(members).chain(touched.own.iter().copied()).collect())
}

/// In order, each once. What comes in a few runs that are in order already costs one walk.
fn sorted(mut hosts: Vec<HostId>) -> Vec<HostId> {
    hosts.sort();
    hosts.dedup();
    hosts
}

impl Deltas {
    fn of_touched(&mut self, before: &Picture<'_>, after: &Picture<'_>, views: &mut Views<'_>, host: HostId) {
        match (own_host(before, host), own_host(after, host)) {
            (None, None) => {}
            (None, Some(_)) => self.new.push(host),
            (Some(_), None) => self.removed.push(host),
            (Some(old), Some(new)) => {
                let from: Vec<NetworkId> = takes_part(before.intent, host).collect();
                let to: Vec<NetworkId> = takes_part(after.intent, host).collect();
                let view = if from == to { views.steady(host, &to) } else { views.moving(host, &from, &to) };
                self.put(host, own_part(before, after, host, (old, new)), view);
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
    before: &Picture<'_>,
    after: &Picture<'_>,
    host: HostId,
    (old, new): (OwnHost, OwnHost),
) -> OwnPart {
    let networks = |picture: &Picture<'_>| memberships(picture.intent, host).collect::<Vec<_>>();
    let (from, to) = (networks(before), networks(after));
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
