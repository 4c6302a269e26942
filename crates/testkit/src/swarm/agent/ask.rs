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
        let asked = self.server.now();
        let pause = match answer {
            // Of a server that leads no longer and does not know it yet.
            Ok(answer) if answer.generation() < have => {
                add(&self.shared.counters.backward, 1);
                self.next_server(Duration::from_secs(1))
            }
            Ok(answer) => {
                self.server.worked();
                self.answered(have, answer);
                if self.link.is_none() && self.connecting.is_none() {
                    self.connect_at.get_or_insert_with(Instant::now);
                }
                // Of a server that leads no more and does not know it yet: who does lead has said that there is more.
                let is_behind = self.heard > self.machine.map().generation;
                if is_behind && !self.ask_again && !self.ask_whole {
                    add(&self.shared.counters.backward, 1);
                    self.ask_failures += 1;
                    Some(Again::Request.after(self.ask_failures - 1, &mut self.jitter))
                } else {
                    self.ask_failures = 0;
                    self.next_ask()
                }
            }
            Err(Failure::Removed) => return Err(End::Removed),
            Err(Failure::Busy(seconds)) => {
                add(&self.shared.counters.put_off, 1);
                Some(put_off(seconds.unwrap_or(1), &mut self.jitter))
            }
            Err(Failure::Elsewhere(seconds)) => {
                add(&self.shared.counters.put_off, 1);
                let pause = put_off(seconds.unwrap_or(1), &mut self.jitter);
                self.next_server(pause)
            }
            Err(Failure::Broken(error)) => {
                add(&self.shared.counters.failed, 1);
                self.shared.complain(&error);
                let pause = Again::Request.after(self.ask_failures, &mut self.jitter);
                let pause = self.next_server(pause);
                self.ask_failures += u32::from(pause != Some(Duration::ZERO));
                pause
            }
        };
        // A connection that is used again soon is kept, as the real agent's is; the others would only be closed by the server.
        let again = self.server.now() == asked && pause.is_some_and(|pause| pause < Duration::from_secs(20));
        self.kept = kept.filter(|_| again);
        self.ask_at = pause.map(|pause| Instant::now() + pause);
        Ok(())
    }

    /// The next one is asked at once, or after this pause where all were asked.
    fn next_server(&mut self, pause: Duration) -> Option<Duration> {
        let untried = self.server.failed(self.shared.doors.servers());
        Some(if untried { Duration::ZERO } else { pause })
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
