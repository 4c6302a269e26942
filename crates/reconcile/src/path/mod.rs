//! The choice of paths: for each peer which of its addresses WireGuard is to use, and when to try another.
//!
//! Sans-IO. Inputs are `handle_*`, outputs `poll_action` and `poll_deadline`; `now` is the time since some fixed moment of
//! the agent's run (never the wall clock, which people set). After any `handle_*` both polls may give something new; extra
//! calls do no harm. Actions are carried out in the order in which they were polled; those before a `Look` may be gathered.
//!
//! WireGuard judges: handshakes and counters come in through `handle_observed`, and the device is read only when `Look`
//! asks for it: at rest once a minute. A device cannot be asked about one peer, so a look costs what all of them cost; the
//! more it took, the longer the next one waits, whatever is being tried. It keeps true that a session that lives is never
//! torn down, that nothing is torn down at all before a look has shown that no session was made meanwhile, and that looks
//! take a small part of the machine however many peers there are.

mod candidate;
mod entry;
mod rendezvous;
mod state;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use model::{Endpoint, MemberId, Timestamp, WgPublicKey};
use wire::{HostMap, Peer};

pub use candidate::{Candidate, Own, PathKind, PeerView, candidates};
pub use status::{Obstacle, PathStatus};

use crate::access::is_client;
use crate::{ActualPeer, DesiredPeer, Device, Interface, Op};
use entry::Entry;
use rendezvous::Doors;

/// How often the device is read at rest.
const REST: Duration = Duration::from_secs(60);
/// A look that brought nothing (the device could not be read) is repeated after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// And after this at the least where it is known that it could not be read.
const LOOK_LATER: Duration = Duration::from_secs(5);
/// Looks may take one part in this many of the time.
const SHARE: u32 = 20;
/// And pause no longer than this for each peer: with a few peers, a look that took long was held up by something else.
const PAUSE_FOR_EACH: Duration = Duration::from_millis(1);
/// A session as old as this is about to end unless it is renewed, which a living one would have been.
const SESSION: Duration = Duration::from_secs(150);

/// How a peer gets another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointing {
    /// Its session stays, and something is sent to the new endpoint at once.
    Move,
    /// It is removed and added, so that WireGuard sends a handshake at once. Only where no session lives.
    Restart,
}

/// What is to be done for the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAction {
    /// Observe the device and hand it to `handle_observed`.
    Look,
    /// Send to this peer there.
    Point(WgPublicKey, Endpoint, Pointing),
    /// Send something to this peer at once.
    Poke(WgPublicKey),
}

impl PathAction {
    /// The ops that carry it out; none for `Look` and for a peer that the interface does not have.
    pub fn ops(&self, interface: &Interface) -> Vec<Op> {
        let peer = |key| interface.peers.get(key);
        match self {
            Self::Look => Vec::new(),
            Self::Poke(key) => peer(key).map(|peer| Op::Poke(*key, peer.keepalive)).into_iter().collect(),
            Self::Point(key, endpoint, Pointing::Move) => {
                let Some(peer) = peer(key) else { return Vec::new() };
                vec![Op::SetEndpoint(*key, *endpoint), Op::Poke(*key, peer.keepalive)]
            }
            Self::Point(key, endpoint, Pointing::Restart) => {
                let Some(peer) = peer(key) else { return Vec::new() };
                let fresh = DesiredPeer { endpoint: Some(*endpoint), ..peer.clone() };
                vec![Op::RemovePeer(*key), Op::AddPeer(*key, fresh)]
            }
        }
    }
}

/// Why `poll_deadline` wants to be called back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathWait {
    /// A peer's candidate has had its time.
    Trying,
    /// The look that is due at rest.
    Rest,
    /// The look that is wanted, and had to wait for what the last one took.
    Look,
}

/// All paths of a host. See the module.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    own: Own,
    started: bool,
    /// Where we were seen before we moved.
    left_behind: Option<Vec<Endpoint>>,
    peers: BTreeMap<WgPublicKey, Entry>,
    doors: Doors,
    due: BTreeSet<(Duration, WgPublicKey)>,
    rest_at: Duration,
    pending: BTreeMap<WgPublicKey, PathAction>,
    look: bool,
    /// No look before this.
    look_from: Duration,
    now: Duration,
}

