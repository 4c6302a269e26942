//! Which clients came in at this gateway, as the device shows: told when a session begins or calls from elsewhere, when others
//! look for the client at another gateway, and else now and then.
//!
//! Not for reading the device, and not for saying where a client is: the server hears all of its gateways. It keeps true that
//! a client which stays adds one word in ten minutes, however often its keys are renewed; that whatever is told was so, in
//! particular that nothing was heard later than told; that reading takes a small part of the time however many peers there
//! are; and that a client which shakes hands here is `here` although the map leads elsewhere first, also while no server is
//! there to say so, and not for longer than it is heard.
//!
//! ```text
//!   first seen, from elsewhere, after a pause ──────────────────────────► told
//!   heard since it was told, and the map leads to another gateway first ─► told again; the next time not so soon
//!   ten minutes later ──────────────────────────────────────────────────► told again
//!
//!   the map leads to another gateway first ─► away ── heard since then ──────────────────────────► here
//!                                              ▲                                                   │
//!                                              └── no handshake for 180 s, or to yet another one ──┘
//!   the map leads here first ─► neither: it is sent to as the map says
//! ```
//!
//! A device shows when the latest handshake was, some only to a quarter of a second, and how many bytes were received. Bytes
//! that came between two readings were heard after the first of them. So a client that is at two gateways within a moment,
//! or back at the first with the session it had there, is found where it talks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{HostId, MemberId, Timestamp};
use wire::{ClientSeen, HostMap, Peer, Report};

use crate::access::{is_client, is_own_client};
use crate::{ActualPeer, Device};

/// How often the device is read while there are clients.
const EACH: Duration = Duration::from_secs(2);
/// Reading may take one part in this many of the time.
const SHARE: u32 = 50;
/// A handshake so long after the one before begins a session: none lives longer.
const SESSION: Duration = Duration::from_secs(180);
/// A session that goes on is told again after this.
const AGAIN: Duration = Duration::from_secs(600);
/// Heard later than it was told by less than this says nothing: reports take their time, and the server allows for that.
const SURELY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    told: ClientSeen,
    /// The latest handshake.
    handshake: Timestamp,
    /// Bytes received, and when they were counted.
    counted: (u64, Timestamp),
    /// It was heard after this.
    heard: Option<Timestamp>,
    /// How often in a row the map was contradicted.
    claims: u32,
}

impl Client {
    fn new(id: MemberId, peer: &ActualPeer, handshake: Timestamp, at: Timestamp) -> Self {
        let told = ClientSeen { id, endpoint: peer.endpoint, handshake, heard: None };
        Self { told, handshake, counted: (peer.rx, at), heard: None, claims: 0 }
    }

    /// What the device shows now.
    fn count(&mut self, peer: &ActualPeer, at: Timestamp) {
        let (rx, counted) = self.counted;
        if peer.rx > rx {
            self.heard = Some(counted);
        }
        self.counted = (peer.rx, at);
    }

    /// Whether this is worth a word although the client was told of already.
    fn is_news(&mut self, peer: &ActualPeer, handshake: Timestamp, is_elsewhere: bool) -> bool {
        let before = std::mem::replace(&mut self.handshake, handshake);
        if self.told.endpoint != peer.endpoint || handshake.distance(before) > SESSION {
            self.claims = 0;
            return true;
        }
        if is_elsewhere && self.last_heard().since(last_heard(&self.told)) > self.patience() {
            self.claims += 1;
            return true;
        }
        handshake.distance(self.told.handshake) >= AGAIN
    }

    /// So long after it was told the map is contradicted at the soonest. It grows, for one that talks with two gateways all
    /// the time must not have everybody follow it to and fro.
    fn patience(&self) -> Duration {
        match self.claims {
            0 => SURELY,
            claims => EACH.saturating_mul(1_u32.checked_shl(claims).unwrap_or(u32::MAX)).min(AGAIN),
        }
    }

    fn last_heard(&self) -> Timestamp {
        self.heard.map_or(self.handshake, |heard| heard.max(self.handshake))
    }

    fn tell(&mut self, peer: &ActualPeer) {
        let Self { handshake, heard, .. } = *self;
        self.told = ClientSeen { id: self.told.id, endpoint: peer.endpoint, handshake, heard };
    }
}

fn last_heard(seen: &ClientSeen) -> Timestamp {
    seen.heard.map_or(seen.handshake, |heard| heard.max(seen.handshake))
}

/// A client of this gateway that is looked for at another one first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Elsewhere {
    first: HostId,
    /// Since the map says so, by the device's clock; none before the device was read.
    since: Option<Timestamp>,
}

/// The gateway at which those who look for it begin, if that is another one.
fn elsewhere(map: &HostMap, peer: &Peer) -> Option<HostId> {
    let own = map.host.id;
    let mut nodes = peer.nodes.iter().filter(|node| is_own_client(own, node));
    nodes.find_map(|node| node.via.first().copied().filter(|first| *first != own))
}

/// Whether a session of this handshake may live.
fn lives(handshake: Option<Timestamp>, at: Timestamp) -> bool {
    handshake.is_some_and(|then| at.since(then) <= SESSION)
}

/// The clients of this gateway. See the module.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    seen: BTreeMap<MemberId, Client>,
    elsewhere: BTreeMap<MemberId, Elsewhere>,
    /// Those of them that are here all the same.
    here: BTreeSet<MemberId>,
    /// The device's clock when it was last read, and `now` then.
    clock: Option<(Timestamp, Duration)>,
    expected: bool,
    at: Duration,
}

