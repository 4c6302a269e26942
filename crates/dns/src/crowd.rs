//! Places for clients: so many for all, and no more than so many for one of them.
//!
//! It keeps true that nobody takes all places, and that a place is free again when its holder is done.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: usize,
    of_one: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// A client's right to one place, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    pub(crate) fn new(most: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, of_one, held: Mutex::default() })
    }

    /// None where there are too many.
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut held = self.held();
        let all: usize = held.values().sum();
        let of_one = held.get(&client).copied().unwrap_or(0);
        if all >= self.most || of_one >= self.of_one {
            return None;
        }
        held.insert(client, of_one + 1);
        Some(Place { crowd: Arc::clone(self), client })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Numbers are whole whatever happened.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.crowd.held();
        let left = held.get(&self.client).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            held.remove(&self.client);
        } else {
            held.insert(self.client, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_places_for_others_and_gives_back_its_own() {
        let crowd = Crowd::new(3, 2);
        let client = |last: u8| IpAddr::from([10, 0, 0, last]);
        let held = [crowd.take(client(1)), crowd.take(client(1))];
        assert!(held.iter().all(Option::is_some) && crowd.take(client(1)).is_none());
        let other = crowd.take(client(2));
        assert!(other.is_some() && crowd.take(client(3)).is_none());
        drop(held);
        assert!(crowd.take(client(1)).is_some());
    }
}
