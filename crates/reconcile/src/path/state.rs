//! One peer's path: its states, and every transition between them.
//!
//! ```text
//!                 ┌───────────── alive ──────────────┐
//!                 │                                  ▼
//!   heard of ─► Trying ── all candidates failed ─► Unreachable      (alive ─► Direct from anywhere)
//!                 ▲  ▲                               │  │
//!                 │  └── next retry, new candidate ──┘  │
//!                 │                                     ▼
//!      no answer, │                                   Direct
//!      or silent  │                                   │   ▲
//!                 └──────── Verifying ◄── doubt ──────┘   │
//!                               └──────── heard ──────────┘
//! ```
//!
//! *Trying* has no session to lose: each candidate gets a fresh peer, so that WireGuard sends a handshake at once and not
//! within its five seconds. *Verifying* has one: the endpoint is moved and pokes are sent, nothing is torn down until it
//! has stayed silent. A doubt is a roam of this host or a change of what the map says of the peer.
//!
//! Not for I/O, not for judging what an observation means (that is `Paths`).

use std::time::Duration;

/// Rounds through all candidates before a peer counts as unreachable.
pub(super) const ROUNDS: u32 = 4;
/// When a verifying peer is poked again, and at last given up.
const POKES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(300), Duration::from_millis(400)];
/// How long a handshake of the peer's has to be completed once bytes of it have come.
const GRACE: Duration = Duration::from_millis(500);
/// The pause of an unreachable peer; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Where a peer's path stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No session; candidate `at` was given a fresh start and has until `until` to answer.
    Trying { round: u32, at: usize, until: Duration, heard: bool },
    /// A session that may have lost its path; it was moved to candidate `at`, if to any, and poked `pokes` times.
    Verifying { at: Option<usize>, pokes: usize, until: Duration },
    /// A session that lives.
    Direct,
    /// Nothing answered; tried again at `until`.
    Unreachable { failures: u32, until: Duration },
}

/// What happens to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// WireGuard shows life: a new handshake, or bytes where bytes prove something.
    Alive,
    /// Bytes came, but no handshake was completed yet.
    Heard,
    /// The session may have lost its path.
    Doubt,
    /// This candidate is new, or the one in use is gone and this is the best of the others.
    Candidate(usize),
    /// Nothing was received for longer than the keepalive allows.
    Silent,
    /// The time to act has come, and nothing was heard.
    Due,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Give candidate `at` a fresh peer.
    Restart(usize),
    /// Send to candidate `at` from now on, and at once.
    Move(usize),
    /// Send something at once.
    Poke,
}

impl State {
    /// When it wants to be called.
    pub(super) const fn deadline(self) -> Option<Duration> {
        match self {
            Self::Trying { until, .. } | Self::Verifying { until, .. } | Self::Unreachable { until, .. } => {
                Some(until)
            }
            Self::Direct => None,
        }
    }

    /// The same with another deadline: an answer was awaited that did not come.
    pub(super) const fn postponed(self, until: Duration) -> Self {
        match self {
            Self::Trying { round, at, until: _, heard } => Self::Trying { round, at, until, heard },
            Self::Verifying { at, pokes, until: _ } => Self::Verifying { at, pokes, until },
            Self::Unreachable { failures, until: _ } => Self::Unreachable { failures, until },
            Self::Direct => Self::Direct,
        }
    }

    /// A peer just heard of, its first candidate given to WireGuard together with the peer itself.
    pub(super) fn begin(waits: &[Duration], now: Duration) -> Self {
        match waits.first() {
            Some(first) => Self::Trying { round: 0, at: 0, until: now + wait(*first, 0), heard: false },
            None => unreachable(0, now),
        }
    }
}

/// Longer each round, for paths with long delays.
fn wait(first: Duration, round: u32) -> Duration {
    first * (1 << round.min(ROUNDS - 1))
}

fn unreachable(failures: u32, now: Duration) -> State {
    let pause = FIRST_PAUSE * (1 << failures.min(8));
    // Whole seconds, so that many retries share one look at the device.
    let until = Duration::from_secs((now + pause.min(LONGEST_PAUSE)).as_secs() + 1);
    State::Unreachable { failures, until }
}

