//! What waits for one host until its connection takes it, and how much may wait for one host and for all of them.
//!
//! Knows no connection and no protocol. Invariants: what waits is bounded for each host in messages and bytes, and for
//! all hosts in bytes · where there is no room, everything that waits for that host is dropped, never a part of it: a
//! host that misses one change cannot use those after it · a small message finds room where nothing else waits, so that
//! a host can always be told to fetch · nobody waits here, neither who publishes nor another host.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use super::{Backlog, Delivery, Ended, Limits};

/// A message that tells a host to fetch, or that it was removed, is smaller than this.
const SMALL: usize = 1024;
/// An empty queue keeps this much room; a long one gives its room back.
const KEPT_ROOM: usize = 4;

/// What may wait, and what waits now, for all hosts together.
#[derive(Debug)]
pub(super) struct Room {
    /// Messages for one host.
    messages: usize,
    /// Bytes for one host; one message may be larger.
    each: usize,
    /// Bytes for all hosts.
    all: usize,
    /// Hosts that could take what waits for them, if their connections came to run.
    waiting_hosts: AtomicUsize,
    waiting_messages: AtomicUsize,
    waiting_bytes: AtomicUsize,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            messages: limits.queue_messages,
            each: limits.queue_bytes,
            all: limits.queued_bytes,
            waiting_hosts: AtomicUsize::new(0),
            waiting_messages: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
        })
    }

    /// What waits now. The three numbers are read one after the other, so they need not fit each other exactly.
    pub(super) fn backlog(&self) -> Backlog {
        Backlog {
            hosts: self.waiting_hosts.load(Ordering::Relaxed),
            messages: self.waiting_messages.load(Ordering::Relaxed),
            bytes: self.waiting_bytes.load(Ordering::Relaxed),
        }
    }

    fn give_back(&self, messages: usize, bytes: usize) {
        self.waiting_messages.fetch_sub(messages, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The messages of one connection.
pub(super) struct Mailbox {
    room: Arc<Room>,
    state: Mutex<State>,
    wake: AtomicWaker,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// The host listens: what is put here may reach it.
    listening: bool,
    /// The connection cannot take more now: the host does not read or acknowledge what it has.
    stuck: bool,
    /// It is among the waiting hosts.
    counted: bool,
    ended: Option<Ended>,
}

/// What a connection finds when it looks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Message(Bytes),
    Nothing,
    /// Somebody asked the connection to end.
    Ended(Ended),
}

impl Mailbox {
    pub(super) fn new(room: &Arc<Room>) -> Self {
        Self { room: Arc::clone(room), state: Mutex::default(), wake: AtomicWaker::new() }
    }

    /// Puts a message at the end of what waits.
    pub(super) fn offer(&self, payload: Bytes) -> Delivery {
        let mut state = self.lock();
        if state.ended.is_some() || !state.listening {
            return Delivery::Offline;
        }
        if !self.has_room(&state, payload.len()) {
            self.clear(&mut state);
            metrics::counter!("netloom_broker_overflows_total").increment(1);
            return Delivery::Full;
        }
        self.room.waiting_messages.fetch_add(1, Ordering::Relaxed);
        self.room.waiting_bytes.fetch_add(payload.len(), Ordering::Relaxed);
        state.bytes += payload.len();
        state.waiting.push_back(payload);
        self.recount(&mut state);
        drop(state);
        self.wake.wake();
        Delivery::Queued
    }

    fn has_room(&self, state: &State, size: usize) -> bool {
        let empty = state.waiting.is_empty();
        if empty && size <= SMALL {
            return true;
        }
        let after = self.room.waiting_bytes.load(Ordering::Relaxed).saturating_add(size);
        // Where it gets tight, hosts that keep up go first: those for which something waits already give it up.
        let tight = !empty && after > self.room.all / 2;
        let own = empty || (state.waiting.len() < self.room.messages && state.bytes + size <= self.room.each);
        own && !tight && after <= self.room.all
    }

    /// The next message, if there is `room` for one at the connection.
    pub(super) fn take(&self, room: bool) -> Found {
        let mut state = self.lock();
        if let Some(reason) = state.ended {
            return Found::Ended(reason);
        }
        if !room {
            return Found::Nothing;
        }
        let Some(payload) = state.waiting.pop_front() else {
            return Found::Nothing;
        };
        state.bytes -= payload.len();
        self.room.give_back(1, payload.len());
        if state.waiting.is_empty() {
            shrink(&mut state.waiting);
            self.recount(&mut state);
        }
        Found::Message(payload)
    }

    /// Has this task woken by the next message and by the wish that the connection end.
    pub(super) fn watch(&self, waker: &Waker) {
        self.wake.register(waker);
    }

    /// Asks the connection to end; what waits is dropped. The first reason counts.
    pub(super) fn end(&self, reason: Ended) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(reason);
        self.clear(&mut state);
        drop(state);
        self.wake.wake();
    }

    /// Why the connection was asked to end.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.lock().listening = listening;
    }

    pub(super) fn is_listening(&self) -> bool {
        self.lock().listening
    }

    /// Says whether the connection could take a message.
    pub(super) fn set_stuck(&self, stuck: bool) {
        let mut state = self.lock();
        state.stuck = stuck;
        self.recount(&mut state);
    }

    fn clear(&self, state: &mut State) {
        self.room.give_back(state.waiting.len(), state.bytes);
        state.waiting.clear();
        state.bytes = 0;
        shrink(&mut state.waiting);
        self.recount(state);
    }

    fn recount(&self, state: &mut State) {
        let counts = !state.waiting.is_empty() && !state.stuck;
        if counts == state.counted {
            return;
        }
        state.counted = counts;
        if counts {
            self.room.waiting_hosts.fetch_add(1, Ordering::Relaxed);
        } else {
            self.room.waiting_hosts.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut state = std::mem::take(&mut *self.lock());
        self.clear(&mut state);
    }
}

