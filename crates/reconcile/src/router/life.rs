//! Whether one router lives, as its answers tell.
//!
//! Not for what follows from it. It keeps true that one answer in the last few probes is life, however late it came.

use std::time::Duration;

use super::Nonce;

/// How often a router is asked.
const EACH: Duration = Duration::from_secs(1);
/// How soon it is asked again when it did not answer.
const DOUBTED: Duration = Duration::from_millis(600);
/// So many misses in a row are death.
const MISSES: u8 = 3;
/// Life for this long is trusted again.
const TRUSTED_AFTER: Duration = Duration::from_secs(10);
/// Answers to so many of the last probes count.
const REMEMBERED: usize = 4;

/// How a router is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Living,
    /// It answers again, for a short time yet.
    Returned,
    Dead,
}

#[derive(Debug, Clone)]
pub(super) struct Life {
    /// Since when it lives; none when it is dead. One that never died lives since ever.
    since: Option<Duration>,
    misses: u8,
    /// When it answered again after it had not.
    steady: Option<Duration>,
    /// The last probes; the newest last. One that was answered takes those before with it.
    asked: Vec<Nonce>,
    /// When the newest is late, or the next is due.
    at: Duration,
    waiting: bool,
}

impl Life {
    /// Nothing is known, so it is trusted.
    pub(super) const fn new(now: Duration) -> Self {
        Self {
            since: Some(Duration::ZERO),
            misses: 0,
            steady: None,
            asked: Vec::new(),
            at: now,
            waiting: false,
        }
    }

    pub(super) fn standing(&self, now: Duration) -> Standing {
        match self.since {
            None => Standing::Dead,
            Some(Duration::ZERO) => Standing::Living,
            Some(since) if now.saturating_sub(since) >= TRUSTED_AFTER => Standing::Living,
            Some(_) => Standing::Returned,
        }
    }

    /// Since when it answers each time; none of one that always did.
    pub(super) const fn steady(&self) -> Option<Duration> {
        self.steady
    }

    /// Whether the last probe was not answered: it lives or is about to die.
    pub(super) const fn is_doubted(&self) -> bool {
        self.misses > 0
    }

    pub(super) fn asked(&self, nonce: Nonce) -> bool {
        self.asked.contains(&nonce)
    }

    pub(super) fn wants_probe(&self, now: Duration) -> bool {
        !self.waiting && self.at <= now
    }

    pub(super) fn probed(&mut self, nonce: Nonce, now: Duration) {
        if self.asked.len() == REMEMBERED {
            self.asked.remove(0);
        }
        self.asked.push(nonce);
        self.waiting = true;
        let hurry = self.since.is_some() && self.misses > 0;
        self.at = now + if hurry { DOUBTED } else { EACH };
    }

    pub(super) fn answered(&mut self, now: Duration) {
        self.asked.clear();
        if std::mem::take(&mut self.misses) > 0 {
            self.steady = Some(now);
        }
        // A moment after the start of time is no return.
        self.since.get_or_insert(now.max(Duration::from_nanos(1)));
        // The next probe keeps its time.
        self.waiting = false;
    }

    pub(super) fn fall_due(&mut self, now: Duration) {
        if self.at > now || !std::mem::take(&mut self.waiting) {
            return;
        }
        self.misses = self.misses.saturating_add(1);
        if self.misses >= MISSES {
            self.since = None;
        }
    }

    /// When to ask again, to judge, or to trust.
    pub(super) fn deadline(&self) -> Duration {
        self.at
    }
}
