//! The way back from a change of keys that was begun.
//!
//! ```text
//!                 no host speaks by the next keys
//!   Forward ───────────────────────────────────────▶ the next keys are removed
//!      │ some do                                        ▲
//!      ▼                                                │ no host speaks by them any more
//!    Back: both keys work, hosts are told of the key in force as if it came next, and agree a channel with it
//! ```
//!
//! Not for files. It keeps true that a key with which a host may speak stays until that host has agreed a channel with the other
//! one, unless that is said: what the database says of a host's channel is what counts, and while the change goes back no host can
//! agree one with the next key any more.

use control::Intent;
use model::{Host, SealingPublicKey};

use super::left;

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// To the next keys.
    Forward,
    /// It was abandoned: back to the keys in force.
    Back,
}

/// A change that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// The next key of the sealed channels.
    pub key: SealingPublicKey,
    /// Which way it goes.
    pub course: Course,
}

impl Change {
    /// Hosts for which it is not over: forward those that have no channel with the next key, back those that have one.
    pub fn hosts_left(&self, intent: &Intent) -> usize {
        match self.course {
            Course::Forward => left(intent, &self.key).count(),
            Course::Back => holders(intent, &self.key).count(),
        }
    }
}

/// Hosts that speak by a channel with the next key.
pub(super) fn holders<'a>(intent: &'a Intent, next: &'a SealingPublicKey) -> impl Iterator<Item = &'a Host> {
    intent.hosts(None).filter(move |host| host.sealing.server.as_ref() == Some(next))
}

/// What abandoning a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next keys can go.
    Remove,
    /// They stay, and the servers tell hosts to go back.
    Turn,
    /// It goes back already, and is not over.
    Wait,
}

/// The rule, by how many hosts speak by the next keys, and whether these may be lost.
pub(super) const fn judge(holders: usize, course: Course, force: bool) -> Verdict {
    match (holders, course) {
        (0, Course::Forward | Course::Back) => Verdict::Remove,
        (_, Course::Forward | Course::Back) if force => Verdict::Remove,
        (_, Course::Forward) => Verdict::Turn,
        (_, Course::Back) => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_by_which_a_host_speaks_are_not_removed_unless_that_is_said() {
        use Course::{Back, Forward};
        for course in [Forward, Back] {
            assert_eq!(judge(0, course, false), Verdict::Remove);
            assert_eq!(judge(3, course, true), Verdict::Remove);
        }
        assert_eq!(judge(3, Forward, false), Verdict::Turn);
        assert_eq!(judge(1, Back, false), Verdict::Wait);
    }
}
