//! What was taken away from this host goes from its disk as well.
//!
//! The log of deltas still says what they have replaced: a peer that is gone lies in the base, or in an earlier delta. Not for
//! what is written otherwise (`carry`). It keeps true that some seconds after a peer or its key was taken away, or when this
//! process ends, no file of ours holds it; and that many that go together cost one writing.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{MemberId, WgPublicKey};
use reconcile::Changed;
use wire::HostMap;

use super::Engine;
use super::carry::not_on_disk;

/// How long what was taken away may lie there.
pub(super) const FORGET_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    /// Notes that there is something to be forgotten, if there is.
    pub(super) fn note_taken(&mut self, changed: &Changed) {
        let Some(map) = self.agent.map() else { return };
        let takes_away = match changed {
            Changed::Everything => true,
            Changed::Peers { members, keys, .. } => is_without(map, members, keys),
        };
        if takes_away {
            let at = self.now() + FORGET_WITHIN;
            self.forget_at.get_or_insert(at);
        }
    }

    /// Writes the map without what was taken away, if there is any such thing.
    pub(super) fn forget(&mut self) {
        let (Some(_), Some(map)) = (self.forget_at.take(), self.agent.map()) else { return };
        self.store_error = self.map_file.fold(map).err().map(|error| not_on_disk(&error));
    }
}

/// Whether the map lacks one of these peers, or these peers one of their keys.
fn is_without(map: &HostMap, members: &BTreeSet<MemberId>, keys: &BTreeSet<WgPublicKey>) -> bool {
    let left: BTreeSet<_> = members.iter().filter_map(|member| map.peers.get(member)?.key).collect();
    members.iter().any(|member| !map.peers.contains_key(member)) || !keys.is_subset(&left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::map;

    #[test]
    fn only_what_leaves_a_peer_or_a_key_behind_is_worth_a_writing() {
        let mut now = map(2);
        let member = |number: u8| MemberId::from_bytes([number; 16]);
        let key = now.peers[&member(1)].key.unwrap();
        let is_without = |now: &HostMap, number: u8, keys: &[WgPublicKey]| {
            is_without(now, &BTreeSet::from([member(number)]), &keys.iter().copied().collect())
        };
        assert!(!is_without(&now, 1, &[key]), "it came, or moved");
        assert!(is_without(&now, 1, &[key, WgPublicKey::from_bytes([77; 32])]), "it has another key");
        assert!(is_without(&now, 99, &[]), "it is gone");
        now.peers.get_mut(&member(1)).unwrap().key = None;
        assert!(is_without(&now, 1, &[key]), "it is reached through another");
    }
}
