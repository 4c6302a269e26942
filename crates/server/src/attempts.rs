//! Bounds failed attempts (log-ins, registrations with a wrong key) for each source address. Successes cost nothing, so a
//! thousand machines may join at once from behind one address, while guessing is slow.
//!
//! Not for load: that is bounded elsewhere. The table is bounded; when it is full the oldest entries go first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures allowed within `WINDOW`.
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
const MOST_SOURCES: usize = 20_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    since: Instant,
}

/// Failed attempts by source.
#[derive(Debug, Default)]
pub struct Attempts {
    sources: Mutex<HashMap<IpAddr, Failures>>,
}

/// Too many failures from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts from this address; try again in {} seconds", .retry_after.as_secs())]
pub struct TooMany {
    /// How long to wait.
    pub retry_after: Duration,
}

/// One IPv6 customer has a /64 at least: it counts as one source.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Attempts {
    /// Whether another attempt is allowed now.
    pub fn check(&self, ip: IpAddr, now: Instant) -> Result<(), TooMany> {
        allowed(&self.lock(), ip, now)
    }

    /// Begins an attempt that takes a while, if another one is allowed now. It counts as a failure until it `succeeded`, so
    /// that guesses made at the same time are bounded like those made one after the other.
    pub fn begin(&self, ip: IpAddr, now: Instant) -> Result<(), TooMany> {
        let mut sources = self.lock();
        allowed(&sources, ip, now)?;
        count(&mut sources, ip, now);
        Ok(())
    }

    /// An attempt that was begun succeeded, or was not made after all.
    pub fn succeeded(&self, ip: IpAddr) {
        if let Some(failures) = self.lock().get_mut(&source(ip)) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    /// Counts a failure.
    pub fn failed(&self, ip: IpAddr, now: Instant) {
        count(&mut self.lock(), ip, now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn allowed(sources: &HashMap<IpAddr, Failures>, ip: IpAddr, now: Instant) -> Result<(), TooMany> {
    let Some(failures) = sources.get(&source(ip)) else {
        return Ok(());
    };
    let age = now.duration_since(failures.since);
    if failures.count < MOST || age >= WINDOW {
        return Ok(());
    }
    Err(TooMany { retry_after: (WINDOW - age).max(Duration::from_secs(1)) })
}

fn count(sources: &mut HashMap<IpAddr, Failures>, ip: IpAddr, now: Instant) {
    if sources.len() >= MOST_SOURCES {
        make_room(sources, now);
    }
    let failures = sources.entry(source(ip)).or_insert(Failures { count: 0, since: now });
    if now.duration_since(failures.since) >= WINDOW {
        *failures = Failures { count: 0, since: now };
    }
    failures.count += 1;
}

fn make_room(sources: &mut HashMap<IpAddr, Failures>, now: Instant) {
    sources.retain(|_, failures| now.duration_since(failures.since) < WINDOW);
    if sources.len() < MOST_SOURCES {
        return;
    }
    let mut since: Vec<Instant> = sources.values().map(|failures| failures.since).collect();
    since.sort_unstable();
    let median = since[since.len() / 2];
    sources.retain(|_, failures| failures.since > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_and_forgiven_after_a_while() {
        let attempts = Attempts::default();
        let ip = IpAddr::from([203, 0, 113, 7]);
        let start = Instant::now();
        for _ in 0..MOST {
            assert_eq!(attempts.check(ip, start), Ok(()));
            attempts.failed(ip, start);
        }
        let refused = attempts.check(ip, start + Duration::from_secs(20)).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(40));
        assert_eq!(attempts.check(IpAddr::from([203, 0, 113, 8]), start), Ok(()));
        assert_eq!(attempts.check(ip, start + WINDOW), Ok(()));
    }

    #[test]
    fn attempts_at_the_same_time_count_until_they_succeed() {
        let attempts = Attempts::default();
        let (ip, now) = (IpAddr::from([203, 0, 113, 7]), Instant::now());
        for _ in 0..MOST {
            assert_eq!(attempts.begin(ip, now), Ok(()));
        }
        assert!(attempts.begin(ip, now).is_err());
        attempts.succeeded(ip);
        assert_eq!(attempts.begin(ip, now), Ok(()));
        assert!(attempts.begin(ip, now).is_err());
    }

    #[test]
    fn one_ipv6_network_is_one_source_and_the_table_is_bounded() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for low in 0..MOST {
            attempts.failed(format!("2001:db8::{low:x}").parse().unwrap(), start);
        }
        assert!(attempts.check("2001:db8::ffff".parse().unwrap(), start).is_err());
        for n in 0..30_000_u32 {
            attempts.failed(IpAddr::from(n.to_be_bytes()), start + Duration::from_millis(u64::from(n)));
        }
        assert!(attempts.sources.lock().unwrap().len() <= MOST_SOURCES);
    }
}
