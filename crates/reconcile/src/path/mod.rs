//! The choice of paths: for each peer which of its addresses WireGuard is to use, and when to try another.
//!
//! Sans-IO. Inputs are `handle_*`, outputs `poll_action` and `poll_deadline`; `now` is the time since some fixed moment of
//! the agent's run (never the wall clock, which people set). After any `handle_*` both polls may give something new; extra
//! calls do no harm. Actions are carried out in order.
//!
//! WireGuard judges: handshakes and counters come in through `handle_observed`, and the device is read only when `Look`
//! asks for it: at rest once a minute. It keeps true that a session that lives is never torn down, and that nothing is torn
//! down at all before a look has shown that no session was made meanwhile.

mod candidate;
mod state;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{Endpoint, Timestamp, WgPublicKey};

pub use candidate::{Candidate, Own, PathKind, PeerView, candidates};
pub use status::{Obstacle, PathStatus};

use crate::{ActualPeer, DesiredPeer, Device, Interface, Op};
use candidate::kind_in_use;
use state::{Effect, Event, State, step};

/// How often the device is read at rest.
const REST: Duration = Duration::from_secs(60);
/// A look that brought nothing (the device could not be read) is repeated after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A session as old as this is about to end unless it is renewed, which a living one would have been.
const SESSION: Duration = Duration::from_secs(150);

/// How a peer gets another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointing {
    /// Its session stays.
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
            Self::Poke(key) => peer(key)
                .map(|peer| Op::Poke(*key, peer.keepalive))
                .into_iter()
                .collect(),
            Self::Point(key, endpoint, Pointing::Move) if peer(key).is_some() => {
                vec![Op::SetEndpoint(*key, *endpoint)]
            }
            Self::Point(_, _, Pointing::Move) => Vec::new(),
            Self::Point(key, endpoint, Pointing::Restart) => {
                let Some(peer) = peer(key) else { return Vec::new() };
                let fresh = DesiredPeer {
                    endpoint: Some(*endpoint),
                    ..peer.clone()
                };
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
}

/// What was last observed of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Observation {
    endpoint: Option<Endpoint>,
    handshake: Option<Timestamp>,
    rx: u64,
}

impl Observation {
    const fn of(peer: &ActualPeer) -> Self {
        Self {
            endpoint: peer.endpoint,
            handshake: peer.last_handshake,
            rx: peer.rx,
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    view: PeerView,
    /// What the map gives, then what WireGuard learned by itself, if that is something else.
    list: Vec<Candidate>,
    state: State,
    target: Option<Endpoint>,
    last: Option<Observation>,
    heard_at: Duration,
    /// Its time has come; the next observation decides.
    due: bool,
    /// What the map gave before it changed; the next observation decides.
    changed_from: Option<Vec<Endpoint>>,
    /// The next observation only says from where bytes count.
    baseline: bool,
}

/// All paths of a host. See the module.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    own: Own,
    started: bool,
    peers: BTreeMap<WgPublicKey, Entry>,
    rendezvous: BTreeMap<WgPublicKey, Endpoint>,
    rendezvous_answers: BTreeMap<WgPublicKey, bool>,
    due: BTreeSet<(Duration, WgPublicKey)>,
    rest_at: Duration,
    actions: VecDeque<PathAction>,
}

impl Paths {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// This host is like that now. A change of its addresses is a roam: the rendezvous and all peers hear of it at once.
    pub fn handle_own(&mut self, own: Own, now: Duration) {
        let before = std::mem::replace(&mut self.own, own);
        let started = std::mem::replace(&mut self.started, true);
        let roamed = started && before.local != self.own.local && !self.own.local.is_empty();
        let moved = started && !before.seen.is_empty() && before.seen != self.own.seen;
        if roamed {
            self.handle_server_back();
        }
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            self.refresh(key);
            let lives = matches!(self.peers[&key].state, State::Direct | State::Verifying { .. });
            if roamed || (moved && lives) {
                self.advance(key, Event::Doubt, now);
            }
        }
    }