fn shrink(waiting: &mut VecDeque<Bytes>) {
    if waiting.capacity() > KEPT_ROOM {
        *waiting = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(messages: usize, each: usize, all: usize) -> Arc<Room> {
        Room::new(&Limits {
            queue_messages: messages,
            queue_bytes: each,
            queued_bytes: all,
            ..Limits::default()
        })
    }

    fn listening(room: &Arc<Room>) -> Mailbox {
        let mailbox = Mailbox::new(room);
        mailbox.set_listening(true);
        mailbox
    }

    fn payload(size: usize) -> Bytes {
        Bytes::from(vec![7; size])
    }

    #[test]
    fn messages_wait_only_for_a_host_that_listens() {
        let room = room(10, 1_000_000, 1_000_000);
        let mailbox = Mailbox::new(&room);
        assert_eq!(mailbox.offer(payload(1)), Delivery::Offline);
        mailbox.set_listening(true);
        assert_eq!(mailbox.offer(payload(1)), Delivery::Queued);
        assert_eq!(mailbox.take(false), Found::Nothing);
        assert_eq!(mailbox.take(true), Found::Message(payload(1)));
        assert_eq!(mailbox.take(true), Found::Nothing);
        mailbox.end(Ended::Kicked);
        mailbox.end(Ended::Shutdown);
        assert_eq!(mailbox.offer(payload(1)), Delivery::Offline);
        assert_eq!(mailbox.take(true), Found::Ended(Ended::Kicked), "the first reason counts");
    }

    #[test]
    fn what_finds_no_room_takes_all_that_waited_with_it_and_then_there_is_room_to_say_so() {
        for (room, size, fits) in
            [(room(3, 1_000_000, 1_000_000), 10, 3), (room(100, 5_000, 1_000_000), 2_000, 2)]
        {
            let mailbox = listening(&room);
            for _ in 0..fits {
                assert_eq!(mailbox.offer(payload(size)), Delivery::Queued);
            }
            assert_eq!(mailbox.offer(payload(size)), Delivery::Full);
            assert_eq!(room.backlog(), Backlog::default(), "nothing of it is left");
            assert_eq!(mailbox.offer(payload(SMALL)), Delivery::Queued);
            assert_eq!(mailbox.take(true), Found::Message(payload(SMALL)));
            assert_eq!(mailbox.ended(), None);
        }
    }

    #[test]
    fn however_many_changes_there_are_a_host_that_takes_none_costs_the_same() {
        let room = room(64, 100_000, 1_000_000);
        let mailbox = listening(&room);
        for _ in 0..10_000 {
            if mailbox.offer(payload(300)) == Delivery::Full {
                assert_eq!(mailbox.offer(payload(60)), Delivery::Queued, "the word to fetch");
            }
            assert!(room.backlog().messages <= 64 && room.backlog().bytes <= 100_000);
        }
    }

    #[test]
    fn where_it_gets_tight_hosts_that_do_not_keep_up_give_way_and_the_others_notice_nothing() {
        let room = room(64, 40_000, 100_000);
        let hanging = listening(&room);
        assert_eq!(hanging.offer(payload(30_000)), Delivery::Queued);
        let also = listening(&room);
        assert_eq!(also.offer(payload(30_000)), Delivery::Queued);
        let healthy = listening(&room);
        assert_eq!(healthy.offer(payload(30_000)), Delivery::Queued);
        assert_eq!(hanging.offer(payload(2_000)), Delivery::Full);
        assert_eq!(hanging.offer(payload(60)), Delivery::Queued);
        assert_eq!(room.backlog().bytes, 60_060);
        assert!(matches!(healthy.take(true), Found::Message(_)));
        assert_eq!(healthy.offer(payload(30_000)), Delivery::Queued);
        assert_eq!(listening(&room).offer(payload(90_000)), Delivery::Full, "not even half of it fits");
        assert_eq!(listening(&room).offer(payload(SMALL)), Delivery::Queued);
    }

    #[test]
    fn the_backlog_counts_hosts_that_wait_for_the_server_and_not_those_that_the_server_waits_for() {
        let room = room(64, 100_000, 1_000_000);
        let (moving, hanging) = (listening(&room), listening(&room));
        for mailbox in [&moving, &hanging] {
            assert_eq!(mailbox.offer(payload(100)), Delivery::Queued);
        }
        assert_eq!(room.backlog(), Backlog { hosts: 2, messages: 2, bytes: 200 });
        hanging.set_stuck(true);
        assert_eq!(hanging.offer(payload(100)), Delivery::Queued);
        assert_eq!(room.backlog(), Backlog { hosts: 1, messages: 3, bytes: 300 });
        assert!(matches!(moving.take(true), Found::Message(_)));
        assert_eq!(room.backlog().hosts, 0);
        hanging.set_stuck(false);
        assert_eq!(room.backlog(), Backlog { hosts: 1, messages: 2, bytes: 200 });
        drop(hanging);
        assert_eq!(room.backlog(), Backlog::default(), "what still waited went with its connection");
    }
}
