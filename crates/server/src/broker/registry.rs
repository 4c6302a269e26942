//! Who is connected: one connection for each host, with a bounded queue, and the order of what is told about it.
//!
//! Reads no bytes and knows no packets. Invariants: at most one connection of a host is registered, a newer one takes
//! the place of the older · events about a host are sent while the registry is locked and only for its registered
//! connection, so that their order is the true one · nobody waits while holding the lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::packet::Welcome;
use super::{BrokerEvent, Delivery, Ended, Limits};

/// All connections of this server.
pub(super) struct Registry {
    state: Mutex<State>,
    events: mpsc::Sender<BrokerEvent>,
    queue_messages: usize,
    budget: Budget,
    connections: usize,
}

/// How many bytes may wait.
#[derive(Clone)]
struct Budget {
    /// For one host.
    each: usize,
    /// For all hosts together.
    all: usize,
    /// What waits for all hosts now.
    waiting: Arc<AtomicUsize>,
}

struct State {
    clients: HashMap<Arc<str>, Arc<Client>>,
    open: bool,
}

/// One connection, as others see it.
pub(super) struct Client {
    pub(super) host: Arc<str>,
    queue: mpsc::Sender<Bytes>,
    queued_bytes: AtomicUsize,
    budget: Budget,
    /// It subscribed to its map topic.
    listening: AtomicBool,
    /// `Online` was sent for it, or for the connection it took over. Changed only under the registry's lock.
    announced: AtomicBool,
    ended: OnceLock<Ended>,
    wake: Notify,
}

impl Client {
    /// Asks the connection to end. The first reason counts.
    pub(super) fn end(&self, reason: Ended) {
        if self.ended.set(reason).is_ok() {
            self.wake.notify_one();
        }
    }

    /// Waits until somebody asks this connection to end.
    pub(super) async fn asked_to_end(&self) -> Ended {
        loop {
            if let Some(reason) = self.ended.get() {
                return *reason;
            }
            self.wake.notified().await;
        }
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Release);
    }

    /// The connection took this many bytes off its queue.
    pub(super) fn taken(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.budget.waiting.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn offer(&self, payload: Bytes) -> Delivery {
        if self.ended.get().is_some() || !self.listening.load(Ordering::Acquire) {
            return Delivery::Offline;
        }
        let size = payload.len();
        let before = self.queued_bytes.fetch_add(size, Ordering::AcqRel);
        let all_before = self.budget.waiting.fetch_add(size, Ordering::AcqRel);
        let outcome = if before > 0 && before + size > self.budget.each {
            Delivery::TooSlow
        } else if all_before + size > self.budget.all {
            metrics::counter!("netloom_broker_budget_reached_total").increment(1);
            Delivery::TooSlow
        } else {
            match self.queue.try_send(payload) {
                Ok(()) => return Delivery::Queued,
                Err(mpsc::error::TrySendError::Full(_)) => Delivery::TooSlow,
                Err(mpsc::error::TrySendError::Closed(_)) => Delivery::Offline,
            }
        };
        self.taken(size);
        if outcome == Delivery::TooSlow {
            self.end(Ended::TooSlow);
        }
        outcome
    }
}

impl Drop for Client {
    /// What still waited went with its queue.
    fn drop(&mut self) {
        self.budget.waiting.fetch_sub(*self.queued_bytes.get_mut(), Ordering::AcqRel);
    }
}

impl Registry {
    pub(super) fn new(limits: &Limits, events: mpsc::Sender<BrokerEvent>) -> Self {
        Self {
            state: Mutex::new(State { clients: HashMap::new(), open: true }),
            events,
            queue_messages: limits.queue_messages,
            budget: Budget { each: limits.queue_bytes, all: limits.queued_bytes, waiting: Arc::default() },
            connections: limits.connections,
        }
    }

