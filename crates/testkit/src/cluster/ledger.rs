//! What must be true: the reference model. It knows of each thing which states it may be in, by what the servers said, and of
//! each act whether it must, may or must not have had its effect.
//!
//! Not for asking and not for reading what is (`judge`). It keeps true that an answer that never came leaves both possible, and
//! nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::speak::Outcome;

/// How many complaints are kept.
const MOST: usize = 50;

/// What can be said of a thing: that it is there, as one act left it (by the act's mark), or that it is not there.
pub(super) type State = Option<String>;

/// One act upon one thing.
#[derive(Debug, Clone)]
pub(super) struct Act {
    /// The thing, by a key that says its kind and where it is.
    pub(super) thing: String,
    /// As it was before.
    pub(super) from: State,
    /// As it is to be.
    pub(super) to: State,
}

/// What became of acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Acknowledged.
    pub(super) done: u64,
    /// Refused: by a server that had nothing to write to, or that was not there.
    pub(super) refused: u64,
    /// Nobody said.
    pub(super) unknown: u64,
}

/// How often the effect of an act may be in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Exactly once.
    Once,
    /// Once or never.
    Maybe,
    /// Never.
    Never,
}

#[derive(Debug, Default)]
struct Pages {
    possible: BTreeMap<String, BTreeSet<State>>,
    /// By the state that was left and the one that came: no two acts have both the same.
    acts: BTreeMap<(State, State), Due>,
    tally: [Tally; 2],
    complaints: Vec<String>,
}

/// The model.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Pages>);

impl Ledger {
    fn open(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is wrong already.
    pub(super) fn complain(&self, what: String) {
        let mut pages = self.open();
        if pages.complaints.len() < MOST {
            pages.complaints.push(what);
        }
    }

    /// A thing that is there from the beginning.
    pub(super) fn begin(&self, thing: &str, state: State) {
        self.open().possible.insert(thing.to_owned(), [state].into());
    }

    /// What the server with this number said to an act upon a thing that nobody else acts upon.
    pub(super) fn note(&self, server: usize, act: &Act, outcome: &Outcome) {
        let possible = match outcome {
            Outcome::Done(_) => [act.to.clone()].into(),
            Outcome::Refused { .. } => [act.from.clone()].into(),
            Outcome::Unknown(_) => [act.from.clone(), act.to.clone()].into(),
        };
        self.open().possible.insert(act.thing.clone(), possible);
        self.count(server, act, outcome);
    }

    /// The same for an act whose thing others act upon: what is possible is said by [`Self::allow`].
    pub(super) fn count(&self, server: usize, act: &Act, outcome: &Outcome) {
        let mut pages = self.open();
        let tally = &mut pages.tally[server];
        let due = match outcome {
            Outcome::Done(_) => {
                tally.done += 1;
                Due::Once
            }
            Outcome::Refused { .. } => {
                tally.refused += 1;
                Due::Never
            }
            Outcome::Unknown(_) => {
                tally.unknown += 1;
                Due::Maybe
            }
        };
        pages.acts.insert((act.from.clone(), act.to.clone()), due);
    }

    /// The states that a thing may be in.
    pub(super) fn allow(&self, thing: &str, states: BTreeSet<State>) {
        self.open().possible.insert(thing.to_owned(), states);
    }

    /// Whether anybody acted upon this thing, or may.
    pub(super) fn knows(&self, thing: &str) -> bool {
        self.open().possible.contains_key(thing)
    }

    /// What became of all acts at each server.
    pub(super) fn tally(&self) -> [Tally; 2] {
        self.open().tally
    }

    /// Everything that was wrong so far.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.open().complaints.clone()
    }

    /// Complains of everything that is not as it may be. `found`: each thing, and all its states that were found.
    pub(super) fn compare(&self, found: &BTreeMap<String, Vec<String>>) {
        let possible = self.open().possible.clone();
        for (thing, states) in &possible {
            match found.get(thing).map_or(&[][..], Vec::as_slice) {
                [] if states.contains(&None) => {}
                [one] if states.contains(&Some(one.clone())) => {}
                [] => self.complain(format!("lost: {thing} is not there; it should be {states:?}")),
                [one] => self.complain(format!("{thing} is {one}; it should be {states:?}")),
                several => self.complain(format!("twice: {thing} is there as {several:?}")),
            }
        }
        for (thing, states) in found.iter().filter(|(thing, _)| !possible.contains_key(*thing)) {
            self.complain(format!("{thing} is there as {states:?}, and nobody made it"));
        }
    }

