//! What every peer has, so that a change of one peer need not ask gotatun, which can only list all of them.
//!
//! It is not for counters, nor for where a peer is at this moment: those are gotatun's, and read when somebody asks.
//! What gotatun forgets with a session, the time of the last handshake, is kept here.
//!
//! Invariant: gotatun has exactly these peers with exactly these settings once the planned steps are carried out, but
//! for the endpoints, which move by themselves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, SystemTime};

use gotatun::device::configure::PeerStats;

use super::allowed::AllowedIps;
use super::change::{Endpoints, PeerChange, Setting, Step};
use super::uapi::{PeerSettings, PeerState};
use crate::PublicKey;

/// Handshakes closer together than this are one: it is computed from two clocks.
const SAME_HANDSHAKE: Duration = Duration::from_secs(1);

/// All peers.
#[derive(Default)]
pub(super) struct Table {
    peers: HashMap<PublicKey, Known>,
    allowed: AllowedIps,
}

#[derive(Default)]
struct Known {
    setting: Setting,
    last_handshake: Option<SystemTime>,
}

/// What has to be done to gotatun.
#[derive(Default)]
pub(super) struct Plan {
    /// In this order.
    pub(super) steps: Vec<Step>,
    /// Peers that are kept alive, and looked for for the first time or anew.
    pub(super) sought: Vec<PublicKey>,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn has(&self, peer: &PublicKey) -> bool {
        self.peers.contains_key(peer)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.peers.keys()
    }

    /// Adds or changes a peer, and plans the steps that this takes.
    pub(super) fn put(&mut self, wanted: &PeerSettings, as_new: bool, endpoints: Endpoints, plan: &mut Plan) {
        let peer = wanted.public_key;
        let replace = as_new || wanted.replace_allowed_ips;
        let has_other_prefixes = self.allowed.change(peer, replace, &wanted.allowed_ips);
        let known = match self.peers.entry(peer) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let Known { setting, .. } = place.insert(Known::default());
                setting.change_to(wanted, as_new, endpoints);
                if setting.keepalive > 0 && setting.endpoint.is_some() {
                    plan.sought.push(peer);
                }
                let new = setting.of_new(peer, self.allowed.of(&peer));
                plan.steps.push(Step::Add(Box::new(new)));
                return;
            }
        };
        let change = known.setting.change_to(wanted, as_new, endpoints);
        if change.is_nothing() && !has_other_prefixes {
            return;
        }
        if known.setting.keepalive > 0 && change.is_a_new_search() {
            plan.sought.push(peer);
        }
        let allowed_ips = self.allowed.of(&peer);
        plan.steps.push(Step::Change(Box::new(PeerChange { peer, change, allowed_ips })));
    }

    /// Removes a peer, and says what this takes, if it was there.
    pub(super) fn remove(&mut self, peer: &PublicKey) -> Option<Step> {
        self.peers.remove(peer)?;
        self.allowed.forget(peer);
        Some(Step::Remove(*peer))
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes note of what only gotatun knew.
    pub(super) fn learn(&mut self, stats: &[PeerStats]) {
        let now = SystemTime::now();
        for PeerStats { peer, stats, .. } in stats {
            let Some(known) = self.peers.get_mut(peer.public_key.as_bytes()) else {
                continue;
            };
            known.setting.endpoint = peer.endpoint;
            if let Some(at) = stats.last_handshake.and_then(|ago| now.checked_sub(ago)) {
                known.saw_handshake(at);
            }
        }
    }

    /// All about a peer.
    pub(super) fn state(&self, PeerStats { peer, stats, .. }: PeerStats) -> PeerState {
        let public_key = peer.public_key.to_bytes();
        PeerState {
            public_key,
            preshared_key: peer.preshared_key,
            endpoint: peer.endpoint,
            keepalive: peer.keepalive.unwrap_or(0),
            allowed_ips: self.allowed.of(&public_key),
            last_handshake: self.peers.get(&public_key).and_then(|known| known.last_handshake),
            rx_bytes: stats.rx_bytes as u64,
            tx_bytes: stats.tx_bytes as u64,
        }
    }
}

impl Known {
    fn saw_handshake(&mut self, at: SystemTime) {
        let is_same = self.last_handshake.is_some_and(|before| {
            let apart = at.duration_since(before).or_else(|_| before.duration_since(at));
            apart.is_ok_and(|apart| apart < SAME_HANDSHAKE)
        });
        if !is_same {
            self.last_handshake = Some(at);
        }
    }
}
