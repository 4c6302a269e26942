//! The queue of sightings between the socket's loop and whoever cares.
//!
//! Policy when the reader is slow: the latest sighting of a host replaces the one that still waits, in its place
//! in the queue. So the writer never waits, nothing that still matters is lost, and no more wait than there are
//! hosts.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::responder::Seen;
use crate::PublicKey;

#[derive(Default)]
struct Waiting {
    order: VecDeque<PublicKey>,
    latest: HashMap<PublicKey, Seen>,
}

/// Sightings that wait to be read, one for each host.
#[derive(Default)]
pub(super) struct Sightings {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

impl Sightings {
    /// Puts one in; never waits.
    pub(super) fn put(&self, seen: Seen) {
        {
            let mut waiting = self.lock();
            if waiting.latest.insert(seen.public_key, seen).is_none() {
                waiting.order.push_back(seen.public_key);
            }
        }
        self.arrived.notify_one();
    }

    /// Drops those of hosts for which `keep` is false.
    pub(super) fn retain(&self, keep: impl Fn(&PublicKey) -> bool) {
        let mut waiting = self.lock();
        waiting.latest.retain(|key, _| keep(key));
        waiting.order.retain(|key| keep(key));
    }

    /// Takes the one that waits longest, or waits for one.
    pub(super) async fn take(&self) -> Seen {
        loop {
            if let Some(seen) = self.try_take() {
                return seen;
            }
            self.arrived.notified().await;
        }
    }

    fn try_take(&self) -> Option<Seen> {
        let mut waiting = self.lock();
        let key = waiting.order.pop_front()?;
        waiting.latest.remove(&key)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Both collections are valid between any two statements, so a panic elsewhere spoils nothing.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn seen(host: u8, port: u16) -> Seen {
        Seen { public_key: [host; 32], endpoint: ([192, 0, 2, 1], port).into(), at: Instant::now() }
    }

    #[tokio::test]
    async fn the_latest_sighting_of_a_host_replaces_the_one_that_waits() {
        let sightings = Sightings::default();
        for s in [seen(1, 10), seen(2, 20), seen(1, 11)] {
            sightings.put(s);
        }
        let first = sightings.take().await;
        let second = sightings.take().await;
        assert_eq!((first.public_key[0], first.endpoint.port()), (1, 11));
        assert_eq!((second.public_key[0], second.endpoint.port()), (2, 20));
        assert!(sightings.try_take().is_none());
    }

    #[tokio::test]
    async fn sightings_of_forgotten_hosts_are_dropped() {
        let sightings = Sightings::default();
        sightings.put(seen(1, 10));
        sightings.put(seen(2, 20));
        sightings.retain(|key| key[0] != 1);
        assert_eq!(sightings.take().await.public_key[0], 2);
    }
}