    /// Complains of every act that had its effect too often, or not at all. `effects`: how often each is in the journal.
    pub(super) fn compare_effects(&self, effects: &BTreeMap<(State, State), u32>) {
        let acts = self.open().acts.clone();
        for (act, due) in &acts {
            let times = effects.get(act).copied().unwrap_or(0);
            let complaint = match (due, times) {
                (Due::Once | Due::Maybe, 1) | (Due::Maybe | Due::Never, 0) => continue,
                (Due::Once, 0) => format!("lost: the acknowledged act {act:?} is in no journal"),
                (Due::Never, _) => format!("the act {act:?} was refused and done all the same"),
                (Due::Once | Due::Maybe, many) => format!("{act:?} was done {many} times"),
            };
            self.complain(complaint);
        }
        for (act, times) in effects.iter().filter(|(act, _)| !acts.contains_key(*act)) {
            self.complain(format!("the journal has {act:?} {times} times, and nobody asked for it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(from: Option<&str>, to: Option<&str>) -> Act {
        Act { thing: "thing".to_owned(), from: from.map(str::to_owned), to: to.map(str::to_owned) }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown("gone".to_owned())
    }

    fn judged(
        acts: &[(Act, Outcome)],
        found: &[&str],
        effects: &[(Option<&str>, Option<&str>, u32)],
    ) -> Vec<String> {
        let ledger = Ledger::default();
        acts.iter().for_each(|(act, outcome)| ledger.note(0, act, outcome));
        let states: Vec<String> = found.iter().map(|state| (*state).to_owned()).collect();
        ledger.compare(&[("thing".to_owned(), states)].into());
        let effect = |(from, to, times): &(Option<&str>, Option<&str>, u32)| {
            ((from.map(str::to_owned), to.map(str::to_owned)), *times)
        };
        ledger.compare_effects(&effects.iter().map(effect).collect());
        ledger.complaints()
    }

    #[test]
    fn what_was_acknowledged_must_be_there_once() {
        let done = [(act(None, Some("m1")), Outcome::Done(serde_json::Value::Null))];
        let effect = (None, Some("m1"), 1);
        assert_eq!(judged(&done, &["m1"], &[effect]), Vec::<String>::new());
        assert!(judged(&done, &[], &[effect])[0].starts_with("lost"));
        assert!(judged(&done, &["m1", "m1"], &[effect])[0].starts_with("twice"));
        assert!(judged(&done, &["m1"], &[])[0].starts_with("lost"));
        assert!(judged(&done, &["m1"], &[(None, Some("m1"), 2)])[0].contains("2 times"));
        assert!(judged(&done, &["m2"], &[effect])[0].contains("m2"));
    }

    #[test]
    fn of_what_nobody_answered_all_or_nothing_is_there() {
        let asked = [(act(Some("m1"), Some("m2")), unknown())];
        assert_eq!(judged(&asked, &["m1"], &[]), Vec::<String>::new());
        assert_eq!(judged(&asked, &["m2"], &[(Some("m1"), Some("m2"), 1)]), Vec::<String>::new());
        assert!(!judged(&asked, &["m2"], &[(Some("m1"), Some("m2"), 2)]).is_empty());
        assert!(!judged(&asked, &[], &[]).is_empty());
    }

    #[test]
    fn what_was_refused_must_not_be_there() {
        let refused = [(act(None, Some("m1")), Outcome::Refused { status: 503, why: "busy".to_owned() })];
        assert_eq!(judged(&refused, &[], &[]), Vec::<String>::new());
        assert!(!judged(&refused, &["m1"], &[]).is_empty());
        assert!(!judged(&refused, &[], &[(None, Some("m1"), 1)]).is_empty());
    }
}
