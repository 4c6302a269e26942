//! Who is connected: one connection for each host, with what waits for it, and the order of what is told about it.
//!
//! Reads no bytes and knows no packets. Invariants: at most one connection of a host is registered, a newer one takes
//! the place of the older · events about a host are sent while the registry is locked and only for its registered
//! connection, so that their order is the true one · nobody waits while holding the lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use model::HostId;
use tokio::sync::mpsc;

use super::mailbox::{Mailbox, Room};
use super::packet::Welcome;
use super::{Backlog, BrokerEvent, Delivery, Ended, Limits};

/// All connections of this server.
pub(super) struct Registry {
    state: Mutex<State>,
    events: mpsc::Sender<BrokerEvent>,
    room: Arc<Room>,
    connections: usize,
}

struct State {
    clients: HashMap<HostId, Arc<Client>>,
    open: bool,
    /// Whether hosts are to come here, and not to another server.
    leads: bool,
}

/// One connection, as others see it.
pub(super) struct Client {
    pub(super) host: HostId,
    pub(super) mailbox: Mailbox,
    /// `Online` was sent for it, or for the connection it took over. Changed only under the registry's lock.
    announced: AtomicBool,
}

impl Registry {
    pub(super) fn new(limits: &Limits, events: mpsc::Sender<BrokerEvent>) -> Self {
        Self {
            state: Mutex::new(State { clients: HashMap::new(), open: true, leads: true }),
            events,
            room: Room::new(limits),
            connections: limits.connections,
        }
    }

    /// Registers a connection whose host proved itself; an older one of the same host is asked to end.
    pub(super) fn admit(&self, host: HostId) -> Result<Arc<Client>, Welcome> {
        let mut state = self.lock();
        let older = state.clients.get(&host).cloned();
        if !state.is_open() || (older.is_none() && state.clients.len() >= self.connections) {
            return Err(Welcome::Unavailable);
        }
        let announced = older.as_ref().is_some_and(|older| older.announced.load(Ordering::Relaxed));
        let mailbox = Mailbox::new(&self.room);
        let client = Arc::new(Client { host, mailbox, announced: AtomicBool::new(announced) });
        state.clients.insert(host, client.clone());
        drop(state);
        if let Some(older) = older {
            older.mailbox.end(Ended::TakenOver);
        }
        Ok(client)
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
            permit.send(BrokerEvent::Offline { host: client.host, reason });
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
        let host = client.host;
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
            permit.send(BrokerEvent::Report { host: client.host, payload });
        }
    }

    pub(super) fn publish(&self, host: HostId, payload: Bytes) -> Delivery {
        self.client(host).map_or(Delivery::Offline, |client| client.mailbox.offer(payload))
    }

    pub(super) fn kick(&self, host: HostId) -> bool {
        let client = self.client(host);
        if let Some(client) = &client {
            client.mailbox.end(Ended::Kicked);
        }
        client.is_some()
    }

    pub(super) fn is_online(&self, host: HostId) -> bool {
        let state = self.lock();
        state.clients.get(&host).is_some_and(|client| client.announced.load(Ordering::Relaxed))
    }

    pub(super) fn is_listening(&self, host: HostId) -> bool {
        self.lock().clients.get(&host).is_some_and(|client| client.mailbox.is_listening())
    }

    pub(super) fn connected(&self) -> usize {
        self.lock().clients.len()
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.room.backlog()
    }

    fn client(&self, host: HostId) -> Option<Arc<Client>> {
        self.lock().clients.get(&host).cloned()
    }

    /// Whether anybody is let in.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    /// Lets nobody in any more and asks all connections to end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        state.end_all();
    }

    /// Lets hosts in while this server leads. When it does no more, all connections end: hosts look for the one that does.
    pub(super) fn lead(&self, leads: bool) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.leads, leads) && !leads {
            state.end_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock leaves the state half changed, so a panic elsewhere does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn is_open(&self) -> bool {
        self.open && self.leads
    }

    fn end_all(&self) {
        for client in self.clients.values() {
            client.mailbox.end(Ended::Shutdown);
        }
    }

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

    const A: HostId = HostId::from_bytes([0xa; 16]);
    const B: HostId = HostId::from_bytes([0xb; 16]);

    fn online(host: HostId) -> BrokerEvent {
        BrokerEvent::Online { host }
    }

    #[tokio::test]
    async fn a_connection_that_was_taken_over_tells_nothing_any_more() {
        let (registry, mut events) = registry(Limits::default());
        let old = registry.admit(A).expect("there is room");
        registry.announce(&old, true).await;
        let new = registry.admit(A).expect("there is room");
        assert_eq!(old.mailbox.ended(), Some(Ended::TakenOver));
        registry.announce(&new, true).await;
        registry.report(&old, Bytes::from_static(b"late")).await;
        registry.leave(&old, Ended::TakenOver).await;
        assert!(registry.is_online(A));
        registry.leave(&new, Ended::Lost).await;
        assert_eq!(events.recv().await, Some(online(A)));
        assert_eq!(events.recv().await, Some(online(A)));
        let last = BrokerEvent::Offline { host: A, reason: Ended::Lost };
        assert_eq!(events.recv().await, Some(last));
        assert!(events.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_newer_connection_that_dies_unannounced_still_takes_the_host_offline() {
        let (registry, mut events) = registry(Limits::default());
        let old = registry.admit(A).expect("there is room");
        registry.announce(&old, true).await;
        let new = registry.admit(A).expect("there is room");
        registry.leave(&old, Ended::TakenOver).await;
        registry.leave(&new, Ended::Lost).await;
        assert_eq!(events.recv().await, Some(online(A)));
        let last = BrokerEvent::Offline { host: A, reason: Ended::Lost };
        assert_eq!(events.recv().await, Some(last));
        assert_eq!(registry.connected(), 0);
    }

    #[test]
    fn a_full_or_closed_registry_admits_only_who_replaces_a_connection() {
        let (registry, _events) = registry(Limits { connections: 1, ..Limits::default() });
        let _first = registry.admit(A).expect("there is room");
        assert_eq!(registry.admit(B).err(), Some(Welcome::Unavailable));
        assert!(registry.admit(A).is_ok());
        registry.close();
        assert_eq!(registry.admit(A).err(), Some(Welcome::Unavailable));
    }

    #[test]
    fn hosts_are_let_in_only_where_the_server_leads() {
        let (registry, _events) = registry(Limits::default());
        let there = registry.admit(A).expect("there is room");
        registry.lead(false);
        assert_eq!(there.mailbox.ended(), Some(Ended::Shutdown));
        assert_eq!(registry.admit(B).err(), Some(Welcome::Unavailable));
        registry.lead(true);
        assert!(registry.admit(B).is_ok() && registry.is_open());
        registry.close();
        registry.lead(true);
        assert!(!registry.is_open());
    }
}