impl Paths {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The whole map, with the machine's addresses: this host, its peers, and nobody else.
    pub fn handle_map(&mut self, map: &HostMap, local: BTreeSet<IpNet>, now: Duration) {
        self.handle_own(Own::new(map, local), now);
        let there: BTreeSet<WgPublicKey> = called(map, map.peers.values()).map(|(key, _)| key).collect();
        let gone: Vec<WgPublicKey> = self.peers.keys().filter(|key| !there.contains(key)).copied().collect();
        gone.iter().for_each(|key| self.handle_gone(key));
        for (key, peer) in called(map, map.peers.values()) {
            self.handle_peer(key, PeerView::new(map, peer), now);
        }
    }

    /// What the map says of these peers alone (`Changed::Peers`). Those that are new are added to the device now, with
    /// `endpoint`.
    pub fn handle_map_peers(
        &mut self,
        map: &HostMap,
        members: &BTreeSet<MemberId>,
        keys: &BTreeSet<WgPublicKey>,
        now: Duration,
    ) {
        let changed: Vec<(WgPublicKey, &Peer)> =
            called(map, members.iter().filter_map(|member| map.peers.get(member))).collect();
        let there: BTreeSet<WgPublicKey> = changed.iter().map(|(key, _)| *key).collect();
        let gone = keys.iter().filter(|key| !there.contains(*key));
        gone.for_each(|key| self.handle_gone(key));
        for (key, peer) in changed {
            let view = PeerView::new(map, peer);
            if self.peers.contains_key(&key) {
                self.handle_peer(key, view, now);
                continue;
            }
            self.now = now;
            self.peers.insert(key, Entry::added(key, view, &self.own, now));
            self.settle(key, None);
        }
    }

    /// This host is like that now. A change of its addresses is a roam: the rendezvous and all peers hear of it at once.
    pub fn handle_own(&mut self, mut own: Own, now: Duration) {
        self.now = now;
        if own.local.is_empty() {
            // Off the net: what counts is where it comes back.
            own.local.clone_from(&self.own.local);
        }
        let before = std::mem::replace(&mut self.own, own);
        // What the map says of our NAT is of the place we have left, until it says something else.
        if before.local.is_disjoint(&self.own.local) && !before.local.is_empty() {
            self.left_behind = Some(self.own.seen.clone());
        }
        if self.left_behind.as_ref() == Some(&self.own.seen) {
            self.own.seen.clear();
        } else {
            self.left_behind = None;
        }
        if !std::mem::replace(&mut self.started, true) {
            self.for_each(Entry::refresh);
            return;
        }
        let roamed = before.local != self.own.local;
        let moved = !before.seen.is_empty() && before.seen != self.own.seen;
        if roamed {
            let calls = self.doors.call(now);
            self.pending.extend(calls);
        }
        self.for_each(|entry, own| {
            entry.refresh(own);
            if roamed || moved {
                entry.moved(own, roamed, now);
            }
        });
    }

    /// The map says this of a peer: a new one, or one that changed. A new one is to be added to the device with
    /// `endpoint`, which is all it needs to begin; the next look tells whether it was there already.
    pub fn handle_peer(&mut self, key: WgPublicKey, view: PeerView, now: Duration) {
        self.now = now;
        let own = &self.own;
        self.peers
            .entry(key)
            .and_modify(|entry| entry.change(view.clone(), own))
            .or_insert_with(|| Entry::new(key, view, own, now));
        self.settle(key, None);
    }

    /// The map has this peer no more.
    pub fn handle_gone(&mut self, key: &WgPublicKey) {
        let Some(entry) = self.peers.remove(key) else {
            return;
        };
        entry.deadline().map(|at| self.due.remove(&(at, *key)));
        self.pending.remove(key);
    }

    /// The rendezvous, resolved. One that moved is called at its new address at once.
    pub fn handle_rendezvous(&mut self, rendezvous: BTreeMap<WgPublicKey, Endpoint>, now: Duration) {
        self.now = now;
        let calls = self.doors.replace(rendezvous, now);
        self.pending.extend(calls);
    }

    /// The server is back after it was away: it may have forgotten from where it saw this host, and WireGuard alone would
    /// notice only minutes later.
    pub fn handle_server_back(&mut self, now: Duration) {
        self.now = now;
        let calls = self.doors.call_the_others(now);
        self.pending.extend(calls);
    }

    /// What the device shows, and how long it took to read it.
    pub fn handle_observed(&mut self, device: &Device, took: Duration, now: Duration) {
        self.now = now;
        self.rest_at = now + REST;
        let peers = u32::try_from(device.peers.len()).unwrap_or(u32::MAX);
        self.look_from = now + took.saturating_mul(SHARE).min(PAUSE_FOR_EACH.saturating_mul(peers));
        self.for_each(|entry, own| match device.peers.get(&entry.key()) {
            Some(peer) => entry.observe(peer, own, device.at, now),
            None => entry.observe_absent(now),
        });
        let calls = self.doors.observe(device, now);
        self.pending.extend(calls);
    }

