//! Remembers which signed requests were taken, so that a copy of one is refused. Requests of one host may overtake each other
//! a little; the memory for each host is a few dozen numbers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use model::{HostId, Timestamp};

/// Requests of one host that are remembered; older ones than all of these are refused.
const MOST: usize = 64;

/// The times of the requests that were taken, by host. Only proved requests enter, so hosts bound its size.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    taken: Mutex<HashMap<HostId, BTreeSet<Timestamp>>>,
}

impl Replays {
    /// Takes a request that was proved, unless it was taken before or is older than all that are remembered.
    pub(crate) fn take(&self, host: HostId, time: Timestamp) -> bool {
        let mut hosts = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let times = hosts.entry(host).or_default();
        if times.len() >= MOST {
            if times.first().is_some_and(|oldest| time <= *oldest) {
                return false;
            }
            times.pop_first();
        }
        times.insert(time)
    }

    /// Forgets a host that was removed.
    pub(crate) fn forget(&self, host: HostId) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_even_when_others_overtook_it() {
        let replays = Replays::default();
        let host = HostId::from_bytes([1; 16]);
        let at = Timestamp::from_millis;
        assert!(replays.take(host, at(10)));
        assert!(replays.take(host, at(12)));
        assert!(replays.take(host, at(11)));
        assert!(!replays.take(host, at(11)));
        for time in 100..200 {
            assert!(replays.take(host, at(time)));
        }
        assert!(!replays.take(host, at(12)), "too old to know whether it was taken");
        assert!(replays.take(HostId::from_bytes([2; 16]), at(12)));
    }
}
