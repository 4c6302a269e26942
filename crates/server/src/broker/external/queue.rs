//! What waits to be handed to a broker that is not ours: a queue for each host, one for all of them in turn.
//!
//! Not for the broker's own queues, which it bounds itself. Invariants: what waits is bounded, for each host and in all · where
//! there is no room all that waits for that host is dropped, never a part of it · a small message finds room where nothing
//! else waits for its host, so that a host can always be told to fetch · nothing waits while there is no connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use model::HostId;
use tokio::sync::Notify;

use crate::broker::{Backlog, Delivery, Limits};

/// A message that tells a host to fetch, or that it was removed, is smaller than this.
const SMALL: usize = 1024;

/// The messages of all hosts.
#[derive(Debug)]
pub(super) struct Queue {
    /// Messages for one host.
    messages: usize,
    /// Bytes for one host.
    each: usize,
    /// Bytes for all.
    all: usize,
    state: Mutex<State>,
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    waiting: HashMap<HostId, Waiting>,
    /// Each host of `waiting` once; for some of them nothing waits any more.
    turns: VecDeque<HostId>,
    /// Hosts for which something waits.
    hosts: usize,
    messages: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            messages: limits.queue_messages,
            each: limits.queue_bytes,
            all: limits.queued_bytes,
            state: Mutex::default(),
            more: Notify::new(),
        }
    }

    /// Takes messages from now on.
    pub(super) fn open(&self) {
        self.lock().open = true;
    }

    /// Drops all that waits, and takes nothing.
    pub(super) fn close(&self) {
        *self.lock() = State::default();
    }

    /// Puts a message at the end of what waits for a host.
    pub(super) fn offer(&self, host: HostId, payload: Bytes) -> Delivery {
        let mut state = self.lock();
        if !state.open {
            return Delivery::Offline;
        }
        if !self.has_room(&state, host, payload.len()) {
            state.drop_all_of(host);
            metrics::counter!("netloom_broker_overflows_total").increment(1);
            return Delivery::Full;
        }
        state.put(host, payload);
        drop(state);
        self.more.notify_one();
        Delivery::Queued
    }

    fn has_room(&self, state: &State, host: HostId, size: usize) -> bool {
        let all = state.bytes.saturating_add(size) <= self.all;
        match state.waiting.get(&host) {
            None => all || size <= SMALL,
            Some(own) if own.messages.is_empty() => all || size <= SMALL,
            Some(own) => all && own.messages.len() < self.messages && own.bytes + size <= self.each,
        }
    }

    /// The next message; hosts take turns. Loses nothing when it is not waited for any longer.
    pub(super) async fn next(&self) -> (HostId, Bytes) {
        loop {
            let more = self.more.notified();
            if let Some(message) = self.lock().take() {
                return message;
            }
            more.await;
        }
    }

    /// What waits now.
    pub(super) fn backlog(&self) -> Backlog {
        let state = self.lock();
        Backlog { hosts: state.hosts, messages: state.messages, bytes: state.bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, host: HostId, payload: Bytes) {
        self.messages += 1;
        self.bytes += payload.len();
        let waiting = self.waiting.entry(host).or_insert_with(|| {
            self.turns.push_back(host);
            Waiting::default()
        });
        self.hosts += usize::from(waiting.messages.is_empty());
        waiting.bytes += payload.len();
        waiting.messages.push_back(payload);
    }

    fn take(&mut self) -> Option<(HostId, Bytes)> {
        while let Some(host) = self.turns.pop_front() {
            let Some(waiting) = self.waiting.get_mut(&host) else { continue };
            let payload = waiting.messages.pop_front();
            if let Some(payload) = &payload {
                waiting.bytes -= payload.len();
                self.messages -= 1;
                self.bytes -= payload.len();
                self.hosts -= usize::from(waiting.messages.is_empty());
            }
            if waiting.messages.is_empty() {
                self.waiting.remove(&host);
            } else {
                self.turns.push_back(host);
            }
            if let Some(payload) = payload {
                return Some((host, payload));
            }
        }
        None
    }

    /// Its turn stays: to look for it would cost more than to find nothing at it.
    fn drop_all_of(&mut self, host: HostId) {
        let Some(waiting) = self.waiting.get_mut(&host).filter(|waiting| !waiting.messages.is_empty()) else {
            return;
        };
        let dropped = std::mem::take(waiting);
        self.messages -= dropped.messages.len();
        self.bytes -= dropped.bytes;
        self.hosts -= 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const A: HostId = HostId::from_bytes([0xa; 16]);
    const B: HostId = HostId::from_bytes([0xb; 16]);

    fn queue(messages: usize, each: usize, all: usize) -> Queue {
        let limits =
            Limits { queue_messages: messages, queue_bytes: each, queued_bytes: all, ..Limits::default() };
        let queue = Queue::new(&limits);
        queue.open();
        queue
    }

    fn payload(size: usize) -> Bytes {
        Bytes::from(vec![7; size])
    }

    fn taken(queue: &Queue) -> Option<(HostId, usize)> {
        queue.next().now_or_never().map(|(host, payload)| (host, payload.len()))
    }

    #[test]
    fn nothing_waits_while_there_is_no_connection() {
        let queue = queue(9, 9_000, 9_000);
        assert_eq!(queue.offer(A, payload(1)), Delivery::Queued);
        queue.close();
        assert_eq!(queue.offer(A, payload(1)), Delivery::Offline);
        assert_eq!((queue.backlog(), taken(&queue)), (Backlog::default(), None));
    }

    #[test]
    fn hosts_take_turns_and_each_hears_in_order() {
        let queue = queue(9, 9_000, 9_000);
        for size in [1, 2, 3] {
            assert_eq!(queue.offer(A, payload(size)), Delivery::Queued);
        }
        assert_eq!(queue.offer(B, payload(4)), Delivery::Queued);
        assert_eq!(queue.backlog(), Backlog { hosts: 2, messages: 4, bytes: 10 });
        let order: Vec<_> = std::iter::from_fn(|| taken(&queue)).collect();
        assert_eq!(order, [(A, 1), (B, 4), (A, 2), (A, 3)]);
        assert_eq!(queue.backlog(), Backlog::default());
    }

    #[test]
    fn what_finds_no_room_takes_all_that_waited_for_its_host_and_then_the_word_to_fetch_gets_through() {
        for (queue, size, fits) in [(queue(3, 90_000, 90_000), 10, 3), (queue(100, 5_000, 90_000), 2_000, 2)]
        {
            assert_eq!(queue.offer(B, payload(10)), Delivery::Queued);
            for _ in 0..fits {
                assert_eq!(queue.offer(A, payload(size)), Delivery::Queued);
            }
            assert_eq!(queue.offer(A, payload(size)), Delivery::Full);
            assert_eq!(queue.backlog(), Backlog { hosts: 1, messages: 1, bytes: 10 });
            assert_eq!(queue.offer(A, payload(60)), Delivery::Queued);
            assert_eq!((taken(&queue), taken(&queue), taken(&queue)), (Some((B, 10)), Some((A, 60)), None));
        }
    }

    #[test]
    fn however_much_is_published_while_nobody_takes_it_what_waits_stays_bounded() {
        let queue = queue(64, 100_000, 200_000);
        let hosts: Vec<HostId> = (0..100).map(|number| HostId::from_bytes([number; 16])).collect();
        for _ in 0..1_000 {
            for host in &hosts {
                if queue.offer(*host, payload(3_000)) == Delivery::Full {
                    assert_eq!(queue.offer(*host, payload(60)), Delivery::Queued, "the word to fetch");
                }
            }
            let Backlog { bytes, messages, .. } = queue.backlog();
            assert!(bytes <= 200_000 + hosts.len() * SMALL && messages <= 64 * hosts.len());
        }
    }
}