    /// Registers a connection whose host proved itself; an older one of the same host is asked to end.
    pub(super) fn admit(&self, host: &str) -> Result<(Arc<Client>, mpsc::Receiver<Bytes>), Welcome> {
        let (queue, waiting) = mpsc::channel(self.queue_messages);
        let mut state = self.lock();
        let older = state.clients.get(host).cloned();
        if !state.open || (older.is_none() && state.clients.len() >= self.connections) {
            return Err(Welcome::Unavailable);
        }
        let announced = older.as_ref().is_some_and(|older| older.announced.load(Ordering::Relaxed));
        let host: Arc<str> = older.as_ref().map_or_else(|| host.into(), |older| older.host.clone());
        let client = Arc::new(Client {
            host: host.clone(),
            queue,
            queued_bytes: AtomicUsize::new(0),
            budget: self.budget.clone(),
            listening: AtomicBool::new(false),
            announced: AtomicBool::new(announced),
            ended: OnceLock::new(),
            wake: Notify::new(),
        });
        state.clients.insert(host, client.clone());
        drop(state);
        if let Some(older) = older {
            older.end(Ended::TakenOver);
        }
        Ok((client, waiting))
    }

    /// Unregisters a connection that ended, and tells it if its host was announced.
    pub(super) async fn leave(&self, client: &Arc<Client>, reason: Ended) {
        if !client.announced.load(Ordering::Relaxed) {
            self.lock().remove(client);
            return;
        }
        let permit = self.events.reserve().await;
        let mut state = self.lock();
        if !state.remove(client) {
            return;
        }
        if let Ok(permit) = permit {
            permit.send(BrokerEvent::Offline { host: client.host.clone(), reason });
        }
    }

    /// The host said on its presence topic that it is there, or that it goes.
    pub(super) async fn announce(&self, client: &Arc<Client>, online: bool) {
        let Ok(permit) = self.events.reserve().await else {
            return;
        };
        let state = self.lock();
        if !state.is_registered(client) {
            return;
        }
        let before = client.announced.swap(online, Ordering::Relaxed);
        let host = client.host.clone();
        if online {
            permit.send(BrokerEvent::Online { host });
        } else if before {
            permit.send(BrokerEvent::Offline { host, reason: Ended::Left });
        }
    }

    /// The host published a report.
    pub(super) async fn report(&self, client: &Arc<Client>, payload: Bytes) {
        let Ok(permit) = self.events.reserve().await else {
            return;
        };
        let state = self.lock();
        if state.is_registered(client) {
            permit.send(BrokerEvent::Report { host: client.host.clone(), payload });
        }
    }

    pub(super) fn publish(&self, host: &str, payload: Bytes) -> Delivery {
        let client = self.lock().clients.get(host).cloned();
        client.map_or(Delivery::Offline, |client| client.offer(payload))
    }

    pub(super) fn kick(&self, host: &str) -> bool {
        let client = self.lock().clients.get(host).cloned();
        if let Some(client) = &client {
            client.end(Ended::Kicked);
        }
        client.is_some()
    }

    pub(super) fn is_online(&self, host: &str) -> bool {
        let state = self.lock();
        state.clients.get(host).is_some_and(|client| client.announced.load(Ordering::Relaxed))
    }

    pub(super) fn is_listening(&self, host: &str) -> bool {
        let state = self.lock();
        state.clients.get(host).is_some_and(|client| client.listening.load(Ordering::Acquire))
    }

    pub(super) fn connected(&self) -> usize {
        self.lock().clients.len()
    }

