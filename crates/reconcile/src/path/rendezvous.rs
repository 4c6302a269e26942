//! The peers of the rendezvous: called anew when this host has moved or the server was away, until they answer.
//!
//! They never send anything of their own, so only a handshake tells that they heard us; and a session that the server has
//! forgotten (it was restarted) makes it deaf to all but a handshake. A call is therefore a fresh start, never a poke.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Endpoint, Timestamp, WgPublicKey};

use super::{PathAction, Pointing};
use crate::{ActualPeer, Device};

/// How long a call waits for its answer; the last one leaves it to WireGuard's own retries.
const WAITS: [Duration; 6] = [
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(800),
    Duration::from_millis(1_500),
    Duration::from_secs(3),
    Duration::from_secs(6),
];
/// WireGuard takes no two handshakes from a peer within 20 ms: calls keep this apart.
const APART: Duration = Duration::from_millis(100);

type Calls = Vec<(WgPublicKey, PathAction)>;

/// A call whose answer is awaited.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// How many went out; 0 when the first had to wait.
    calls: usize,
    until: Duration,
    /// Its time has come; the next observation decides.
    due: bool,
}

#[derive(Debug, Clone)]
struct Door {
    endpoint: Endpoint,
    handshake: Option<Timestamp>,
    answers: bool,
    called_at: Duration,
    call: Option<Call>,
}

/// All identities of the rendezvous.
#[derive(Debug, Clone, Default)]
pub(super) struct Doors(BTreeMap<WgPublicKey, Door>);

impl Doors {
    /// These are the doors now; returns the calls for those that moved.
    pub(super) fn replace(&mut self, doors: BTreeMap<WgPublicKey, Endpoint>, now: Duration) -> Calls {
        self.0.retain(|key, _| doors.contains_key(key));
        let mut calls = Calls::new();
        for (key, endpoint) in doors {
            let Some(door) = self.0.get_mut(&key) else {
                // It is added with its endpoint, and thereby called.
                let call = Some(Call { calls: 1, until: now + WAITS[0], due: false });
                self.0.insert(key, Door { endpoint, handshake: None, answers: false, called_at: now, call });
                continue;
            };
            if std::mem::replace(&mut door.endpoint, endpoint) != endpoint {
                calls.extend(door.begin(key, now));
            }
        }
        calls
    }

    /// Calls all of them.
    pub(super) fn call(&mut self, now: Duration) -> Calls {
        self.0.iter_mut().filter_map(|(key, door)| door.begin(*key, now)).collect()
    }

    /// Calls those that are not being called.
    pub(super) fn call_the_others(&mut self, now: Duration) -> Calls {
        let others = self.0.iter_mut().filter(|(_, door)| door.call.is_none());
        others.filter_map(|(key, door)| door.begin(*key, now)).collect()
    }

    /// Takes note of answers, and calls again those whose time is up.
    pub(super) fn observe(&mut self, device: &Device, now: Duration) -> Calls {
        let each = |(key, door): (&WgPublicKey, &mut Door)| {
            door.observe(*key, device.peers.get(key), device.at, now)
        };
        self.0.iter_mut().filter_map(each).collect()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.0.values().filter_map(|door| door.call).map(|call| call.until).min()
    }

    /// Whose time has come: the next look decides; should it bring nothing, it is asked for again at `later`.
    pub(super) fn fall_due(&mut self, now: Duration, later: Duration) -> bool {
        let due = self.0.values_mut().filter_map(|door| door.call.as_mut()).filter(|call| call.until <= now);
        due.map(|call| (call.due, call.until) = (true, later)).count() > 0
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = (WgPublicKey, Endpoint)> {
        self.0.iter().map(|(key, door)| (*key, door.endpoint))
    }

    pub(super) fn endpoint(&self, key: &WgPublicKey) -> Option<Endpoint> {
        self.0.get(key).map(|door| door.endpoint)
    }

    pub(super) fn answers(&self) -> BTreeMap<WgPublicKey, bool> {
        self.0.iter().map(|(key, door)| (*key, door.answers)).collect()
    }
}

impl Door {
    fn begin(&mut self, key: WgPublicKey, now: Duration) -> Option<(WgPublicKey, PathAction)> {
        if now < self.called_at + APART {
            self.call = Some(Call { calls: 0, until: self.called_at + APART, due: false });
            return None;
        }
        self.again(key, 0, now)
    }

    /// Calls, if it was not done often enough already.
    fn again(&mut self, key: WgPublicKey, calls: usize, now: Duration) -> Option<(WgPublicKey, PathAction)> {
        let Some(wait) = WAITS.get(calls) else {
            self.call = None;
            return None;
        };
        self.called_at = now;
        self.call = Some(Call { calls: calls + 1, until: now + *wait, due: false });
        Some((key, PathAction::Point(key, self.endpoint, Pointing::Restart)))
    }

    fn observe(
        &mut self,
        key: WgPublicKey,
        peer: Option<&ActualPeer>,
        at: Timestamp,
        now: Duration,
    ) -> Option<(WgPublicKey, PathAction)> {
        let latest = peer.and_then(|peer| peer.last_handshake);
        self.answers = peer.is_some_and(|peer| super::has_session(peer, at));
        let before = std::mem::replace(&mut self.handshake, latest);
        let Call { calls, until: _, due } = self.call?;
        if calls > 0 && self.answers && latest != before {
            self.call = None;
            return None;
        }
        if !due {
            return None;
        }
        self.again(key, calls, now)
    }
}
