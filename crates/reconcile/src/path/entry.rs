//! One peer as `Paths` keeps it: what the map says, what was observed last, and what that means for its state.
//!
//! What comes of it is collected in `pending` and `look`; `Paths` takes it from there.

use std::time::Duration;

use model::{Endpoint, Timestamp, WgPublicKey};

use super::candidate::{Candidate, Own, PathKind, PeerView, candidates, is_far, kind_in_use};
use super::state::{Effect, Event, ROUNDS, State, step};
use super::{LOOK_AGAIN, Obstacle, PathAction, PathStatus, Pointing, has_session};
use crate::ActualPeer;

/// What was last observed of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Observation {
    endpoint: Option<Endpoint>,
    handshake: Option<Timestamp>,
    rx: u64,
}

fn waits(list: &[Candidate]) -> Vec<Duration> {
    list.iter().map(Candidate::first_wait).collect()
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    key: WgPublicKey,
    view: PeerView,
    /// What the map gives, then what WireGuard learned by itself, if that is something else.
    list: Vec<Candidate>,
    state: State,
    /// Where it was last sent, by us or by WireGuard itself.
    target: Option<Endpoint>,
    last: Option<Observation>,
    heard_at: Duration,
    /// Its time has come; the next observation decides.
    due: bool,
    /// What the map gave before it changed; the next observation decides.
    changed_from: Option<Vec<Endpoint>>,
    /// The next observation only says from where bytes count.
    baseline: bool,
    /// What is to be done. One action, because WireGuard drops handshakes that follow each other within 20 ms.
    pub(super) pending: Option<PathAction>,
    /// Whether the device is to be looked at.
    pub(super) look: bool,
}

impl Entry {
    /// One that the device does not have yet: it is added with `target`, and there is nothing to see before it had its time.
    pub(super) fn added(key: WgPublicKey, view: PeerView, own: &Own, now: Duration) -> Self {
        let entry = Self::new(key, view, own, now);
        let last = Some(Observation { endpoint: entry.target, handshake: None, rx: 0 });
        Self { last, look: false, ..entry }
    }

    /// One that the device may have already.
    pub(super) fn new(key: WgPublicKey, view: PeerView, own: &Own, now: Duration) -> Self {
        let list = candidates(own, &view);
        Self {
            key,
            view,
            state: State::begin(&waits(&list), now),
            target: list.first().map(|candidate| candidate.endpoint),
            list,
            last: None,
            heard_at: now,
            due: false,
            changed_from: None,
            baseline: false,
            pending: None,
            look: true,
        }
    }

    pub(super) const fn key(&self) -> WgPublicKey {
        self.key
    }

    pub(super) const fn deadline(&self) -> Option<Duration> {
        self.state.deadline()
    }

    pub(super) const fn target(&self) -> Option<Endpoint> {
        self.target
    }

    pub(super) fn change(&mut self, view: PeerView, own: &Own) {
        self.view = view;
        self.refresh(own);
    }

    /// Computes the candidates anew; if they differ, the next look decides what that means.
    pub(super) fn refresh(&mut self, own: &Own) {
        let list = candidates(own, &self.view);
        let given = self.list.iter().filter(|candidate| candidate.kind != PathKind::Learned);
        if given.clone().eq(&list) {
            return;
        }
        let before = given.map(|candidate| candidate.endpoint).collect();
        self.list = list;
        self.changed_from.get_or_insert(before);
        self.look = true;
    }

    /// This host has moved, itself (`roamed`) or its NAT. What was near may be far away now.
    pub(super) fn moved(&mut self, own: &Own, roamed: bool, now: Duration) {
        let used = self.last.and_then(|last| last.endpoint).or(self.target);
        let far = roamed && used.is_some_and(|used| is_far(own, used.ip()));
        let better = self.list.first().is_some_and(|candidate| candidate.kind != PathKind::Routed);
        match self.state {
            State::Direct | State::Verifying { .. } if far && better => {
                self.advance(Event::Candidate(0), now);
            }
            State::Direct | State::Verifying { .. } => self.advance(Event::Doubt, now),
            State::Trying { .. } | State::Unreachable { .. } if roamed => self.advance(Event::Doubt, now),
            State::Trying { .. } | State::Unreachable { .. } => {}
        }
    }

    /// Its deadline has come: the next look decides; should it bring nothing, it is asked for again.
    pub(super) const fn fall_due(&mut self, now: Duration) {
        self.due = true;
        self.look = true;
        self.state = self.state.postponed(now.saturating_add(LOOK_AGAIN));
    }

    /// It is not in the device: adding it failed, or is still to come. A fresh start adds it.
    pub(super) fn observe_absent(&mut self, now: Duration) {
        self.last = None;
        if std::mem::take(&mut self.due) {
            self.advance(Event::Due, now);
        }
    }

    pub(super) fn observe(&mut self, peer: &ActualPeer, own: &Own, at: Timestamp, now: Duration) {
        let seen = Observation { endpoint: peer.endpoint, handshake: peer.last_handshake, rx: peer.rx };
        let last = self.last.replace(seen);
        let life = self.life(last, peer, at);
        let due = std::mem::take(&mut self.due);
        self.baseline = false;
        if life.is_some() {
            self.heard_at = now;
        }
        let patience = Duration::from_secs(2 * u64::from(self.view.keepalive.get()) + 15);
        let silent = self.state == State::Direct && now.saturating_sub(self.heard_at) > patience;
        let astray = last.is_none() && life.is_none() && seen.endpoint != self.target;

        if let Some(event) = life {
            self.advance(event, now);
        } else if silent {
            self.advance(Event::Silent, now);
        } else if astray {
            self.advance(Event::Candidate(0), now);
        }
        self.learn(seen.endpoint);
        self.follow_change(seen.endpoint, own, now);
        let settled = life == Some(Event::Alive) || astray;
        if due && !settled {
            self.advance(Event::Due, now);
        }
    }

