//! Changes under test: when each was asked for, how many agents have it, and how long that took them.
//!
//! A change is recognised by what it makes of an entry. That is looked at once, when the entry is seen for the first time;
//! afterwards an agent that applies it adds to a counter and nothing more. It keeps true that an agent counts once for each
//! change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use model::{Endpoint, Keepalive, MemberId, NetworkId, WgPublicKey};
use tokio::sync::Notify;
use wire::Peer;

use super::histogram::Histogram;

/// What an agent must hold, or hold no more, to have a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A peer with this key.
    Key(WgPublicKey),
    /// This peer with this local endpoint.
    Local(MemberId, Endpoint),
    /// This peer no more.
    Gone(MemberId),
    /// Its own network with this keepalive.
    Keepalive(NetworkId, Keepalive),
}

/// One change. Its number is never 0.
#[derive(Debug)]
pub struct Change {
    mark: Mark,
    start: Instant,
    expected: AtomicU32,
    applied: AtomicU32,
    last: AtomicU64,
    /// A bit for each agent that has it: one that is told an older state again, by a server that forgot, counts once all the
    /// same.
    who: Mutex<Vec<u64>>,
    /// Each agent's time.
    pairs: Arc<Histogram>,
    complete: Notify,
}

impl Change {
    /// How many agents have it.
    pub fn applied(&self) -> u32 {
        self.applied.load(Ordering::Acquire)
    }

    /// How many are to have it.
    pub fn expected(&self) -> u32 {
        self.expected.load(Ordering::Acquire)
    }

    /// Whether all have it.
    pub fn is_complete(&self) -> bool {
        self.applied() >= self.expected()
    }

    /// How long the slowest of those took that have it.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.last.load(Ordering::Acquire))
    }

    /// Waits until all have it; whether they did in time.
    pub async fn wait(&self, limit: Duration) -> bool {
        let all = async {
            loop {
                let notified = self.complete.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if self.is_complete() {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// Fewer are to have it: one that was to have it cannot any more.
    pub fn expect(&self, agents: u32) {
        self.expected.store(agents, Ordering::Release);
        self.complete.notify_waiters();
    }

    /// Notes that this agent has it; whether that is news.
    fn note(&self, agent: u32) -> bool {
        let (word, bit) = ((agent / 64) as usize, 1_u64 << (agent % 64));
        let mut who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
        if who.len() <= word {
            who.resize(word + 1, 0);
        }
        let news = who[word] & bit == 0;
        who[word] |= bit;
        news
    }

    fn has(&self, agent: u32, now: Instant) {
        if !self.note(agent) {
            return;
        }
        let time = now.saturating_duration_since(self.start);
        self.pairs.add(time);
        self.last.fetch_max(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::AcqRel);
        if self.applied.fetch_add(1, Ordering::AcqRel) + 1 >= self.expected() {
            self.complete.notify_waiters();
        }
    }
}

/// All changes of one run.
#[derive(Debug, Default)]
pub struct Tracker {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    changes: Vec<Arc<Change>>,
    keys: HashMap<WgPublicKey, u32>,
    locals: HashMap<(MemberId, Endpoint), u32>,
    gone: HashMap<MemberId, u32>,
    keepalives: HashMap<(NetworkId, Keepalive), u32>,
}

impl Tracker {
    /// Begins a change that so many agents are to have: the clock runs.
    pub fn begin(&self, mark: Mark, expected: u32, pairs: &Arc<Histogram>) -> Arc<Change> {
        let change = Arc::new(Change {
            mark,
            start: Instant::now(),
            expected: AtomicU32::new(expected),
            applied: AtomicU32::new(0),
            last: AtomicU64::new(0),
            who: Mutex::default(),
            pairs: Arc::clone(pairs),
            complete: Notify::new(),
        });
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.changes.push(Arc::clone(&change));
        let number = u32::try_from(inner.changes.len()).expect("no run has so many changes");
        match mark {
            Mark::Key(key) => inner.keys.insert(key, number),
            Mark::Local(host, endpoint) => inner.locals.insert((host, endpoint), number),
            Mark::Gone(host) => inner.gone.insert(host, number),
            Mark::Keepalive(network, keepalive) => inner.keepalives.insert((network, keepalive), number),
        };
        change
    }

    /// Ends a change: who applies it later does not count.
    pub fn end(&self, change: &Change) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match &change.mark {
            Mark::Key(key) => inner.keys.remove(key),
            Mark::Local(host, endpoint) => inner.locals.remove(&(*host, *endpoint)),
            Mark::Gone(host) => inner.gone.remove(host),
            Mark::Keepalive(network, keepalive) => inner.keepalives.remove(&(*network, *keepalive)),
        };
    }

    fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of the change that made this entry; 0 for none.
    pub(super) fn of_entry(&self, member: MemberId, peer: &Peer) -> u32 {
        self.read(|inner| {
            let local = |endpoint: &Endpoint| inner.locals.get(&(member, *endpoint));
            let key = peer.key.as_ref().and_then(|key| inner.keys.get(key));
            let change = key.or_else(|| peer.local.iter().find_map(local));
            change.copied().unwrap_or(0)
        })
    }

    /// The number of the change that takes this peer away; 0 for none.
    pub(super) fn of_gone(&self, member: MemberId) -> u32 {
        self.read(|inner| inner.gone.get(&member).copied().unwrap_or(0))
    }

    /// The number of the change that made the network so; 0 for none.
    pub(super) fn of_keepalive(&self, network: NetworkId, keepalive: Keepalive) -> u32 {
        self.read(|inner| inner.keepalives.get(&(network, keepalive)).copied().unwrap_or(0))
    }

    /// This agent has the change.
    pub(super) fn applied(&self, number: u32, agent: u32, now: Instant) {
        let Some(index) = number.checked_sub(1) else {
            return;
        };
        let change = self.read(|inner| inner.changes.get(index as usize).cloned());
        if let Some(change) = change {
            change.has(agent, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: MemberId = MemberId::from_bytes([1; 16]);

    #[tokio::test]
    async fn a_change_is_complete_when_as_many_have_it_as_are_expected() {
        let (tracker, pairs) = (Tracker::default(), Arc::new(Histogram::default()));
        let change = tracker.begin(Mark::Gone(HOST), 2, &pairs);
        let number = tracker.of_gone(HOST);
        assert!(!change.wait(Duration::ZERO).await);
        tracker.applied(number, 70, change.start + Duration::from_millis(3));
        tracker.applied(0, 71, Instant::now());
        tracker.applied(number, 70, change.start + Duration::from_millis(9));
        assert!(!change.is_complete(), "an agent counts once");
        tracker.applied(number, 0, change.start + Duration::from_millis(2));
        assert!(change.wait(Duration::from_secs(1)).await);
        assert_eq!((change.slowest(), pairs.count()), (Duration::from_millis(3), 2));
        tracker.end(&change);
        assert_eq!(tracker.of_gone(HOST), 0);
    }

    #[tokio::test]
    async fn who_cannot_have_it_any_more_is_not_waited_for() {
        let (tracker, pairs) = (Tracker::default(), Arc::new(Histogram::default()));
        let change = tracker.begin(Mark::Gone(HOST), 1, &pairs);
        let waits = change.wait(Duration::from_secs(60));
        let (done, ()) = tokio::join!(waits, async { change.expect(0) });
        assert!(done);
    }
}
