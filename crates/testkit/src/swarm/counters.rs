//! What all agents together sent, got and went through, counted without a lock.
//!
//! Not for latencies (`tracker`). It keeps true that nothing here ever goes down, so that two readings make a difference.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $name: AtomicU64,)*
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// All of them now.
            pub(super) fn now(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl std::ops::AddAssign for Counts {
            fn add_assign(&mut self, more: Self) {
                $(self.$name += more.$name;)*
            }
        }

        impl Counts {
            /// What was added since another reading.
            #[must_use]
            pub fn since(&self, before: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(before.$name),)* }
            }
        }
    };
}

counters! {
    /// Connections to the broker that came to stand.
    connected,
    /// Attempts to connect that failed.
    refused,
    /// Connections to the broker that broke.
    lost,
    /// Messages that were pushed.
    pushed,
    /// Bytes of those as they were sealed.
    pushed_sealed,
    /// Bytes that came over broker connections below TLS, handshakes included.
    broker_wire,
    /// Bytes that came with answers to requests below TLS, handshakes included.
    http_wire,
    /// Requests over HTTP.
    requests,
    /// Requests that the server put off.
    put_off,
    /// Requests that failed in another way.
    failed,
    /// Answers that said: current.
    answers_current,
    /// Answers that brought a delta.
    answers_delta,
    /// Answers that brought buckets.
    answers_parts,
    /// Buckets that came with them.
    parts,
    /// Messages that could not be opened or read.
    unreadable,
    /// Answers that were older than what the agent holds. They were refused.
    backward,
    /// Deltas that did not fit.
    misfits,
    /// Reports that were sent.
    reports,
    /// Keepalives that were sent.
    pings,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readings_make_a_difference() {
        let counters = Counters::default();
        add(&counters.pushed, 3);
        let before = counters.now();
        add(&counters.pushed, 4);
        assert_eq!(counters.now().since(&before), Counts { pushed: 4, ..Counts::default() });
    }
}