    /// How things stand, for people.
    pub(super) fn status(&self, own: &Own) -> PathStatus {
        let used = self.last.and_then(|last| last.endpoint).or(self.target);
        match (self.state, used) {
            (State::Direct, Some(endpoint)) => {
                PathStatus::Direct { endpoint, kind: kind_in_use(own, &self.list, endpoint) }
            }
            (State::Verifying { .. }, Some(endpoint)) => PathStatus::Checking { endpoint },
            (State::Trying { round: 0..ROUNDS, .. }, Some(_)) => {
                PathStatus::Trying { endpoint: self.target, addresses: self.list.len() }
            }
            (
                State::Trying { .. } | State::Verifying { .. } | State::Direct | State::Unreachable { .. },
                _,
            ) => PathStatus::Unreachable(Obstacle::of(own, &self.view, self.list.len())),
        }
    }

    /// What an observation proves.
    fn life(&self, last: Option<Observation>, peer: &ActualPeer, at: Timestamp) -> Option<Event> {
        let Some(last) = last else {
            return has_session(peer, at).then_some(Event::Alive);
        };
        if peer.last_handshake.is_some() && peer.last_handshake != last.handshake {
            return Some(Event::Alive);
        }
        let heard = peer.rx != last.rx && peer.rx > 0;
        (heard && !self.baseline).then_some(Event::Heard)
    }

    /// Remembers an endpoint that WireGuard learned by itself, to be tried after those of the map.
    fn learn(&mut self, used: Option<Endpoint>) {
        let (State::Direct, Some(endpoint)) = (self.state, used) else {
            return;
        };
        self.target = used;
        self.list.retain(|candidate| candidate.kind != PathKind::Learned);
        if !self.list.iter().any(|candidate| candidate.endpoint == endpoint) {
            self.list.push(Candidate { endpoint, kind: PathKind::Learned });
        }
    }

    /// Acts on a change of what the map says, now that it is known what WireGuard does meanwhile.
    fn follow_change(&mut self, used: Option<Endpoint>, own: &Own, now: Duration) {
        let Some(before) = self.changed_from.take() else {
            return;
        };
        let at = |endpoint| self.list.iter().position(|candidate| Some(candidate.endpoint) == endpoint);
        let is_new = |c: &Candidate| c.kind != PathKind::Learned && !before.contains(&c.endpoint);
        // A private address somewhere else is the last resort, however new it is.
        let hopeful = self.list.iter().position(|c| is_new(c) && c.kind != PathKind::Routed);
        let new = hopeful.or_else(|| self.list.iter().position(is_new));
        let first = self.list.first().map(|first| first.kind);
        // What works is not left for it either, unless it is one itself: a server that was restarted knows the private
        // addresses of hosts before it sees them.
        let far = used.is_some_and(|used| is_far(own, used.ip()));
        let any = first.filter(|kind| *kind != PathKind::Routed || far).map(|_| 0);
        let best = hopeful.filter(|_| first != Some(PathKind::Lan)).or(any);
        let elsewhere = best.map_or(Event::Doubt, Event::Candidate);
        let event = match self.state {
            // Not proved yet, and now known to be far away.
            State::Verifying { .. } if self.kind(used) == Some(PathKind::Routed) && hopeful.is_some() => {
                elsewhere
            }
            // The peer may be the one who roamed, and waits to hear from us.
            State::Direct | State::Verifying { .. } if used.is_some_and(|used| self.view.says(&used)) => {
                return self.poke();
            }
            State::Direct | State::Verifying { .. } if used.is_some_and(|used| before.contains(&used)) => {
                elsewhere
            }
            State::Direct | State::Verifying { .. } => Event::Doubt,
            State::Trying { round, until, heard, .. } => match (new, at(self.target)) {
                (Some(new), _) => Event::Candidate(new),
                (None, Some(at)) => {
                    self.state = State::Trying { round, at, until, heard };
                    return;
                }
                (None, None) => Event::Candidate(0),
            },
            State::Unreachable { .. } => match new {
                Some(new) => Event::Candidate(new),
                None => return,
            },
        };
        if matches!(event, Event::Candidate(_)) {
            // What it learned was of the place that the peer has left.
            self.list.retain(|candidate| candidate.kind != PathKind::Learned);
        }
        self.advance(event, now);
    }

    fn kind(&self, endpoint: Option<Endpoint>) -> Option<PathKind> {
        let candidate = self.list.iter().find(|candidate| Some(candidate.endpoint) == endpoint)?;
        Some(candidate.kind)
    }

    fn advance(&mut self, event: Event, now: Duration) {
        let before = self.state;
        let (state, effect) = step(before, event, &waits(&self.list), now);
        if before != state && matches!(state, State::Verifying { pokes: 1, .. }) {
            self.baseline = true;
            self.look = true;
        }
        if before != State::Direct && state == State::Direct {
            self.heard_at = now;
        }
        self.state = state;
        match effect {
            Effect::None => {}
            Effect::Poke => self.poke(),
            Effect::Restart(at) => self.point(at, Pointing::Restart),
            Effect::Move(at) => self.point(at, Pointing::Move),
        }
    }

    fn poke(&mut self) {
        // Both ways of pointing send something already.
        self.pending.get_or_insert(PathAction::Poke(self.key));
    }

    fn point(&mut self, at: usize, how: Pointing) {
        let Some(candidate) = self.list.get(at) else {
            return;
        };
        self.target = Some(candidate.endpoint);
        self.pending = Some(PathAction::Point(self.key, candidate.endpoint, how));
    }
}
