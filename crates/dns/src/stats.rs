//! What was done with the questions, in numbers.
//!
//! Not for names or addresses: who asked what is nobody's business.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use domain::base::Message;
use domain::base::iana::Rcode;

/// How many questions came, and what became of them, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that came.
    pub queries: u64,
    /// Answered from our names, with records or with the word that there are none.
    pub answered: u64,
    /// Answered by an upstream.
    pub forwarded: u64,
    /// Refused: not ours, and nobody to ask, or not for the one who asked.
    pub refused: u64,
    /// Without an answer: malformed, of an unknown kind, or no upstream answered.
    pub failed: u64,
}

impl Counts {
    /// Counts one reply of ours.
    pub(crate) fn count_reply(&mut self, reply: &[u8]) {
        match Message::from_slice(reply).map(|message| message.header().rcode()) {
            Ok(Rcode::NOERROR | Rcode::NXDOMAIN) => self.answered += 1,
            Ok(Rcode::REFUSED) => self.refused += 1,
            Ok(_) | Err(_) => self.failed += 1,
        }
    }
}

/// Where all threads count.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    queries: AtomicU64,
    answered: AtomicU64,
    forwarded: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Stats {
    /// Adds what was counted aside: once for many questions, so that threads do not fight over the numbers.
    pub(crate) fn add(&self, counts: Counts) {
        let Counts { queries, answered, forwarded, refused, failed } = counts;
        let pairs = [
            (&self.queries, queries),
            (&self.answered, answered),
            (&self.forwarded, forwarded),
            (&self.refused, refused),
            (&self.failed, failed),
        ];
        for (number, more) in pairs.into_iter().filter(|(_, more)| *more > 0) {
            number.fetch_add(more, Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            queries: self.queries.load(Relaxed),
            answered: self.answered.load(Relaxed),
            forwarded: self.forwarded.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}
