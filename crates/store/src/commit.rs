//! A commit over a network: what to do when the answer is lost. Shared by the databases that are not on this machine.
//!
//! Not for how a group is written (each database has its own words). It keeps true that a group is committed once or not at
//! all, and that whoever asked is told which, as long as the database answers again in time.
//!
//! Every group carries a mark that nobody can guess, in its rows of the journal. When an answer is lost, the mark at the
//! group's number tells whose commit is there. That alone is not enough: what was sent may still lie in some buffer and be
//! carried out after we looked. Therefore each commit also names the *fence*, a random text in the database, and looking
//! after a lost answer puts up a new one first. A commit that names an older fence does nothing.

use std::sync::Arc;
use std::time::Duration;

use model::Epoch;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::last::Last;
use crate::rows::{Written, unguessable};
use crate::{Answer, Commit, CommitError, Place, StoreError};

/// How often a refusal that explains itself by nothing is tried again.
const MOST_REFUSALS: u32 = 8;
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long is tried to find out.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// How long a commit may take, with all that is tried after a lost connection. Then it is refused, or its outcome
    /// is unknown.
    whole: Duration,
    first_pause: Duration,
}

impl Patience {
    /// What a person waits for.
    const USUAL: Self = Self { whole: Duration::from_secs(8), first_pause: Duration::from_millis(20) };
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The group is there.
    Done,
    /// The database carried nothing out: another number is next, or there is another fence, or a later epoch.
    Refused,
    /// Nothing was sent, and the next attempt may do better.
    Unsent(StoreError),
    /// It was sent, and there is no answer.
    Lost(StoreError),
    /// The database said why not. Nothing was done.
    Failed(StoreError),
}

/// What is seen after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The last commit's number.
    pub(crate) last: u64,
    /// The mark at the number that was asked about; none when no commit is there.
    pub(crate) mark: Option<String>,
    /// The epoch that was taken last.
    pub(crate) epoch: u32,
}

/// A way to the database for commits. It knows the fence, and learns it anew where it looks.
pub(crate) trait Line: Send {
    /// Tries once to have the group carried out.
    fn attempt(&mut self, group: &Written) -> impl Future<Output = Attempt> + Send;

    /// Looks what is there at this number. With a new fence, no attempt before it can succeed any more.
    fn look(
        &mut self,
        at: u64,
        new_fence: Option<&str>,
    ) -> impl Future<Output = Result<Seen, StoreError>> + Send;
}

/// Commits in the order in which they were asked for.
pub(crate) struct Commits<L> {
    place: Place,
    last: Last,
    line: Arc<Mutex<L>>,
}

impl<L: Line + 'static> Commits<L> {
    /// Over this line. The last commit's number is told.
    pub(crate) fn new(place: &Place, last: &Last, line: L) -> Self {
        Self { place: place.clone(), last: last.clone(), line: Arc::new(Mutex::new(line)) }
    }

    /// Commits a group, in this epoch.
    pub(crate) fn commit(&self, group: Vec<Commit>, epoch: Option<Epoch>) -> Answer<'_, (), CommitError> {
        Box::pin(async move {
            let Some(group) = Written::of(&group, epoch)? else {
                return Ok(());
            };
            let mut line = Arc::clone(&self.line).lock_owned().await;
            let (place, last) = (self.place.clone(), self.last.clone());
            // On its own: whoever stops waiting does not stop it half way.
            let work = tokio::spawn(async move {
                commit(&mut *line, &place, &group, Patience::USUAL).await?;
                last.tell(group.last);
                Ok(())
            });
            work.await.map_err(|_| StoreError::Gone)?
        })
    }
}

/// What is known of a group that was tried.
enum Known {
    There,
    NotThere,
    Refused(CommitError),
}

fn judge(group: &Written, seen: &Seen, place: &Place) -> Option<Known> {
    match &seen.mark {
        Some(mark) if *mark == group.mark => Some(Known::There),
        // The journal was pruned up to there meanwhile: nobody can say whose it was.
        None if seen.last >= group.last => None,
        // Tried again it would do nothing either, whichever number is next.
        _ if group.epoch.is_some_and(|epoch| epoch.number() != seen.epoch) => {
            Some(Known::Refused(StoreError::Deposed(place.clone()).into()))
        }
        _ => Some(group.misnumbered(seen.last).map_or(Known::NotThere, Known::Refused)),
    }
}

struct Pauses {
    next: Duration,
    end: Instant,
}

