//! What changes of the peers, as it is seen from the networks that a host takes part in: worked out and encoded once for
//! all hosts that take part in the same ones.
//!
//! Not for what changes of the host itself. It keeps true that nobody hears of a host with which it shares no network, nor of
//! itself.

use std::collections::BTreeMap;

use model::{HostId, NetworkId};
use wire::{Entry, PeersPart};

use super::changes::Changes;
use super::{Picture, Roster};

/// What changes of the peers of one host.
#[derive(Debug, Clone)]
pub(super) enum View {
    /// This; nothing, where it is empty.
    Part(PeersPart),
    /// More than is told in a delta.
    TooMuch,
}

/// What changes of the peers, as seen from everywhere.
pub(super) struct Views<'a> {
    pub(super) after: Picture<'a>,
    pub(super) rosters: (&'a Roster, &'a Roster),
    pub(super) changes: Changes,
    /// The most peers that a delta names.
    pub(super) most: usize,
    shared: BTreeMap<Vec<NetworkId>, View>,
    /// Peers that share several networks with somebody, encoded: the same for all who share these.
    merged: BTreeMap<(HostId, Vec<NetworkId>), Entry>,
}

impl<'a> Views<'a> {
    pub(super) fn new(
        after: Picture<'a>,
        rosters: (&'a Roster, &'a Roster),
        changes: Changes,
        most: usize,
    ) -> Self {
        Self { after, rosters, changes, most, shared: BTreeMap::new(), merged: BTreeMap::new() }
    }

    /// As seen by a host that takes part in these networks, before and after.
    pub(super) fn steady(&mut self, host: HostId, networks: &[NetworkId]) -> View {
        let named = |network: &NetworkId| self.changes.of(*network).binary_search(&host).is_ok();
        if networks.iter().any(named) {
            return self.moving(host, networks, networks);
        }
        if let Some(view) = self.shared.get(networks) {
            return view.clone();
        }
        let view = self.moving(host, networks, networks);
        self.shared.insert(networks.to_vec(), view.clone());
        view
    }

    /// As seen by this host alone: it took part in the first networks, and now takes part in the others. Both are ordered.
    pub(super) fn moving(&mut self, host: HostId, from: &[NetworkId], to: &[NetworkId]) -> View {
        let Some(peers) = self.differing(host, from, to) else {
            return View::TooMuch;
        };
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for peer in peers {
            match self.entry(to, peer) {
                Some(entry) => changed.push(entry),
                None => gone.push(peer.into()),
            }
        }
        View::Part(PeersPart::new(changed.iter(), &gone))
    }

    /// The peers that the host sees differently, ordered; none if they are too many.
    ///
    /// It does see each of these differently: one that was changed in a network in which the host stays, and everybody in a
    /// network that it came into or left.
    fn differing(&self, host: HostId, from: &[NetworkId], to: &[NetworkId]) -> Option<Vec<HostId>> {
        let (before, after) = self.rosters;
        // The host itself may be among them.
        let few = |count: usize| count <= self.most.saturating_add(1);
        let mut peers: Vec<HostId> = Vec::new();
        for network in to {
            let (count, stays) = match from.binary_search(network) {
                Ok(_) => (self.changes.of(*network).len(), true),
                Err(_) => (after.members(*network), false),
            };
            if !few(count) {
                return None;
            }
            match stays {
                true => peers.extend_from_slice(self.changes.of(*network)),
                false => peers.extend(after.hosts(*network)),
            }
        }
        for network in from.iter().filter(|network| to.binary_search(network).is_err()) {
            if !few(before.members(*network)) {
                return None;
            }
            peers.extend(before.hosts(*network));
        }
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|peer| *peer != host);
        (peers.len() <= self.most).then_some(peers)
    }

    fn entry(&mut self, networks: &[NetworkId], peer: HostId) -> Option<Entry> {
        let (_, roster) = self.rosters;
        if networks.len() == 1 {
            return roster.seen_from(&self.after, networks, peer);
        }
        let shared = roster.shared(networks, peer);
        if shared.len() < 2 {
            return roster.seen_from(&self.after, &shared, peer);
        }
        let key = (peer, shared);
        if let Some(entry) = self.merged.get(&key) {
            return Some(entry.clone());
        }
        let entry = roster.seen_from(&self.after, &key.1, peer)?;
        self.merged.insert(key, entry.clone());
        Some(entry)
    }
}