    /// The map says this of a peer: a new one, or one that changed. A new one is to be added to the device with
    /// `endpoint`, which is all it needs to begin.
    pub fn handle_peer(&mut self, key: WgPublicKey, view: PeerView, now: Duration) {
        if let Some(entry) = self.peers.get_mut(&key) {
            entry.view = view;
            self.refresh(key);
            return;
        }
        let list = candidates(&self.own, &view);
        let state = State::begin(list.len(), now);
        let target = list.first().map(|candidate| candidate.endpoint);
        let entry = Entry {
            view,
            list,
            state,
            target,
            last: None,
            heard_at: now,
            due: false,
            changed_from: None,
            baseline: false,
        };
        self.due.extend(entry.state.deadline().map(|at| (at, key)));
        self.peers.insert(key, entry);
        self.look();
    }

    /// The map has this peer no more.
    pub fn handle_gone(&mut self, key: &WgPublicKey) {
        if let Some(entry) = self.peers.remove(key) {
            self.due.retain(|(_, other)| other != key);
            drop(entry);
        }
    }

    /// The rendezvous, resolved. One that moved is tried at its new address at once.
    pub fn handle_rendezvous(&mut self, rendezvous: BTreeMap<WgPublicKey, Endpoint>) {
        let before = std::mem::replace(&mut self.rendezvous, rendezvous);
        for (key, endpoint) in &self.rendezvous {
            if before.get(key).is_some_and(|old| old != endpoint) {
                self.actions
                    .push_back(PathAction::Point(*key, *endpoint, Pointing::Restart));
            }
        }
    }

    /// The server is back after it was away: it may have forgotten from where it saw this host, and WireGuard alone would
    /// notice only minutes later.
    pub fn handle_server_back(&mut self) {
        let restart = |(key, endpoint): (&WgPublicKey, &Endpoint)| {
            PathAction::Point(*key, *endpoint, Pointing::Restart)
        };
        self.actions.extend(self.rendezvous.iter().map(restart));
    }

