//! The deltas of what was touched: the same as comparing every host's map before and after, without making the maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Generation, HostId, NetworkId};
use wire::{Delta, Membership, OwnHost, Peer, ServerLinks};

use super::{Picture, Touched, as_seen, membership, own_host, peer_entry, shared};

/// What changes for one host. A peer that many hosts see alike is one value that they share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostDelta {
    /// The host itself, when that changed.
    pub host: Option<OwnHost>,
    /// The server's doors, when they changed.
    pub server: Option<ServerLinks>,
    /// Networks that are new or changed.
    pub networks: BTreeMap<NetworkId, Membership>,
    /// Networks that are gone.
    pub networks_gone: Vec<NetworkId>,
    /// Peers that are new or changed.
    pub peers: BTreeMap<HostId, Arc<Peer>>,
    /// Peers that are gone.
    pub peers_gone: Vec<HostId>,
}

impl HostDelta {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The delta as it is sent, from one generation to another.
    pub fn to_wire(&self, base: Generation, generation: Generation) -> Delta {
        let Self { host, server, networks, networks_gone, peers, peers_gone } = self.clone();
        let peers = peers.into_iter().map(|(id, peer)| (id, Arc::unwrap_or_clone(peer))).collect();
        Delta { base, generation, host, server, networks, networks_gone, peers, peers_gone }
    }
}

/// What changes for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deltas {
    /// For each host whose map changes, what changes.
    pub changed: BTreeMap<HostId, HostDelta>,
    /// Hosts that fetch their map: they had none before, or too much of it changes.
    pub new: Vec<HostId>,
    /// Hosts that have none any more: they are told that they were removed.
    pub removed: Vec<HostId>,
}

/// The deltas from one picture to another. All that differs must be in `touched`.
pub fn deltas(before: &Picture<'_>, after: &Picture<'_>, touched: &Touched) -> Deltas {
    let mut deltas = Deltas::default();
    for host in &touched.own {
        match (own_host(before, *host), own_host(after, *host)) {
            (None, None) => {}
            (None, Some(_)) => deltas.new.push(*host),
            (Some(_), None) => deltas.removed.push(*host),
            (Some(_), Some(_)) if touched.whole.contains(host) => deltas.new.push(*host),
            (Some(old), Some(new)) => {
                let delta = own_part(before, after, *host, (old, new));
                if !delta.is_empty() {
                    deltas.changed.insert(*host, delta);
                }
            }
        }
    }
    peers(before, after, touched, &mut deltas.changed);
    deltas
}

fn own_part(
    before: &Picture<'_>,
    after: &Picture<'_>,
    host: HostId,
    (old, new): (OwnHost, OwnHost),
) -> HostDelta {
    let networks = |picture: &Picture<'_>| -> BTreeMap<NetworkId, Membership> {
        let nodes = picture.intent.nodes_of_host(host);
        nodes.filter_map(|node| Some((node.network, membership(picture.intent, node)?))).collect()
    };
    let (from, mut to) = (networks(before), networks(after));
    let gone = from.keys().filter(|id| !to.contains_key(id)).copied().collect();
    to.retain(|id, membership| from.get(id) != Some(membership));
    HostDelta {
        host: (old != new).then_some(new),
        server: (before.links != after.links).then(|| after.links.clone()),
        networks: to,
        networks_gone: gone,
        ..HostDelta::default()
    }
}

/// What becomes of a peer for those who share these networks with it before and after.
#[derive(Debug, Clone)]
enum Verdict {
    Same,
    Gone,
    Now(Arc<Peer>),
}

/// Verdicts are made once for all hosts for which they are the same: nearly always one for the whole network.
struct Verdicts<'a> {
    before: Picture<'a>,
    after: Picture<'a>,
    known: BTreeMap<(HostId, Vec<NetworkId>, Vec<NetworkId>), Verdict>,
}

impl Verdicts<'_> {
    fn of(&mut self, host: HostId, peer: HostId) -> Verdict {
        let from = shared(self.before.intent, host, peer);
        let to = shared(self.after.intent, host, peer);
        let key = (peer, from, to);
        if let Some(verdict) = self.known.get(&key) {
            return verdict.clone();
        }
        let verdict = self.find(&key);
        self.known.insert(key, verdict.clone());
        verdict
    }

    fn find(&self, (peer, from, to): &(HostId, Vec<NetworkId>, Vec<NetworkId>)) -> Verdict {
        let entry = |picture: &Picture<'_>, shared: &[NetworkId]| {
            if shared.is_empty() {
                return None;
            }
            let nodes = shared.iter().filter_map(|network| picture.intent.node_of(*peer, *network));
            peer_entry(picture, *peer, nodes.map(as_seen).collect())
        };
        match (entry(&self.before, from), entry(&self.after, to)) {
            (None, None) => Verdict::Same,
            (Some(_), None) => Verdict::Gone,
            (Some(old), Some(new)) if old == new => Verdict::Same,
            (None | Some(_), Some(new)) => Verdict::Now(Arc::new(new)),
        }
    }
}

fn peers(
    before: &Picture<'_>,
    after: &Picture<'_>,
    touched: &Touched,
    changed: &mut BTreeMap<HostId, HostDelta>,
) {
    let mut verdicts = Verdicts { before: *before, after: *after, known: BTreeMap::new() };
    let has_map = |picture: &Picture<'_>, host| picture.intent.host(host).is_some();
    for (host, peer) in touched.pairs_in_order() {
        if touched.whole.contains(&host) || !has_map(before, host) || !has_map(after, host) {
            continue;
        }
        match verdicts.of(host, peer) {
            Verdict::Same => {}
            Verdict::Gone => changed.entry(host).or_default().peers_gone.push(peer),
            Verdict::Now(entry) => drop(changed.entry(host).or_default().peers.insert(peer, entry)),
        }
    }
}