    /// The look was in vain, and took this long: the device could not be read, or is not ours.
    pub fn handle_unobserved(&mut self, took: Duration, now: Duration) {
        self.now = now;
        self.look_from = now + took.saturating_mul(SHARE).max(LOOK_LATER);
        self.rest_at = self.rest_at.max(self.look_from);
    }

    /// Something is amiss with the device: it is to be looked at as soon as that may be.
    pub const fn handle_amiss(&mut self, now: Duration) {
        self.now = now;
        self.look = true;
    }

    /// A deadline of `poll_deadline` has come.
    pub fn handle_deadline(&mut self, now: Duration) {
        self.now = now;
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key));
            if let Some(entry) = self.peers.get_mut(&key) {
                entry.fall_due(now);
                self.settle(key, None);
            }
        }
        let calling = self.doors.fall_due(now, now + LOOK_AGAIN);
        if calling || (self.rest_at <= now && !self.peers.is_empty()) {
            self.rest_at = self.rest_at.max(now + LOOK_AGAIN);
            self.look = true;
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<PathAction> {
        if let Some((_, action)) = self.pending.pop_first() {
            return Some(action);
        }
        let look = self.look && self.look_from <= self.now;
        look.then(|| {
            self.look = false;
            PathAction::Look
        })
    }

    /// When `handle_deadline` is to be called, and why.
    pub fn poll_deadline(&self) -> Option<(Duration, PathWait)> {
        let peer = self.due.first().map(|(at, _)| *at);
        let trying = peer.into_iter().chain(self.doors.deadline()).min().map(|at| (at, PathWait::Trying));
        let rest = (!self.peers.is_empty()).then_some((self.rest_at, PathWait::Rest));
        let look = self.look.then_some((self.look_from, PathWait::Look));
        trying.into_iter().chain(rest).chain(look).min_by_key(|(at, _)| *at)
    }

    /// Where a peer is to be sent when it is added.
    pub fn endpoint(&self, key: &WgPublicKey) -> Option<Endpoint> {
        self.doors.endpoint(key).or_else(|| self.peers.get(key).and_then(Entry::target))
    }

    /// All endpoints, for `desired`.
    pub fn endpoints(&self) -> BTreeMap<WgPublicKey, Endpoint> {
        let targets = self.peers.iter().filter_map(|(key, entry)| Some((*key, entry.target()?)));
        targets.chain(self.doors.endpoints()).collect()
    }

    /// How things stand with a peer, for people.
    pub fn status(&self, key: &WgPublicKey) -> Option<PathStatus> {
        self.peers.get(key).map(|entry| entry.status(&self.own))
    }

    /// Which identities of the rendezvous answered lately, as of the last look.
    pub fn rendezvous_answers(&self) -> BTreeMap<WgPublicKey, bool> {
        self.doors.answers()
    }

    fn for_each(&mut self, change: impl Fn(&mut Entry, &Own)) {
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(entry) = self.peers.get_mut(&key) else {
                continue;
            };
            let before = entry.deadline();
            change(entry, &self.own);
            self.settle(key, before);
        }
    }

    /// Takes over what came of a change of this peer, whose deadline was `before`.
    fn settle(&mut self, key: WgPublicKey, before: Option<Duration>) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let after = entry.deadline();
        if before != after {
            before.map(|at| self.due.remove(&(at, key)));
        }
        self.due.extend(after.map(|at| (at, key)));
        self.look |= std::mem::take(&mut entry.look);
        match entry.pending.take() {
            Some(PathAction::Poke(_)) => drop(self.pending.entry(key).or_insert(PathAction::Poke(key))),
            Some(action @ PathAction::Point(..)) => drop(self.pending.insert(key, action)),
            Some(PathAction::Look) | None => {}
        }
    }
}

/// The peers that this host calls; a client calls by itself, from wherever it is.
fn called<'a>(
    map: &HostMap,
    peers: impl Iterator<Item = &'a Peer>,
) -> impl Iterator<Item = (WgPublicKey, &'a Peer)> {
    peers.filter(|peer| !is_client(map, peer)).filter_map(|peer| Some((peer.key?, peer)))
}

fn has_session(peer: &ActualPeer, at: Timestamp) -> bool {
    peer.last_handshake.is_some_and(|handshake| at.distance(handshake) < SESSION)
}

#[cfg(test)]
mod tests;