    /// What the device shows.
    pub fn handle_observed(&mut self, device: &Device, now: Duration) {
        self.rest_at = now + REST;
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            match device.peers.get(&key) {
                Some(peer) => self.observe(key, peer, device.at, now),
                None => self.observe_absent(key, now),
            }
        }
        let answers = |key: &WgPublicKey| {
            device
                .peers
                .get(key)
                .is_some_and(|peer| has_session(peer, device.at))
        };
        self.rendezvous_answers = self.rendezvous.keys().map(|key| (*key, answers(key))).collect();
    }

    /// A deadline of `poll_deadline` has come.
    pub fn handle_deadline(&mut self, now: Duration) {
        let later = self
            .due
            .split_off(&(now + Duration::from_nanos(1), WgPublicKey::from_bytes([0; 32])));
        let due = std::mem::replace(&mut self.due, later);
        let resting = self.rest_at <= now && !self.peers.is_empty();
        if due.is_empty() && !resting {
            return;
        }
        for (_, key) in due {
            let Some(entry) = self.peers.get_mut(&key) else {
                continue;
            };
            entry.due = true;
            // Should the look bring nothing, this asks again.
            entry.state = entry.state.postponed(now + LOOK_AGAIN);
            self.due.extend(entry.state.deadline().map(|at| (at, key)));
        }
        self.rest_at = self.rest_at.max(now + LOOK_AGAIN);
        self.look();
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<PathAction> {
        self.actions.pop_front()
    }

    /// When `handle_deadline` is to be called, and why.
    pub fn poll_deadline(&self) -> Option<(Duration, PathWait)> {
        let trying = self.due.first().map(|(at, _)| (*at, PathWait::Trying));
        let rest = (!self.peers.is_empty()).then_some((self.rest_at, PathWait::Rest));
        trying.into_iter().chain(rest).min_by_key(|(at, _)| *at)
    }

    /// Where a peer is to be sent when it is added.
    pub fn endpoint(&self, key: &WgPublicKey) -> Option<Endpoint> {
        let target = || self.peers.get(key).and_then(|entry| entry.target);
        self.rendezvous.get(key).copied().or_else(target)
    }

    /// All endpoints, for `desired`.
    pub fn endpoints(&self) -> BTreeMap<WgPublicKey, Endpoint> {
        let targets = self
            .peers
            .iter()
            .filter_map(|(key, entry)| Some((*key, entry.target?)));
        targets
            .chain(self.rendezvous.iter().map(|(key, endpoint)| (*key, *endpoint)))
            .collect()
    }

    /// How things stand with a peer, for people.
    pub fn status(&self, key: &WgPublicKey) -> Option<PathStatus> {
        let entry = self.peers.get(key)?;
        let used = entry.last.and_then(|last| last.endpoint).or(entry.target);
        Some(match (entry.state, used) {
            (State::Direct, Some(endpoint)) => PathStatus::Direct {
                endpoint,
                kind: kind_in_use(&self.own, &entry.list, endpoint),
            },
            (State::Verifying { .. }, Some(endpoint)) => PathStatus::Checking { endpoint },
            (
                State::Trying {
                    round: 0..state::ROUNDS,
                    ..
                },
                Some(_),
            ) => PathStatus::Trying {
                endpoint: entry.target,
                addresses: entry.list.len(),
            },
            (
                State::Trying { .. } | State::Verifying { .. } | State::Direct | State::Unreachable { .. },
                _,
            ) => PathStatus::Unreachable(Obstacle::of(&self.own, &entry.view, entry.list.len())),
        })
    }

    /// Which identities of the rendezvous answered lately, as of the last look.
    pub const fn rendezvous_answers(&self) -> &BTreeMap<WgPublicKey, bool> {
        &self.rendezvous_answers
    }

    fn look(&mut self) {
        if !self.actions.contains(&PathAction::Look) {
            self.actions.push_back(PathAction::Look);
        }
    }

    /// Computes a peer's candidates anew; if they differ, the next look decides what that means.
    fn refresh(&mut self, key: WgPublicKey) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let list = candidates(&self.own, &entry.view);
        let given = entry
            .list
            .iter()
            .filter(|candidate| candidate.kind != PathKind::Learned);
        if given.clone().eq(&list) {
            return;
        }
        let before = given.map(|candidate| candidate.endpoint).collect();
        entry.list = list;
        entry.changed_from.get_or_insert(before);
        self.look();
    }

    fn observe(&mut self, key: WgPublicKey, peer: &ActualPeer, at: Timestamp, now: Duration) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let seen = Observation::of(peer);
        let last = entry.last.replace(seen);
        let life = life(entry, last, peer, at);
        let due = std::mem::take(&mut entry.due);
        entry.baseline = false;
        if life.is_some() {
            entry.heard_at = now;
        }
        let patience = Duration::from_secs(2 * u64::from(entry.view.keepalive.get()) + 15);
        let silent = entry.state == State::Direct && now.saturating_sub(entry.heard_at) > patience;
        let astray = last.is_none() && life.is_none() && seen.endpoint != entry.target;

        if let Some(event) = life {
            self.advance(key, event, now);
        } else if silent {
            self.advance(key, Event::Silent, now);
        } else if astray {
            self.advance(key, Event::Candidate(0), now);
        }
        self.learn(key, seen);
        self.follow_change(key, seen.endpoint, now);
        let settled = life == Some(Event::Alive) || astray;
        if due && !settled {
            self.advance(key, Event::Due, now);
        }
    }

    /// A peer that is not in the device: adding it failed, or is still to come. A fresh start adds it.
    fn observe_absent(&mut self, key: WgPublicKey, now: Duration) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        entry.last = None;
        if std::mem::take(&mut entry.due) {
            self.advance(key, Event::Due, now);
        }
    }

    /// Remembers an endpoint that WireGuard learned by itself, to be tried after those of the map.
    fn learn(&mut self, key: WgPublicKey, seen: Observation) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let (State::Direct, Some(endpoint)) = (entry.state, seen.endpoint) else {
            return;
        };
        entry.target = Some(endpoint);
        entry.list.retain(|candidate| candidate.kind != PathKind::Learned);
        if !entry.list.iter().any(|candidate| candidate.endpoint == endpoint) {
            entry.list.push(Candidate {
                endpoint,
                kind: PathKind::Learned,
            });
        }
    }

    /// Acts on a change of what the map says, now that it is known what WireGuard does meanwhile.
    fn follow_change(&mut self, key: WgPublicKey, used: Option<Endpoint>, now: Duration) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(before) = entry.changed_from.take() else {
            return;
        };
        let has = |endpoint: Option<Endpoint>| {
            endpoint.and_then(|endpoint| {
                entry
                    .list
                    .iter()
                    .position(|candidate| candidate.endpoint == endpoint)
            })
        };
        let fresh = |candidate: &Candidate| {
            candidate.kind != PathKind::Learned && !before.contains(&candidate.endpoint)
        };
        let new = entry.list.iter().position(fresh);
        let listed = used.is_some_and(|used| entry.view.says(&used));
        let event = match entry.state {
            // The peer may be the one who roamed, and waits to hear from us.
            State::Direct | State::Verifying { .. } if listed => {
                self.actions.push_back(PathAction::Poke(key));
                return;
            }
            State::Direct | State::Verifying { .. } if used.is_some_and(|used| before.contains(&used)) => {
                new.map_or(Event::Doubt, Event::Candidate)
            }
            State::Direct | State::Verifying { .. } => Event::Doubt,
            State::Trying {
                round, until, heard, ..
            } => match (new, has(entry.target)) {
                (Some(new), _) => Event::Candidate(new),
                (None, Some(at)) => {
                    entry.state = State::Trying {
                        round,
                        at,
                        until,
                        heard,
                    };
                    return;
                }
                (None, None) => Event::Candidate(0),
            },
            State::Unreachable { .. } => match new {
                Some(new) => Event::Candidate(new),
                None => return,
            },
        };
        self.advance(key, event, now);
    }

    fn advance(&mut self, key: WgPublicKey, event: Event, now: Duration) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let before = entry.state;
        let (state, effect) = step(before, event, entry.list.len(), now);
        if before.deadline() != state.deadline() {
            before.deadline().map(|at| self.due.remove(&(at, key)));
            self.due.extend(state.deadline().map(|at| (at, key)));
        }
        let begins = |state| matches!(state, State::Verifying { pokes: 1, .. });
        entry.baseline = entry.baseline || (begins(state) && before != state);
        if before != State::Direct && state == State::Direct {
            entry.heard_at = now;
        }
        entry.state = state;
        let looks = entry.baseline;
        self.carry_out(key, effect);
        if looks {
            self.look();
        }
    }

    fn carry_out(&mut self, key: WgPublicKey, effect: Effect) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let (at, how) = match effect {
            Effect::None => return,
            Effect::Poke => return self.actions.push_back(PathAction::Poke(key)),
            Effect::Restart(at) => (at, Pointing::Restart),
            Effect::Move(at) => (at, Pointing::Move),
        };
        let Some(candidate) = entry.list.get(at) else {
            return;
        };
        entry.target = Some(candidate.endpoint);
        self.actions
            .push_back(PathAction::Point(key, candidate.endpoint, how));
        if how == Pointing::Move {
            self.actions.push_back(PathAction::Poke(key));
        }
    }
}

fn has_session(peer: &ActualPeer, at: Timestamp) -> bool {
    peer.last_handshake
        .is_some_and(|handshake| at.distance(handshake) < SESSION)
}

/// What an observation proves about a peer.
fn life(entry: &Entry, last: Option<Observation>, peer: &ActualPeer, at: Timestamp) -> Option<Event> {
    let Some(last) = last else {
        return has_session(peer, at).then_some(Event::Alive);
    };
    if peer.last_handshake.is_some() && peer.last_handshake != last.handshake {
        return Some(Event::Alive);
    }
    let heard = peer.rx != last.rx && peer.rx > 0;
    (heard && !entry.baseline).then_some(Event::Heard)
}

#[cfg(test)]
mod tests;
