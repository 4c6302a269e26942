//! The difference of two host maps, and how to apply it.
//!
//! Laws: `patch(a, delta(a, b)) == b`, and `delta(a, a)` changes nothing but the generation.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use model::{Generation, MemberId, NetworkId};

use crate::{HostMap, Membership, OwnHost, Peer, ServerLinks};

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
    /// Networks that are new or changed.
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
}

impl Delta {
    /// Whether it changes anything but the generation.
    pub fn is_empty(&self) -> bool {
        let Self { base: _, generation: _, host, server, networks, networks_gone, peers, peers_gone } = self;
        host.is_none()
            && server.is_none()
            && networks.is_empty()
            && networks_gone.is_empty()
            && peers.is_empty()
            && peers_gone.is_empty()
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

/// The difference of two maps of the same host.
pub fn delta(from: &HostMap, to: &HostMap) -> Delta {
    Delta {
        base: from.generation,
        generation: to.generation,
        host: (from.host != to.host).then(|| to.host.clone()),
        server: (from.server != to.server).then(|| to.server.clone()),
        networks: changed(&from.networks, &to.networks),
        networks_gone: gone(&from.networks, &to.networks),
        peers: changed(&from.peers, &to.peers),
        peers_gone: gone(&from.peers, &to.peers),
    }
}

/// Applies a delta in place. A wrong base changes nothing.
pub fn patch(map: &mut HostMap, delta: Delta) -> Result<(), WrongBase> {
    if delta.base != map.generation {
        return Err(WrongBase { base: delta.base, have: map.generation });
    }
    let Delta { base: _, generation, host, server, networks, networks_gone, peers, peers_gone } = delta;
    map.generation = generation;
    map.host = host.unwrap_or_else(|| map.host.clone());
    map.server = server.unwrap_or_else(|| map.server.clone());
    networks_gone.iter().for_each(|id| drop(map.networks.remove(id)));
    map.networks.extend(networks);
    peers_gone.iter().for_each(|id| drop(map.peers.remove(id)));
    map.peers.extend(peers);
    Ok(())
}
