//! Which hosts are there, as far as a broker that is not ours lets us know.
//!
//! ```text
//!   connected ─▶ nobody is known, everybody is asked ─ 15 s ─▶ the silent are asked again ─ 15 s ─▶ who said nothing is not there
//!       ▲                                                                                                  │
//!       └────────────────── connection lost: who was there is taken to be there still ◀────────────────────┘
//! ```
//!
//! Not for connections. It keeps true that a broker that is gone makes no host seem gone, that what may reach a host is sent to
//! it, and that a host that was announced is taken back exactly once.

use std::collections::HashSet;

use model::HostId;

/// What is known of hosts.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// We are connected.
    connected: bool,
    /// All who are there had time to say so since then.
    settled: bool,
    /// They said so since then.
    there: HashSet<HostId>,
    /// They were there before that, and were not heard since.
    before: HashSet<HostId>,
}

impl Presence {
    /// The connection stands: all hosts have to be heard again.
    pub(super) fn connected(&mut self) {
        self.lost();
        self.connected = true;
    }

    /// The connection broke. That says nothing about hosts.
    pub(super) fn lost(&mut self) {
        self.before.extend(self.there.drain());
        (self.connected, self.settled) = (false, false);
    }

    /// A host says that it is there. Whether that is to be told: always, as each time it may have missed something.
    pub(super) fn online(&mut self, host: HostId) {
        self.before.remove(&host);
        self.there.insert(host);
    }

    /// A host reports: it is there, whatever became of its word. Whether that is news.
    pub(super) fn reported(&mut self, host: HostId) -> bool {
        // Later on only its word counts: a report may come late, after the word that it is gone.
        if self.settled || self.there.contains(&host) {
            return false;
        }
        self.there.insert(host);
        !self.before.remove(&host)
    }

    /// A host is gone, or its last will says so. Whether it was there.
    pub(super) fn offline(&mut self, host: HostId) -> bool {
        let there = self.there.remove(&host);
        self.before.remove(&host) || there
    }

    /// Everybody had time to say that it is there. Who did not, and was there before.
    pub(super) fn settle(&mut self) -> Vec<HostId> {
        self.settled = true;
        self.before.drain().collect()
    }

    /// Whether a host was heard since the connection stands.
    pub(super) fn is_heard(&self, host: HostId) -> bool {
        self.there.contains(&host)
    }

    /// Whether a host is taken to be there.
    pub(super) fn is_online(&self, host: HostId) -> bool {
        self.there.contains(&host) || self.before.contains(&host)
    }

    /// Whether something published now may reach a host: until all had time to say that they are there, any.
    pub(super) fn may_hear(&self, host: HostId) -> bool {
        self.connected && (!self.settled || self.there.contains(&host))
    }

    /// How many are taken to be there.
    pub(super) fn count(&self) -> usize {
        self.there.len() + self.before.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId::from_bytes([0xa; 16]);
    const B: HostId = HostId::from_bytes([0xb; 16]);

    fn connected() -> Presence {
        let mut presence = Presence::default();
        presence.connected();
        presence
    }

    #[test]
    fn until_all_had_time_to_say_that_they_are_there_anybody_may_hear() {
        let mut presence = connected();
        presence.online(A);
        assert!(presence.may_hear(A) && presence.may_hear(B));
        assert!(presence.settle().is_empty(), "nobody was there before");
        assert!(presence.may_hear(A) && !presence.may_hear(B));
        presence.online(B);
        assert!(presence.may_hear(B));
    }

    #[test]
    fn a_broker_that_is_gone_makes_no_host_seem_gone_and_who_does_not_come_back_is_gone_once() {
        let mut presence = connected();
        [A, B].into_iter().for_each(|host| presence.online(host));
        presence.settle();
        presence.lost();
        assert!(presence.is_online(A) && presence.is_online(B) && !presence.may_hear(A));
        presence.connected();
        assert!(!presence.is_heard(A));
        presence.online(A);
        assert!(presence.is_heard(A) && !presence.is_heard(B));
        assert_eq!(presence.count(), 2);
        // The connection breaks once more before all had time.
        presence.lost();
        presence.connected();
        presence.online(A);
        assert_eq!(presence.settle(), [B]);
        assert!(presence.settle().is_empty() && !presence.offline(B));
        assert!(presence.offline(A) && !presence.offline(A));
        assert_eq!(presence.count(), 0);
    }

    #[test]
    fn a_report_shows_that_a_host_is_there_unless_it_may_be_an_old_one() {
        let mut presence = connected();
        assert!(presence.reported(A) && !presence.reported(A));
        assert!(presence.is_online(A));
        presence.settle();
        assert!(!presence.reported(B) && !presence.is_online(B));
    }

    #[test]
    fn a_last_will_counts_while_others_are_still_waited_for() {
        let mut presence = connected();
        presence.online(A);
        presence.lost();
        presence.connected();
        assert!(presence.offline(A));
        assert!(presence.settle().is_empty());
    }
}
