//! How many connections come from where: so that one machine cannot take all of them.
//!
//! A source is an IPv4 address, or the /64 of an IPv6 address: whoever has one of its addresses has them all. Invariant:
//! the memory for a source goes with the last of its connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of all sources.
#[derive(Debug)]
pub(super) struct Sources {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts for its source until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// Counts one more connection from there; none if there are too many already.
    pub(super) fn count(self: &Arc<Self>, from: IpAddr) -> Option<Counted> {
        let source = source_of(from);
        let mut open = self.lock();
        let count = open.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted { sources: Arc::clone(self), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.sources.lock();
        let Some(count) = open.get_mut(&self.source) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.source);
        }
    }
}

fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_has_its_number_of_connections_and_gives_them_back() {
        let sources = Sources::new(2);
        let first = sources.count(ip("192.0.2.1")).expect("there is room");
        let _second = sources.count(ip("::ffff:192.0.2.1")).expect("there is room");
        assert!(sources.count(ip("192.0.2.1")).is_none());
        assert!(sources.count(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(sources.count(ip("192.0.2.1")).is_some());

        let six = [sources.count(ip("2001:db8::1")), sources.count(ip("2001:db8::ffff:2"))];
        assert!(six.iter().all(Option::is_some));
        assert!(sources.count(ip("2001:db8::3")).is_none(), "the same /64");
        assert!(sources.count(ip("2001:db8:0:1::3")).is_some());
        drop(six);
        assert_eq!(sources.lock().len(), 1, "what is over is forgotten");
    }
}