impl Clients {
    /// Nobody came yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The map may have other clients than before. Costs what all members cost where it is another map, so it is for
    /// `Changed::Everything`; `handle_members` is for the rest.
    pub fn handle_map(&mut self, map: &HostMap, now: Duration) {
        self.expected = map.peers.values().any(|peer| peer.key.is_some() && is_client(map, peer));
        self.seen.retain(|member, _| map.peers.contains_key(member));
        let gone: Vec<MemberId> =
            self.elsewhere.keys().filter(|member| !map.peers.contains_key(member)).copied().collect();
        for member in map.peers.keys().chain(&gone) {
            self.look_for(map, *member, now);
        }
    }

    /// These members are new, changed or gone.
    pub fn handle_members<'a>(
        &mut self,
        map: &HostMap,
        members: impl IntoIterator<Item = &'a MemberId>,
        now: Duration,
    ) {
        for member in members {
            self.look_for(map, *member, now);
            match map.peers.get(member) {
                Some(peer) => self.expected |= peer.key.is_some() && is_client(map, peer),
                None => drop(self.seen.remove(member)),
            }
        }
    }

    /// This agent begins with a map and a device that an earlier run has left: whom that let in where the map leads
    /// elsewhere, as its addresses say, was here.
    pub fn handle_start(&mut self, map: &HostMap, device: &Device) {
        let was_here = |member: &&MemberId| {
            let key = map.peers.get(*member).and_then(|peer| peer.key);
            let there = key.and_then(|key| device.peers.get(&key)).filter(|there| !there.allowed.is_empty());
            there.is_some_and(|there| lives(there.last_handshake, device.at))
        };
        self.here.extend(self.elsewhere.keys().filter(was_here));
    }

    /// What the map says of where a client is.
    fn look_for(&mut self, map: &HostMap, member: MemberId, now: Duration) {
        let Some(first) = map.peers.get(&member).and_then(|peer| elsewhere(map, peer)) else {
            self.elsewhere.remove(&member);
            self.here.remove(&member);
            return;
        };
        if self.elsewhere.get(&member).is_some_and(|before| before.first == first) {
            return;
        }
        let since = self.clock.map(|(at, then)| at + now.saturating_sub(then));
        self.elsewhere.insert(member, Elsewhere { first, since });
        self.here.remove(&member);
    }

    /// What the device shows, and how long it took to read. Says whether there is something to tell.
    pub fn handle_observed(&mut self, map: &HostMap, device: &Device, took: Duration, now: Duration) -> bool {
        self.handle_unobserved(took, now);
        self.clock = Some((device.at, now));
        if !self.expected {
            return false;
        }
        let mut news = false;
        for (member, peer) in map.peers.iter().filter(|(_, peer)| is_client(map, peer)) {
            let there = peer.key.and_then(|key| device.peers.get(&key));
            let handshake = there.and_then(|there| there.last_handshake);
            if let (Some(there), Some(handshake)) = (there, handshake) {
                news |= self.observe(*member, there, handshake, device.at);
            }
            self.place(*member, handshake, device.at);
        }
        news
    }

    /// What the device shows of a client; whether that is news.
    fn observe(&mut self, member: MemberId, there: &ActualPeer, handshake: Timestamp, at: Timestamp) -> bool {
        let is_elsewhere = self.elsewhere.contains_key(&member);
        let Some(known) = self.seen.get_mut(&member) else {
            self.seen.insert(member, Client::new(member, there, handshake, at));
            return true;
        };
        known.count(there, at);
        let is_news = known.is_news(there, handshake, is_elsewhere);
        if is_news {
            known.tell(there);
        }
        is_news
    }

    /// Whether a client is here that is looked for elsewhere first.
    fn place(&mut self, member: MemberId, handshake: Option<Timestamp>, at: Timestamp) {
        let Some(elsewhere) = self.elsewhere.get_mut(&member) else { return };
        // Clocks are set back, too.
        let since = elsewhere.since.map_or(at, |since| since.min(at));
        elsewhere.since = Some(since);
        if !lives(handshake, at) {
            self.here.remove(&member);
        } else if self.seen.get(&member).is_some_and(|client| client.last_heard() >= since) {
            self.here.insert(member);
        }
    }

    /// Those who are here although the map leads to another gateway first: `Circumstances::here`, `Derived::set_here`.
    pub const fn here(&self) -> &BTreeSet<MemberId> {
        &self.here
    }

    /// The device could not be read, or is not ours, and that took so long.
    pub fn handle_unobserved(&mut self, took: Duration, now: Duration) {
        self.at = now + EACH.max(took.saturating_mul(SHARE));
    }

    /// For the report, by id. Of too many those who came last.
    pub fn seen(&self) -> Vec<ClientSeen> {
        let mut seen: Vec<ClientSeen> = self.seen.values().map(|client| client.told.clone()).collect();
        if seen.len() > Report::MOST_CLIENTS {
            seen.sort_unstable_by_key(|client| std::cmp::Reverse(last_heard(client)));
            seen.truncate(Report::MOST_CLIENTS);
            seen.sort_unstable_by_key(|client| client.id);
        }
        seen
    }

    /// When the device is to be read again.
    pub fn poll_deadline(&self) -> Option<Duration> {
        self.expected.then_some(self.at)
    }
}

#[cfg(test)]
mod tests;
