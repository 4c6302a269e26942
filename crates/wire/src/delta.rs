//! The difference of two host maps, and how to apply it.
//!
//! Laws: `patch(a, delta(a, b)) == b`, and `delta(a, a)` changes nothing but the generation.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use model::{Generation, MemberId, NetworkId};

use crate::{HostMap, Membership, OwnHost, Peer, RecordsChange, ServerLinks};

/// What changes from one host map to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Delta {
    /// The generation it changes.
    #[n(0)]
    pub base: Generation,
    /// The generation it makes; higher.
    #[n(1)]
    pub generation: Generation,
    /// The host itself, when that changed.
    #[n(2)]
    pub host: Option<OwnHost>,
    /// The server's doors, when they changed.
    #[n(3)]
    pub server: Option<ServerLinks>,
    /// Networks that are new, or changed in more than their records. What is held of their records stays, where the host
    /// takes part.
    #[cbor(n(4), default, skip_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<NetworkId, Membership>,
    /// Networks that are gone.
    #[cbor(n(5), default, skip_if = "Vec::is_empty")]
    pub networks_gone: Vec<NetworkId>,
    /// Peers that are new or changed.
    #[cbor(n(6), default, skip_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<MemberId, Peer>,
    /// Peers that are gone.
    #[cbor(n(7), default, skip_if = "Vec::is_empty")]
    pub peers_gone: Vec<MemberId>,
    /// Networks whose records are others.
    #[cbor(n(8), default, skip_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<NetworkId, RecordsChange>,
}

impl Delta {
    /// Whether it changes anything but the generation.
    pub fn is_empty(&self) -> bool {
        let Self {
            base: _,
            generation: _,
            host,
            server,
            networks,
            networks_gone,
            peers,
            peers_gone,
            records,
        } = self;
        host.is_none()
            && server.is_none()
            && networks.is_empty()
            && networks_gone.is_empty()
            && peers.is_empty()
            && peers_gone.is_empty()
            && records.is_empty()
    }
}

/// The delta changes another generation than the map has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the delta starts from generation {base}, the map is at {have}")]
pub struct WrongBase {
    /// What the delta starts from.
    pub base: Generation,
    /// What the map has.
    pub have: Generation,
}

fn changed<K: Ord + Copy, V: PartialEq + Clone>(
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    let differs = |(key, value): &(&K, &V)| from.get(*key) != Some(*value);
    to.iter().filter(differs).map(|(key, value)| (*key, value.clone())).collect()
}

fn gone<K: Ord + Copy, V>(from: &BTreeMap<K, V>, to: &BTreeMap<K, V>) -> Vec<K> {
    from.keys().filter(|key| !to.contains_key(*key)).copied().collect()
}

fn networks(from: &HostMap, to: &HostMap) -> BTreeMap<NetworkId, Membership> {
    let without = |(id, membership): (&NetworkId, &Membership)| (*id, membership.without_records());
    let was = |id: &NetworkId| from.networks.get(id).map(Membership::without_records);
    to.networks.iter().map(without).filter(|(id, now)| was(id).as_ref() != Some(now)).collect()
}

fn records(from: &HostMap, to: &HostMap) -> BTreeMap<NetworkId, RecordsChange> {
    let change = |(id, now): (&NetworkId, &Membership)| {
        let held = from.networks.get(id).filter(|_| now.takes_part());
        let held = held.map(|held| held.records.as_slice()).unwrap_or_default();
        let change = RecordsChange::between(held, &now.records);
        (!change.is_empty()).then_some((*id, change))
    };
    to.networks.iter().filter_map(change).collect()
}

/// The difference of two maps of the same host.
pub fn delta(from: &HostMap, to: &HostMap) -> Delta {
    Delta {
        base: from.generation,
        generation: to.generation,
        host: (from.host != to.host).then(|| to.host.clone()),
        server: (from.server != to.server).then(|| to.server.clone()),
        networks: networks(from, to),
        networks_gone: gone(&from.networks, &to.networks),
        peers: changed(&from.peers, &to.peers),
        peers_gone: gone(&from.peers, &to.peers),
        records: records(from, to),
    }
}

/// Applies a delta in place. A wrong base changes nothing.
pub fn patch(map: &mut HostMap, delta: Delta) -> Result<(), WrongBase> {
    if delta.base != map.generation {
        return Err(WrongBase { base: delta.base, have: map.generation });
    }
    let Delta { base: _, generation, host, server, networks, networks_gone, peers, peers_gone, records } =
        delta;
    map.generation = generation;
    map.host = host.unwrap_or_else(|| map.host.clone());
    map.server = server.unwrap_or_else(|| map.server.clone());
    networks_gone.iter().for_each(|id| drop(map.networks.remove(id)));
    for (id, told) in networks {
        let held = map.networks.get_mut(&id).filter(|_| told.takes_part());
        let records = held.map(|held| std::mem::take(&mut held.records)).unwrap_or_default();
        map.networks.insert(id, Membership { records, ..told });
    }
    for (id, change) in records {
        if let Some(told) = map.networks.get_mut(&id) {
            change.apply(&mut told.records);
        }
    }
    peers_gone.iter().for_each(|id| drop(map.peers.remove(id)));
    map.peers.extend(peers);
    Ok(())
}