fn attempt(round: u32, at: usize, waits: &[Duration], now: Duration) -> (State, Effect) {
    let at = if at < waits.len() { at } else { 0 };
    let Some(first) = waits.get(at) else {
        return (unreachable(0, now), Effect::None);
    };
    (State::Trying { round, at, until: now + wait(*first, round), heard: false }, Effect::Restart(at))
}

fn next_attempt(round: u32, at: usize, waits: &[Duration], now: Duration) -> (State, Effect) {
    if at + 1 < waits.len() {
        return attempt(round, at + 1, waits, now);
    }
    if round + 1 < ROUNDS {
        return attempt(round + 1, 0, waits, now);
    }
    (unreachable(round + 1 - ROUNDS, now), Effect::None)
}

fn verify(at: Option<usize>, now: Duration) -> (State, Effect) {
    let effect = at.map_or(Effect::Poke, Effect::Move);
    (State::Verifying { at, pokes: 1, until: now + POKES[0] }, effect)
}

/// The transition. `waits` says for each candidate how long it has to answer in the first round.
pub(super) fn step(state: State, event: Event, waits: &[Duration], now: Duration) -> (State, Effect) {
    match (state, event) {
        (
            State::Trying { .. } | State::Verifying { .. } | State::Unreachable { .. } | State::Direct,
            Event::Alive,
        ) => (State::Direct, Effect::None),

        // An initiation of the peer's came through: its session is about to be made, do not tear it down.
        (State::Trying { round, at, until, heard: _ }, Event::Heard) => {
            (State::Trying { round, at, until, heard: true }, Effect::None)
        }
        (State::Trying { .. }, Event::Doubt) => attempt(0, 0, waits, now),
        (State::Trying { .. }, Event::Candidate(at)) => attempt(0, at, waits, now),
        (State::Trying { .. }, Event::Silent) => (state, Effect::None),
        (State::Trying { round, at, until: _, heard: true }, Event::Due) => {
            (State::Trying { round, at, until: now + GRACE, heard: false }, Effect::None)
        }
        (State::Trying { round, at, until: _, heard: false }, Event::Due) => {
            next_attempt(round, at, waits, now)
        }

        (State::Verifying { .. }, Event::Heard) => (State::Direct, Effect::None),
        (State::Verifying { .. }, Event::Doubt) => verify(None, now),
        (State::Verifying { .. }, Event::Candidate(at)) => verify(Some(at), now),
        (State::Verifying { .. }, Event::Silent) => (state, Effect::None),
        (State::Verifying { at, pokes, until: _ }, Event::Due) => match POKES.get(pokes) {
            Some(&pause) => (State::Verifying { at, pokes: pokes + 1, until: now + pause }, Effect::Poke),
            // The one it was moved to has had its time.
            None => attempt(0, at.map_or(0, |at| at + 1), waits, now),
        },

        (State::Direct, Event::Heard | Event::Due) => (State::Direct, Effect::None),
        (State::Direct, Event::Doubt) => verify(None, now),
        (State::Direct, Event::Candidate(at)) => verify(Some(at), now),
        (State::Direct, Event::Silent) => attempt(0, 0, waits, now),

        (State::Unreachable { .. }, Event::Heard | Event::Silent) => (state, Effect::None),
        (State::Unreachable { .. }, Event::Doubt) => attempt(0, 0, waits, now),
        (State::Unreachable { .. }, Event::Candidate(at)) => attempt(0, at, waits, now),
        // One round, with the longest waits; the next failure is counted from here.
        (State::Unreachable { failures, .. }, Event::Due) => attempt(ROUNDS + failures, 0, waits, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const WAITS: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(500)];

    fn show(state: State) -> String {
        let wait = |until: Duration| until.saturating_sub(NOW).as_millis();
        match state {
            State::Trying { round, at, until, heard } => {
                format!(
                    "trying {at} in round {round} for {}{}",
                    wait(until),
                    if heard { ", heard" } else { "" }
                )
            }
            State::Verifying { at, pokes, until } => {
                format!("verifying {at:?} after {pokes} for {}", wait(until))
            }
            State::Direct => "direct".to_owned(),
            State::Unreachable { failures, until } => format!("unreachable {failures} for {}", wait(until)),
        }
    }

    #[test]
    fn every_transition_is_this_one() {
        let until = NOW + Duration::from_millis(1);
        let states = [
            State::Trying { round: 0, at: 0, until, heard: false },
            State::Trying { round: 1, at: 0, until, heard: true },
            State::Trying { round: 0, at: 1, until, heard: false },
            State::Trying { round: 3, at: 1, until, heard: false },
            State::Verifying { at: None, pokes: 1, until },
            State::Verifying { at: Some(0), pokes: 3, until },
            State::Direct,
            State::Unreachable { failures: 0, until },
        ];
        let events =
            [Event::Alive, Event::Heard, Event::Doubt, Event::Candidate(1), Event::Silent, Event::Due];
        let mut table = String::new();
        for state in states {
            table += &format!("{}\n", show(state));
            for event in events {
                let (next, effect) = step(state, event, &WAITS, NOW);
                let next = if next == state { "same".to_owned() } else { show(next) };
                table += &format!("  {event:?}: {next}, {effect:?}\n");
            }
        }
        assert_eq!(table, EXPECTED, "\n{table}");
    }

    const EXPECTED: &str = "\
trying 0 in round 0 for 1
  Alive: direct, None
  Heard: trying 0 in round 0 for 1, heard, None
  Doubt: trying 0 in round 0 for 150, Restart(0)
  Candidate(1): trying 1 in round 0 for 500, Restart(1)
  Silent: same, None
  Due: trying 1 in round 0 for 500, Restart(1)
trying 0 in round 1 for 1, heard
  Alive: direct, None
  Heard: same, None
  Doubt: trying 0 in round 0 for 150, Restart(0)
  Candidate(1): trying 1 in round 0 for 500, Restart(1)
  Silent: same, None
  Due: trying 0 in round 1 for 500, None
trying 1 in round 0 for 1
  Alive: direct, None
  Heard: trying 1 in round 0 for 1, heard, None
  Doubt: trying 0 in round 0 for 150, Restart(0)
  Candidate(1): trying 1 in round 0 for 500, Restart(1)
  Silent: same, None
  Due: trying 0 in round 1 for 300, Restart(0)
trying 1 in round 3 for 1
  Alive: direct, None
  Heard: trying 1 in round 3 for 1, heard, None
  Doubt: trying 0 in round 0 for 150, Restart(0)
  Candidate(1): trying 1 in round 0 for 500, Restart(1)
  Silent: same, None
  Due: unreachable 0 for 11000, None
verifying None after 1 for 1
  Alive: direct, None
  Heard: direct, None
  Doubt: verifying None after 1 for 200, Poke
  Candidate(1): verifying Some(1) after 1 for 200, Move(1)
  Silent: same, None
  Due: verifying None after 2 for 300, Poke
verifying Some(0) after 3 for 1
  Alive: direct, None
  Heard: direct, None
  Doubt: verifying None after 1 for 200, Poke
  Candidate(1): verifying Some(1) after 1 for 200, Move(1)
  Silent: same, None
  Due: trying 1 in round 0 for 500, Restart(1)
direct
  Alive: same, None
  Heard: same, None
  Doubt: verifying None after 1 for 200, Poke
  Candidate(1): verifying Some(1) after 1 for 200, Move(1)
  Silent: trying 0 in round 0 for 150, Restart(0)
  Due: same, None
unreachable 0 for 1
  Alive: direct, None
  Heard: same, None
  Doubt: trying 0 in round 0 for 150, Restart(0)
  Candidate(1): trying 1 in round 0 for 500, Restart(1)
  Silent: same, None
  Due: trying 0 in round 4 for 1200, Restart(0)
";

    #[test]
    fn without_candidates_nothing_is_tried() {
        for event in [Event::Doubt, Event::Silent] {
            let (state, effect) = step(State::Direct, event, &[], NOW);
            assert!(effect == Effect::Poke || matches!(state, State::Unreachable { .. }));
        }
        assert!(matches!(State::begin(&[], NOW), State::Unreachable { .. }));
    }
}
