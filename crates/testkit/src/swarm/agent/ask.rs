//! The agent's requests for its map: when the next one is due, and what is made of an answer.
//!
//! Not for how they travel (`fetch`). It keeps true that at most one is under way, and that buckets are taken only where what
//! they were asked for with is still held.

use std::time::{Duration, Instant};

use model::Generation;

use super::{Agent, End};
use crate::swarm::Shared;
use crate::swarm::counters::add;
use crate::swarm::fetch::{Answer, Failure, Fetched};
use crate::swarm::map::{Followed, Marks};
use crate::swarm::pace::{Again, put_off};

impl Agent {
    pub(super) fn ask_now(&mut self) {
        if self.asking.is_some() {
            self.ask_again = true;
        } else {
            self.ask_at = Some(Instant::now());
        }
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) -> Result<(), End> {
        self.asking = None;
        let Fetched { kept, have, answer } = fetched;
        let asked = self.server;
        let pause = match answer {
            Ok(answer) => {
                (self.ask_failures, self.elsewhere) = (0, 0);
                self.answered(have, answer);
                if self.link.is_none() && self.connecting.is_none() {
                    self.connect_at.get_or_insert_with(Instant::now);
                }
                self.next_ask()
            }
            Err(Failure::Removed) => return Err(End::Removed),
            Err(Failure::Busy(seconds)) => {
                add(&self.shared.counters.put_off, 1);
                Some(put_off(seconds.unwrap_or(1), &mut self.jitter))
            }
            Err(Failure::Elsewhere(seconds)) => {
                add(&self.shared.counters.put_off, 1);
                self.server += 1;
                self.elsewhere += 1;
                // Each is tried once before it waits.
                if self.elsewhere % self.shared.doors.servers() == 0 {
                    Some(put_off(seconds.unwrap_or(1), &mut self.jitter))
                } else {
                    Some(Duration::ZERO)
                }
            }
            Err(Failure::Broken(error)) => {
                add(&self.shared.counters.failed, 1);
                self.shared.complain(&error);
                self.server += 1;
                self.ask_failures += 1;
                Some(Again::Request.after(self.ask_failures - 1, &mut self.jitter))
            }
        };
        // A connection that is used again soon is kept, as the real agent's is; the others would only be closed by the server.
        let again = self.server == asked && pause.is_some_and(|pause| pause < Duration::from_secs(20));
        self.kept = kept.filter(|_| again);
        self.ask_at = pause.map(|pause| Instant::now() + pause);
        Ok(())
    }

    /// When to ask again after an answer.
    pub(super) fn next_ask(&mut self) -> Option<Duration> {
        if self.ask_again || self.ask_whole {
            return Some(Duration::ZERO);
        }
        if self.link.is_some() {
            self.set_current(true);
            self.turn = None;
            return None;
        }
        self.asked += 1;
        Some(Again::Fallback.after(self.asked, &mut self.jitter))
    }

    pub(super) fn answered(&mut self, have: Generation, answer: Answer) {
        let (mut marks, mut ask_whole) = (Marks::default(), false);
        let Shared { book, tracker, counters, .. } = &*self.shared;
        let mut map = self.machine.map();
        let before = map.generation;
        match answer {
            // Of a server that leads no longer and does not know it yet: refused. Who leads says that there is news.
            Answer::Current(generation) if generation < have => add(&counters.backward, 1),
            Answer::Parts(head, _) if head.generation < have => add(&counters.backward, 1),
            Answer::Current(generation) => {
                add(&counters.answers_current, 1);
                map.is_current(generation);
            }
            Answer::Delta(delta) => {
                add(&counters.answers_delta, 1);
                ask_whole = map.follow(delta, book, tracker, &mut marks) == Followed::Misfit;
            }
            Answer::Parts(head, buckets) => {
                add(&counters.answers_parts, 1);
                add(&counters.parts, buckets.len() as u64);
                if map.generation == have {
                    map.adopt(head, &buckets, book, tracker, &mut marks);
                } else {
                    // Deltas came meanwhile: these buckets are those that differed from what was held before.
                    self.ask_again |= head.generation > map.generation;
                }
            }
        }
        let changed = map.generation != before;
        drop(map);
        self.ask_whole = ask_whole;
        if changed {
            self.changed(&marks);
        }
    }
}
