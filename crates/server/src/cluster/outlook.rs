//! Whether a message broker of others is reached from here, as far as that matters for who leads.
//!
//! Not for the connection to it, which the server that leads keeps. Others look only while somebody says that he has lost it: then a
//! leader knows whether another one would do better. It keeps true that whoever lost it says so for a minute at least, so that the
//! lead does not go to and fro where a connection can be made and does not hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::standing::Lasting;
use crate::broker;
use crate::broker::settings::ExternalSettings;

/// Who lost the broker says so for this long.
const LOST: Duration = Duration::from_secs(60);
/// How long looking may take.
const PROBE: Duration = Duration::from_secs(10);
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// So many looks in a row must have reached it: where it is only just back, whoever leads connects again before that.
const SURE: u8 = 2;

/// What a server says of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broker {
    /// Nothing: it is no matter now, or nobody has looked.
    Unknown,
    /// It led without it.
    Lost,
    /// It reaches it.
    Found,
}

/// The broker that others run.
pub(crate) struct Outside {
    /// Says whether the connection stands, while this server leads.
    pub(crate) broker: Arc<dyn broker::Broker>,
    /// How to look; none where the broker is our own.
    pub(crate) settings: Option<ExternalSettings>,
}

/// What is known of it.
pub(super) struct Outlook {
    outside: Outside,
    seen: Seen,
    probes: JoinSet<bool>,
    probed: Option<Instant>,
}

impl Outlook {
    pub(super) fn new(outside: Outside) -> Self {
        Self { outside, seen: Seen::default(), probes: JoinSet::new(), probed: None }
    }

    /// Looks at the connection that a server which leads has.
    pub(super) fn look(&mut self, leads: bool, now: Instant) {
        if self.outside.settings.is_some() {
            let trouble = leads && self.outside.broker.trouble().is_some();
            self.seen.connection(leads, trouble, now);
        }
    }

    /// What to say of it; `is_lost`: whether any server says that it has lost it. Where that asks for it, it is looked meanwhile.
    pub(super) fn say(&mut self, leads: bool, is_lost: bool, now: Instant) -> Broker {
        while let Some(probed) = self.probes.try_join_next() {
            self.seen.probed(probed.unwrap_or(false), now);
        }
        let Some(settings) = &self.outside.settings else { return Broker::Unknown };
        let is_asked = !leads && (is_lost || self.seen.said == Broker::Lost);
        let is_due = self.probes.is_empty() && self.probed.is_none_or(|at| at + EVERY <= now);
        if is_asked && is_due {
            self.probed = Some(now);
            let settings = settings.clone();
            let probe = async move { matches!(timeout(PROBE, broker::probe(settings)).await, Ok(Ok(()))) };
            self.probes.spawn(probe);
        }
        self.seen.say(is_lost)
    }
}

/// What was seen of it: pure.
#[derive(Debug)]
struct Seen {
    said: Broker,
    trouble: Lasting,
    lost_at: Option<Instant>,
    /// Looks in a row that reached it.
    reached: u8,
}

impl Default for Seen {
    fn default() -> Self {
        Self { said: Broker::Unknown, trouble: Lasting::default(), lost_at: None, reached: 0 }
    }
}

impl Seen {
    fn connection(&mut self, leads: bool, is_trouble: bool, now: Instant) {
        self.trouble.note(is_trouble, now);
        if self.trouble.counts(now) {
            (self.said, self.lost_at) = (Broker::Lost, Some(now));
        } else if leads && !is_trouble {
            (self.said, self.lost_at) = (Broker::Found, None);
        }
    }

    fn probed(&mut self, is_reached: bool, now: Instant) {
        let is_lost = self.lost_at.is_some_and(|at| now < at + LOST);
        self.reached = if is_reached { self.reached.saturating_add(1) } else { 0 };
        self.said = match (self.said, self.reached >= SURE) {
            (Broker::Lost, true) if is_lost => Broker::Lost,
            (Broker::Lost, false) => Broker::Lost,
            (Broker::Unknown | Broker::Found, false) => Broker::Unknown,
            (Broker::Unknown | Broker::Lost | Broker::Found, true) => Broker::Found,
        };
    }

    /// That it was found is of interest only while somebody has lost it.
    fn say(&mut self, is_lost: bool) -> Broker {
        if self.said != Broker::Lost && !is_lost {
            (self.said, self.reached) = (Broker::Unknown, 0);
        }
        self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_led_without_it_says_so_for_a_minute_and_until_it_is_reached() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        seen.connection(true, true, at(0));
        seen.connection(true, true, at(9));
        assert_eq!(seen.say(false), Broker::Unknown, "it may come back");
        seen.connection(true, true, at(10));
        assert_eq!(seen.say(false), Broker::Lost);
        // It leads no more.
        seen.connection(false, false, at(11));
        [64, 69].into_iter().for_each(|seconds| seen.probed(true, at(seconds)));
        assert_eq!(seen.say(true), Broker::Lost);
        seen.probed(false, at(71));
        assert_eq!(seen.say(true), Broker::Lost);
        [76, 81].into_iter().for_each(|seconds| seen.probed(true, at(seconds)));
        assert_eq!((seen.say(true), seen.say(false)), (Broker::Found, Broker::Unknown));
    }

    #[test]
    fn others_say_that_they_reach_it_while_somebody_does_not() {
        let now = Instant::now();
        let mut seen = Seen::default();
        seen.probed(true, now);
        assert_eq!(seen.say(true), Broker::Unknown, "whoever leads may reach it as well in a moment");
        seen.probed(true, now);
        assert_eq!(seen.say(true), Broker::Found);
        seen.probed(false, now);
        assert_eq!(seen.say(true), Broker::Unknown);
        seen.connection(true, false, now);
        assert_eq!(seen.say(true), Broker::Found, "whoever leads is connected");
    }
}