impl Pauses {
    /// Waits a little longer each time; false when the time is up.
    async fn pause(&mut self) -> bool {
        if Instant::now() + self.next >= self.end {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Commits the group, once or not at all.
async fn commit(
    line: &mut impl Line,
    place: &Place,
    group: &Written,
    patience: Patience,
) -> Result<(), CommitError> {
    let mut pauses = Pauses { next: patience.first_pause, end: Instant::now() + patience.whole };
    if group.has_gaps() {
        let last = line.look(group.last, None).await?.last;
        return group.misnumbered(last).map_or(Ok(()), Err);
    }
    let mut refusals = 0;
    loop {
        let known = match line.attempt(group).await {
            Attempt::Done => return Ok(()),
            Attempt::Failed(error) => return Err(error.into()),
            Attempt::Unsent(error) => match pauses.pause().await {
                true => Known::NotThere,
                false => return Err(error.into()),
            },
            Attempt::Lost(why) => settle(line, place, group, &mut pauses, why).await?,
            Attempt::Refused => {
                refusals += 1;
                let seen = line.look(group.last, None).await?;
                match judge(group, &seen, place) {
                    Some(Known::NotThere) if refusals >= MOST_REFUSALS => {
                        return Err(StoreError::Timeout(place.clone()).into());
                    }
                    Some(known) => known,
                    // Nothing of ours was left open, so whatever is there is another's.
                    None => Known::Refused(CommitError::Conflict { given: group.first, next: seen.last + 1 }),
                }
            }
        };
        match known {
            Known::There => return Ok(()),
            Known::Refused(error) => return Err(error),
            Known::NotThere => {}
        }
    }
}

/// Finds out what became of a group whose answer was lost, and sees to it that nothing more becomes of it.
async fn settle(
    line: &mut impl Line,
    place: &Place,
    group: &Written,
    pauses: &mut Pauses,
    why: StoreError,
) -> Result<Known, CommitError> {
    tracing::warn!(%why, group.first, group.last, "the answer to a commit was lost; looking what became of it");
    let unknown = |reason: String| CommitError::Unknown { place: place.clone(), reason };
    loop {
        match line.look(group.last, Some(&unguessable())).await {
            Ok(seen) => {
                let pruned = || unknown("its journal does not reach back that far any more".to_owned());
                return judge(group, &seen, place).ok_or_else(pruned);
            }
            Err(error) => {
                tracing::debug!(%error, "the database does not say yet what became of a commit");
                if !pauses.pause().await {
                    return Err(unknown(why.to_string()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::{ActorName, Change};
    use model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// What the network and the others do to one call.
    #[derive(Debug, Clone, Copy)]
    enum Luck {
        Good,
        Unsent,
        /// Carried out, and the answer is lost.
        LostAfter,
        /// Not carried out, and the answer is lost.
        LostBefore,
        /// The answer is lost, and it is carried out after the next call.
        LostAndLate,
        /// Somebody else commits first.
        Overtaken,
        /// Another server begins to lead.
        Deposed,
    }

    /// A database in memory, and a bad network before it.
    struct Rough {
        journal: BTreeMap<u64, String>,
        fence: String,
        known_fence: String,
        epoch: u32,
        luck: Vec<Luck>,
        late: Vec<(Written, String)>,
        carried_out: BTreeMap<String, u32>,
    }

    impl Rough {
        fn new(last: u64, luck: Vec<Luck>) -> Self {
            let journal = (1..=last).map(|seq| (seq, "before".to_owned())).collect();
            let (fence, known_fence) = ("a".to_owned(), "a".to_owned());
            let (late, carried_out) = (Vec::new(), BTreeMap::new());
            Self { journal, fence, known_fence, epoch: EPOCH, luck, late, carried_out }
        }

        fn last(&self) -> u64 {
            self.journal.keys().next_back().copied().unwrap_or(0)
        }

        fn carry_out(&mut self, group: &Written, fence: &str) -> bool {
            let leads = group.epoch.is_none_or(|epoch| epoch.number() == self.epoch);
            let fits = leads && fence == self.fence && group.misnumbered(self.last()).is_none();
            if fits {
                self.journal.extend((group.first..=group.last).map(|seq| (seq, group.mark.clone())));
                *self.carried_out.entry(group.mark.clone()).or_default() += 1;
            }
            fits
        }

        fn overtake(&mut self) {
            let next = self.last() + 1;
            self.journal.insert(next, "another's".to_owned());
        }

        fn lost() -> StoreError {
            StoreError::Unreachable { place: Place::named("x"), reason: "cut".to_owned() }
        }
    }

    impl Line for Rough {
        async fn attempt(&mut self, group: &Written) -> Attempt {
            let fence = self.known_fence.clone();
            match self.luck.pop().unwrap_or(Luck::Good) {
                Luck::Unsent => return Attempt::Unsent(Self::lost()),
                Luck::LostBefore => return Attempt::Lost(Self::lost()),
                Luck::LostAfter => {
                    self.carry_out(group, &fence);
                    return Attempt::Lost(Self::lost());
                }
                Luck::LostAndLate => {
                    self.late.push((group.clone(), fence));
                    return Attempt::Lost(Self::lost());
                }
                Luck::Overtaken => self.overtake(),
                Luck::Deposed => self.epoch += 1,
                Luck::Good => {}
            }
            if self.carry_out(group, &fence) { Attempt::Done } else { Attempt::Refused }
        }

        async fn look(&mut self, at: u64, new_fence: Option<&str>) -> Result<Seen, StoreError> {
            match self.luck.pop().unwrap_or(Luck::Good) {
                Luck::Good => {}
                Luck::Overtaken => self.overtake(),
                Luck::Deposed => self.epoch += 1,
                Luck::Unsent | Luck::LostBefore | Luck::LostAfter | Luck::LostAndLate => {
                    return Err(Self::lost());
                }
            }
            if let Some(fence) = new_fence {
                self.fence = fence.to_owned();
            }
            self.known_fence.clone_from(&self.fence);
            let seen = Seen { last: self.last(), mark: self.journal.get(&at).cloned(), epoch: self.epoch };
            // Only now comes what lay in a buffer.
            for (group, fence) in std::mem::take(&mut self.late) {
                self.carry_out(&group, &fence);
            }
            Ok(seen)
        }
    }

    const EPOCH: u32 = 7;

    fn group(first: u64, count: u64) -> Written {
        group_in(first, count, None)
    }

    fn group_in(first: u64, count: u64, epoch: Option<Epoch>) -> Written {
        let change = |_| Change {
            actor: ActorName::from_text("user anna".to_owned()),
            command: "test".into(),
            records: Vec::new(),
        };
        let commits: Vec<Commit> = (first..first + count)
            .map(|seq| Commit { seq, time: Timestamp::default(), change: change(seq) })
            .collect();
        Written::of(&commits, epoch).unwrap().unwrap()
    }

    fn run(rough: &mut Rough, group: &Written) -> Result<(), CommitError> {
        let patience = Patience { whole: Duration::from_secs(1), first_pause: Duration::from_micros(1) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(commit(rough, &Place::named("x"), group, patience))
    }

    fn luck() -> impl Strategy<Value = Vec<Luck>> {
        let one = prop_oneof![
            Just(Luck::Good),
            Just(Luck::Unsent),
            Just(Luck::LostAfter),
            Just(Luck::LostBefore),
            Just(Luck::LostAndLate),
            Just(Luck::Overtaken),
            Just(Luck::Deposed),
        ];
        proptest::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn whatever_the_network_does_a_group_is_there_once_or_not_and_the_answer_says_which(
            luck in luck(), last in 0u64..4, count in 1u64..4, leads: bool,
        ) {
            let epoch = leads.then(|| Epoch::new(EPOCH));
            let (mut rough, group) = (Rough::new(last, luck), group_in(last + 1, count, epoch));
            let result = run(&mut rough, &group);
            // Whatever lay in a buffer comes in the end.
            for (group, fence) in std::mem::take(&mut rough.late) {
                rough.carry_out(&group, &fence);
            }
            let times = rough.carried_out.get(&group.mark).copied().unwrap_or(0);
            match result {
                Err(CommitError::Store(StoreError::Deposed(_))) => {
                    prop_assert!(leads && rough.epoch > EPOCH && times == 0);
                }
                Ok(()) => prop_assert_eq!(times, 1),
                Err(CommitError::Conflict { .. } | CommitError::Store(_)) => prop_assert_eq!(times, 0),
                Err(CommitError::Unknown { .. }) => prop_assert!(times <= 1),
            }
            let ours = rough.journal.values().filter(|mark| **mark == group.mark).count();
            prop_assert!(ours == 0 || ours as u64 == count, "half a group");
        }
    }

    #[test]
    fn what_was_carried_out_before_the_answer_was_lost_counts_as_done() {
        let (mut rough, group) = (Rough::new(2, vec![Luck::LostAfter]), group(3, 2));
        assert_eq!(run(&mut rough, &group), Ok(()));
    }

    #[test]
    fn what_is_said_in_an_epoch_that_is_over_is_refused_also_when_it_comes_late() {
        for luck in [
            vec![Luck::Deposed],
            vec![Luck::Deposed, Luck::LostAndLate],
            vec![Luck::Deposed, Luck::Overtaken],
        ] {
            let mut rough = Rough::new(2, luck);
            let error = run(&mut rough, &group_in(3, 1, Some(Epoch::new(EPOCH)))).unwrap_err();
            assert!(matches!(error, CommitError::Store(StoreError::Deposed(_))), "{error:?}");
            assert!(rough.carried_out.is_empty());
        }
        let anybodys = run(&mut Rough::new(2, vec![Luck::Deposed]), &group(3, 1));
        assert_eq!(anybodys, Ok(()), "whoever leads");
    }

    #[test]
    fn when_nothing_answers_any_more_the_outcome_is_unknown_and_says_so() {
        let luck = vec![Luck::LostBefore; 1_000];
        let error = run(&mut Rough::new(2, luck), &group(3, 1)).unwrap_err();
        assert!(
            matches!(&error, CommitError::Unknown { .. }) && error.to_string().contains("look"),
            "{error}"
        );
    }

    #[test]
    fn numbers_with_gaps_are_a_conflict_at_the_gap() {
        let mut gap = group(3, 3);
        gap.journal[2].seq = 9;
        let expected = Err(CommitError::Conflict { given: 9, next: 5 });
        assert_eq!(run(&mut Rough::new(2, Vec::new()), &gap), expected);
    }
}
