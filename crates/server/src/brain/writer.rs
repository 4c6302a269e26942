//! The writer: the only task that changes intent. It takes what waits, decides each command against what the ones before it
//! made, commits them all in one transaction, and only then shows and answers them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use control::{Change, Command, Env, Intent, decide};
use model::DnsName;
use store::{Commit, CommitError, Database};
use tokio::sync::mpsc;

use super::{Committed, Job, Notice, Refused, now};

/// Commands that share one transaction at most.
const MOST_IN_ONE: usize = 256;

/// The one task that changes intent.
pub(super) struct Writer {
    pub(super) database: Arc<dyn Database>,
    pub(super) intent: Arc<ArcSwap<Intent>>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) hub: mpsc::Sender<Notice>,
    /// The server's domain.
    pub(super) domain: DnsName,
}

/// A command that was decided and waits for its commit.
struct Decided {
    answer: tokio::sync::oneshot::Sender<Result<Committed, Refused>>,
    change: Arc<Change>,
    intent: Intent,
}

impl Writer {
    /// Works until every `Brain` is gone.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(MOST_IN_ONE);
        while self.jobs.recv_many(&mut waiting, MOST_IN_ONE).await > 0 {
            self.carry_out(std::mem::take(&mut waiting)).await;
        }
    }

    /// None if whoever decided panicked: then nobody is answered, and all askers hear that nothing was changed.
    async fn decide(&self, intent: Intent, jobs: Vec<Job>) -> Option<(Intent, Vec<Decided>)> {
        if !jobs.iter().any(|job| runs_tests(&job.command)) {
            return Some(decide_all(intent, jobs, &self.domain));
        }
        let domain = self.domain.clone();
        tokio::task::spawn_blocking(move || decide_all(intent, jobs, &domain)).await.ok()
    }

    async fn carry_out(&self, jobs: Vec<Job>) {
        let before = self.intent.load_full();
        let Some((after, decided)) = self.decide(Intent::clone(&before), jobs).await else {
            tracing::error!("deciding broke off; nothing was changed");
            return;
        };
        let commits = commits(&before, &decided);
        if commits.is_empty() {
            decided.into_iter().for_each(answer);
            return;
        }
        let count = commits.len();
        let start = std::time::Instant::now();
        if let Err(error) = self.database.commit(commits).await {
            tracing::error!(%error, changes = count, "changes were not saved");
            metrics::counter!("netloom_commit_failures_total").increment(1);
            decided.into_iter().for_each(|one| refuse(one, &error));
            return;
        }
        metrics::counter!("netloom_commits_total").increment(count as u64);
        metrics::histogram!("netloom_commit_seconds").record(start.elapsed());
        let after = Arc::new(after);
        self.intent.store(Arc::clone(&after));
        let changes = decided.iter().map(|one| Arc::clone(&one.change)).filter(|change| !change.is_empty());
        let notice = Notice::Intent { intent: after, changes: changes.collect() };
        if self.hub.send(notice).await.is_err() {
            tracing::error!("the hub has ended; agents are not told of changes until the server restarts");
        }
        decided.into_iter().for_each(answer);
    }
}

/// Whether the tests of policies are run for it: in a large network that takes longer than others want to wait for this
/// thread.
const fn runs_tests(command: &Command) -> bool {
    matches!(
        command,
        Command::CreatePolicy(_)
            | Command::UpdatePolicy { .. }
            | Command::DeletePolicy { .. }
            | Command::CreatePolicyTest { .. }
            | Command::UpdateNetwork { .. }
    )
}

fn decide_all(mut intent: Intent, jobs: Vec<Job>, domain: &DnsName) -> (Intent, Vec<Decided>) {
    let decided = jobs.into_iter().filter_map(|job| decide_one(&mut intent, job, domain)).collect();
    (intent, decided)
}

fn decide_one(intent: &mut Intent, job: Job, domain: &DnsName) -> Option<Decided> {
    let Job { actor, command, answer } = job;
    let mut random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).expect("the operating system gives randomness: it did at the start");
    };
    let mut env = Env { now: now(), domain, random: &mut random };
    match decide(intent, &actor, command, &mut env) {
        Ok(change) => {
            if !change.is_empty() {
                control::apply(intent, &change);
            }
            Some(Decided { answer, change: Arc::new(change), intent: intent.clone() })
        }
        Err(rejection) => {
            // Whoever asked may have gone; then nobody needs the answer.
            let _gone = answer.send(Err(rejection.into()));
            None
        }
    }
}

fn commits(before: &Intent, decided: &[Decided]) -> Vec<Commit> {
    let changes = decided.iter().map(|one| &one.change).filter(|change| !change.is_empty());
    let seqs = before.seq() + 1..;
    let time = now();
    changes.zip(seqs).map(|(change, seq)| Commit { seq, time, change: Change::clone(change) }).collect()
}

fn answer(decided: Decided) {
    let Decided { answer, change, intent } = decided;
    let _gone = answer.send(Ok(Committed { change, intent }));
}

fn refuse(decided: Decided, error: &CommitError) {
    let _gone = decided.answer.send(Err(Refused::Unavailable(error.clone())));
}