    /// Lets nobody in any more and asks all connections to end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        for client in state.clients.values() {
            client.end(Ended::Shutdown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock leaves the state half changed, so a panic elsewhere does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_registered(&self, client: &Arc<Client>) -> bool {
        self.clients.get(&client.host).is_some_and(|current| Arc::ptr_eq(current, client))
    }

    fn remove(&mut self, client: &Arc<Client>) -> bool {
        let registered = self.is_registered(client);
        if registered {
            self.clients.remove(&client.host);
        }
        registered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(limits: Limits) -> (Registry, mpsc::Receiver<BrokerEvent>) {
        let (sender, events) = mpsc::channel(limits.events);
        (Registry::new(&limits, sender), events)
    }

    fn online(host: &str) -> BrokerEvent {
        BrokerEvent::Online { host: host.into() }
    }

    #[tokio::test]
    async fn a_connection_that_was_taken_over_tells_nothing_any_more() {
        let (registry, mut events) = registry(Limits::default());
        let (old, _old_queue) = registry.admit("a").expect("there is room");
        registry.announce(&old, true).await;
        let (new, _new_queue) = registry.admit("a").expect("there is room");
        assert_eq!(old.asked_to_end().await, Ended::TakenOver);
        registry.announce(&new, true).await;
        registry.report(&old, Bytes::from_static(b"late")).await;
        registry.leave(&old, Ended::TakenOver).await;
        assert!(registry.is_online("a"));
        registry.leave(&new, Ended::Lost).await;
        assert_eq!(events.recv().await, Some(online("a")));
        assert_eq!(events.recv().await, Some(online("a")));
        let last = BrokerEvent::Offline { host: "a".into(), reason: Ended::Lost };
        assert_eq!(events.recv().await, Some(last));
        assert!(events.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_newer_connection_that_dies_unannounced_still_takes_the_host_offline() {
        let (registry, mut events) = registry(Limits::default());
        let (old, _old_queue) = registry.admit("a").expect("there is room");
        registry.announce(&old, true).await;
        let (new, _new_queue) = registry.admit("a").expect("there is room");
        registry.leave(&old, Ended::TakenOver).await;
        registry.leave(&new, Ended::Lost).await;
        assert_eq!(events.recv().await, Some(online("a")));
        let last = BrokerEvent::Offline { host: "a".into(), reason: Ended::Lost };
        assert_eq!(events.recv().await, Some(last));
        assert_eq!(registry.connected(), 0);
    }

    #[test]
    fn messages_wait_only_for_a_host_that_listens_and_keeps_up() {
        let limits = Limits { queue_messages: 2, queue_bytes: 100, ..Limits::default() };
        let (registry, _events) = registry(limits);
        let payload = |size| Bytes::from(vec![0; size]);
        assert_eq!(registry.publish("a", payload(1)), Delivery::Offline);
        let (client, queue) = registry.admit("a").expect("there is room");
        assert_eq!(registry.publish("a", payload(1)), Delivery::Offline);
        client.set_listening(true);
        assert_eq!(registry.publish("a", payload(60)), Delivery::Queued);
        assert_eq!(registry.publish("a", payload(60)), Delivery::TooSlow);
        assert_eq!(client.ended.get(), Some(&Ended::TooSlow));
        assert_eq!(registry.publish("a", payload(1)), Delivery::Offline);
        drop(queue);

        let (client, _queue) = registry.admit("b").expect("there is room");
        client.set_listening(true);
        assert_eq!(registry.publish("b", payload(1)), Delivery::Queued);
        assert_eq!(registry.publish("b", payload(1)), Delivery::Queued);
        assert_eq!(registry.publish("b", payload(1)), Delivery::TooSlow);
    }

    #[test]
    fn a_full_or_closed_registry_admits_only_who_replaces_a_connection() {
        let (registry, _events) = registry(Limits { connections: 1, ..Limits::default() });
        let _first = registry.admit("a").expect("there is room");
        assert_eq!(registry.admit("b").err(), Some(Welcome::Unavailable));
        assert!(registry.admit("a").is_ok());
        registry.close();
        assert_eq!(registry.admit("a").err(), Some(Welcome::Unavailable));
    }

    #[test]
    fn what_waits_for_all_hosts_together_is_bounded_and_given_back() {
        let (registry, _events) = registry(Limits { queued_bytes: 100, ..Limits::default() });
        let payload = |size| Bytes::from(vec![0; size]);
        let (first, queue) = registry.admit("a").expect("there is room");
        first.set_listening(true);
        let (second, _queue) = registry.admit("b").expect("there is room");
        second.set_listening(true);
        assert_eq!(registry.publish("a", payload(60)), Delivery::Queued);
        assert_eq!(registry.publish("b", payload(60)), Delivery::TooSlow);
        assert_eq!(second.ended.get(), Some(&Ended::TooSlow));

        drop((first, queue));
        let (first, _queue) = registry.admit("a").expect("there is room");
        first.set_listening(true);
        assert_eq!(
            registry.publish("a", payload(100)),
            Delivery::Queued,
            "the queue of the connection before is gone"
        );
        first.taken(100);
        assert_eq!(registry.publish("a", payload(1)), Delivery::Queued);
    }
}
