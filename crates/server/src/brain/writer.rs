//! The writer: the only task that changes intent. It takes what waits, decides each command against what the ones before it
//! made, commits them all in one transaction, and only then shows and answers them.
//!
//! Other servers may write to the same database. What they committed is followed as soon as it is known; where one was
//! faster, the commands are decided again on what it made. It keeps true that a command is carried out once or refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use control::{Change, Command, Env, Intent, Rejection, decide};
use model::DnsName;
use store::{Commit, CommitError, Database, Followed, StoreError};
use tokio::sync::mpsc;

use super::{Committed, Job, Notice, Refused, now};

/// Commands that share one transaction at most.
const MOST_IN_ONE: usize = 256;
/// How often commands are decided again because another server was faster.
const MOST_ROUNDS: u32 = 30;
/// How long is waited before the database is asked again for what others did.
const PAUSE: Duration = Duration::from_secs(1);

/// How often is measured how far behind the others this server is.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// The one task that changes intent.
pub(super) struct Writer {
    pub(super) database: Arc<dyn Database>,
    pub(super) intent: Arc<ArcSwap<Intent>>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) hub: mpsc::Sender<Notice>,
    /// The server's domain.
    pub(super) domain: DnsName,
    /// Whether nobody knows what became of the last commit: then nothing is decided before it was looked.
    pub(super) must_look: bool,
    /// When it was measured how far behind the others this server is.
    pub(super) measured: Option<Instant>,
}

/// A command that was decided, and waits for the commits of those before it and its own.
struct Decided {
    job: Job,
    outcome: Result<Outcome, Rejection>,
}

struct Outcome {
    change: Arc<Change>,
    intent: Intent,
}

impl Writer {
    /// Works until every `Brain` is gone.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(MOST_IN_ONE);
        let database = Arc::clone(&self.database);
        loop {
            let seq = self.intent.load().seq();
            tokio::select! {
                count = self.jobs.recv_many(&mut waiting, MOST_IN_ONE) => {
                    if count == 0 {
                        return;
                    }
                    self.carry_out(std::mem::take(&mut waiting)).await;
                }
                () = others(&*database, seq) => self.follow().await,
            }
        }
    }

    async fn carry_out(&mut self, mut jobs: Vec<Job>) {
        for _ in 0..MOST_ROUNDS {
            if self.must_look
                && let Err(error) = self.catch_up().await
            {
                jobs.into_iter().for_each(|job| job.refuse(Refused::Unavailable(error.clone().into())));
                return;
            }
            match self.decide_and_commit(jobs).await {
                Some(again) => jobs = again,
                None => return,
            }
        }
        tracing::warn!("other servers commit faster than this one can decide");
        jobs.into_iter().for_each(|job| job.refuse(Refused::Overloaded));
    }

    /// None if whoever decided panicked: then nobody is answered, and all askers hear that nothing was changed.
    async fn decide(&self, intent: Intent, jobs: Vec<Job>) -> Option<(Intent, Vec<Decided>)> {
        if !jobs.iter().any(|job| runs_tests(&job.command)) {
            return Some(decide_all(intent, jobs, &self.domain));
        }
        let domain = self.domain.clone();
        tokio::task::spawn_blocking(move || decide_all(intent, jobs, &domain)).await.ok()
    }

    /// Decides and commits; the commands that are to be decided again because another server was faster.
    async fn decide_and_commit(&mut self, jobs: Vec<Job>) -> Option<Vec<Job>> {
        let jobs = self.without_former(jobs);
        let before = self.intent.load_full();
        let Some((after, decided)) = self.decide(Intent::clone(&before), jobs).await else {
            tracing::error!("deciding broke off; nothing was changed");
            return None;
        };
        let commits = commits(&before, &decided);
        if commits.is_empty() {
            decided.into_iter().for_each(answer);
            return None;
        }
        let count = commits.len();
        let start = Instant::now();
        let epoch = decided.iter().filter(|one| one.change().is_some()).find_map(|one| one.job.epoch);
        match self.database.commit_in(commits, epoch).await {
            Ok(()) => {}
            Err(CommitError::Conflict { .. }) => {
                metrics::counter!("netloom_commit_conflicts_total").increment(1);
                self.must_look = true;
                return Some(decided.into_iter().map(|one| one.job).collect());
            }
            Err(error @ CommitError::Store(StoreError::Deposed(_))) => {
                return Some(self.part_from_former(decided, &error).await);
            }
            Err(error) => {
                tracing::error!(%error, changes = count, "changes were not saved");
                metrics::counter!("netloom_commit_failures_total").increment(1);
                self.must_look = matches!(error, CommitError::Unknown { .. });
                decided.into_iter().for_each(|one| one.job.refuse(Refused::Unavailable(error.clone())));
                return None;
            }
        }
        metrics::counter!("netloom_commits_total").increment(count as u64);
        metrics::histogram!("netloom_commit_seconds").record(start.elapsed());
        let changes = decided.iter().filter_map(Decided::change).map(Arc::clone).collect();
        self.show(after, changes).await;
        decided.into_iter().for_each(answer);
        None
    }

    /// Only what is wanted in the newest epoch: what a former leader wanted, this very server perhaps, is not done any more.
    fn without_former(&self, jobs: Vec<Job>) -> Vec<Job> {
        let newest = jobs.iter().filter_map(|job| job.epoch).max();
        let (jobs, former): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| job.epoch.is_none() || job.epoch == newest);
        let deposed = || StoreError::Deposed(self.database.place().clone());
        former.into_iter().for_each(|job| job.refuse(Refused::Unavailable(deposed().into())));
        jobs
    }

    /// Another server has begun to lead: what this one wanted as the leader is refused, the rest is decided again.
    async fn part_from_former(&self, decided: Vec<Decided>, why: &CommitError) -> Vec<Job> {
        let jobs = decided.into_iter().map(|one| one.job);
        let (led, others): (Vec<Job>, Vec<Job>) = jobs.partition(|job| job.epoch.is_some());
        if let Some(epoch) = led.iter().find_map(|job| job.epoch) {
            // A hub that has ended has said so.
            let _ended = self.hub.send(Notice::Deposed { epoch }).await;
        }
        led.into_iter().for_each(|job| job.refuse(Refused::Unavailable(why.clone())));
        others
    }

    /// Shows what was committed, to those who read and to those who tell agents.
    async fn show(&self, intent: Intent, changes: Vec<Arc<Change>>) {
        let intent = Arc::new(intent);
        self.intent.store(Arc::clone(&intent));
        if self.hub.send(Notice::Intent { intent, changes }).await.is_err() {
            tracing::error!("the hub has ended; agents are not told of changes until the server restarts");
        }
    }

    /// Brings intent to what other servers committed.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let before = self.intent.load_full();
        let mut after = Intent::clone(&before);
        let change = match self.database.follow(before.seq()).await? {
            Followed::Changed { seq, records } => {
                after.follow(seq, records.into_iter().map(|current| (current.key, current.record)))
            }
            Followed::TooFar => {
                let loaded = self.database.load().await?;
                after.follow_all(loaded.seq, loaded.records)
            }
        };
        self.must_look = false;
        if after.seq() != before.seq() || !change.is_empty() {
            metrics::counter!("netloom_followed_total").increment(after.seq().saturating_sub(before.seq()));
            let seq = after.seq();
            self.show(after, vec![Arc::new(change)]).await;
            self.measure_lag(seq);
        }
        Ok(())
    }

    /// How long ago that was committed elsewhere which is shown here now, by the servers' clocks. Asked now and then, beside the
    /// work: only the journal knows.
    fn measure_lag(&mut self, seq: u64) {
        let shown = now();
        if self.measured.is_some_and(|last| last.elapsed() < LAG_EVERY) {
            return;
        }
        self.measured = Some(Instant::now());
        let database = Arc::clone(&self.database);
        tokio::spawn(async move {
            if let Ok([entry]) = database.journal(Some(seq + 1), 1).await.as_deref() {
                metrics::histogram!("netloom_follow_lag_seconds").record(shown.since(entry.time));
            }
        });
    }

    async fn follow(&mut self) {
        if let Err(error) = self.catch_up().await {
            tracing::warn!(%error, "what other servers changed is not known yet; trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Waits until there is something to follow.
async fn others(database: &dyn Database, seq: u64) {
    if let Err(error) = database.changed(seq).await {
        tracing::warn!(%error, "what other servers change is not heard of; asking");
        tokio::time::sleep(PAUSE).await;
    }
}

impl Job {
    fn refuse(self, why: Refused) {
        // Whoever asked may have gone; then nobody needs the answer.
        let _gone = self.answer.send(Err(why));
    }
}

impl Decided {
    /// What is to be committed.
    fn change(&self) -> Option<&Arc<Change>> {
        self.outcome.as_ref().ok().map(|outcome| &outcome.change).filter(|change| !change.is_empty())
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
            | Command::Import { .. }
            | Command::UpdateNetwork { .. }
    )
}

fn decide_all(mut intent: Intent, jobs: Vec<Job>, domain: &DnsName) -> (Intent, Vec<Decided>) {
    let decided = jobs.into_iter().map(|job| decide_one(&mut intent, job, domain)).collect();
    (intent, decided)
}

fn decide_one(intent: &mut Intent, job: Job, domain: &DnsName) -> Decided {
    let mut random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).expect("the operating system gives randomness: it did at the start");
    };
    let mut env = Env { now: now(), domain, random: &mut random };
    let outcome = decide(intent, &job.actor, job.command.clone(), &mut env).map(|change| {
        if !change.is_empty() {
            control::apply(intent, &change);
        }
        Outcome { change: Arc::new(change), intent: intent.clone() }
    });
    Decided { job, outcome }
}

fn commits(before: &Intent, decided: &[Decided]) -> Vec<Commit> {
    let seqs = before.seq() + 1..;
    let time = now();
    let changes = decided.iter().filter_map(Decided::change).zip(seqs);
    changes.map(|(change, seq)| Commit { seq, time, change: Change::clone(change) }).collect()
}

fn answer(decided: Decided) {
    let Decided { job, outcome } = decided;
    let result = outcome.map(|Outcome { change, intent }| Committed { change, intent });
    let _gone = job.answer.send(result.map_err(Refused::from));
}

#[cfg(test)]
mod tests {
    use control::Actor;
    use model::Epoch;
    use store::{Access, Address};
    use testkit::engines::rqlite::{StandIn, Trouble};
    use tokio::sync::oneshot;

    use super::*;

    /// A server's writer, and a hub that only follows what it is told.
    struct Server {
        jobs: mpsc::Sender<Job>,
        intent: Arc<ArcSwap<Intent>>,
        told: tokio::task::JoinHandle<(Intent, Arc<Intent>)>,
    }

    async fn server(cluster: &StandIn) -> Server {
        let url = format!("rqlite://{}", cluster.nodes()[0]);
        let database = store::open(&Address::parse(&url, Access::default()).unwrap()).await.unwrap();
        let loaded = database.load().await.unwrap();
        let first = Intent::from_records(loaded.seq, loaded.records).unwrap();
        let intent = Arc::new(ArcSwap::new(Arc::new(first.clone())));
        let ((jobs, waiting), (hub, mut notices)) = (mpsc::channel(8), mpsc::channel(8));
        let writer = Writer {
            database,
            intent: Arc::clone(&intent),
            jobs: waiting,
            hub,
            domain: "netloom.test".parse().unwrap(),
            must_look: false,
            measured: None,
        };
        tokio::spawn(writer.run());
        let told = tokio::spawn(async move {
            let (mut followed, mut last) = (first.clone(), Arc::new(first));
            while let Some(notice) = notices.recv().await {
                let Notice::Intent { intent, changes } = notice else { continue };
                changes.iter().for_each(|change| control::apply(&mut followed, change));
                last = intent;
            }
            (followed, last)
        });
        Server { jobs, intent, told }
    }

    fn create(name: String) -> Command {
        Command::CreateNetwork {
            name: name.parse().unwrap(),
            ranges: None,
            keepalive: None,
            access: None,
            approval: false,
            domain: None,
        }
    }

    async fn submit(jobs: &mpsc::Sender<Job>, name: String) -> Result<Committed, Refused> {
        submit_in(jobs, name, None).await
    }

    async fn submit_in(
        jobs: &mpsc::Sender<Job>,
        name: String,
        epoch: Option<Epoch>,
    ) -> Result<Committed, Refused> {
        let (answer, answered) = oneshot::channel();
        jobs.send(Job { actor: Actor::System, command: create(name), epoch, answer }).await.unwrap();
        answered.await.unwrap()
    }

    async fn until_equal(servers: &[&Server], seq: u64) {
        let all_there = async {
            while servers.iter().any(|server| server.intent.load().seq() < seq) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all_there).await.expect("both get there");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn servers_that_change_the_same_at_once_carry_out_each_command_once_and_agree() {
        let cluster = StandIn::start(2).unwrap();
        let (one, two) = (server(&cluster).await, server(&cluster).await);
        let mut asked = tokio::task::JoinSet::new();
        for at in 0..40 {
            for (own, jobs) in [("one", one.jobs.clone()), ("two", two.jobs.clone())] {
                if at % 10 == 5 {
                    cluster.play(&[Trouble::SilentAfter]);
                }
                asked.spawn(async move {
                    // Both want the shared name; one gets it.
                    let shared = submit(&jobs, format!("shared-{at}")).await.is_ok();
                    (shared, submit(&jobs, format!("{own}-{at}")).await.is_ok())
                });
            }
        }
        let results = asked.join_all().await;
        assert_eq!(results.iter().filter(|(shared, _)| *shared).count(), 40, "each shared name once");
        assert!(results.iter().all(|(_, own)| *own), "nobody is in the way of these");

        until_equal(&[&one, &two], 120).await;
        let (first, second) = (one.intent.load_full(), two.intent.load_full());
        assert_eq!(first, second);
        assert_eq!((first.seq(), first.networks(None).count()), (120, 120));
        assert!(first.check().is_empty(), "no range twice");
        // What the hub was told leads there, too.
        for Server { jobs, told, .. } in [one, two] {
            drop(jobs);
            let (followed, last) = told.await.unwrap();
            assert_eq!(*last, *first);
            assert!(followed.records().eq(first.records()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_former_leader_wants_is_refused_also_after_a_conflict_and_what_others_want_is_done() {
        let cluster = StandIn::start(1).unwrap();
        let (one, two) = (server(&cluster).await, server(&cluster).await);
        let url = format!("rqlite://{}", cluster.nodes()[0]);
        let database = store::open(&Address::parse(&url, Access::default()).unwrap()).await.unwrap();
        let first = Some(database.next_epoch().await.unwrap());
        submit_in(&one.jobs, "first".to_owned(), first).await.unwrap();

        let second = Some(database.next_epoch().await.unwrap());
        submit_in(&two.jobs, "second".to_owned(), second).await.unwrap();
        let ask = |name: &'static str, epoch| {
            let jobs = one.jobs.clone();
            tokio::spawn(async move { submit_in(&jobs, name.to_owned(), epoch).await })
        };
        let is_deposed = |refused: Result<Committed, Refused>| {
            let deposed = CommitError::Store(StoreError::Deposed(database.place().clone()));
            matches!(refused, Err(Refused::Unavailable(why)) if why.to_string() == deposed.to_string())
        };
        // It knows neither of the epoch nor of the conflict that it runs into first.
        let (thawed, anybodys) = (ask("thawed", first), ask("anybody", None));
        assert!(is_deposed(thawed.await.unwrap()));
        anybodys.await.unwrap().unwrap();
        let (late, newer) = (ask("late", first), ask("newer", second));
        assert!(is_deposed(late.await.unwrap()));
        newer.await.unwrap().unwrap();
        until_equal(&[&one, &two], 4).await;
        assert_eq!(one.intent.load().networks(None).count(), 4);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_whose_outcome_nobody_knows_is_refused_as_such_and_looked_for_before_the_next() {
        let cluster = StandIn::start(1).unwrap();
        let one = server(&cluster).await;
        let troubles = [vec![Trouble::SilentAfter], vec![Trouble::NoLeader; 200]].concat();
        cluster.play(&troubles);
        let error = submit(&one.jobs, "office".to_owned()).await.unwrap_err();
        assert!(matches!(&error, Refused::Unavailable(CommitError::Unknown { .. })), "{error:?}");
        assert!(!error.to_string().contains("nothing was changed"), "{error}");
        cluster.play_no_more();
        let error = submit(&one.jobs, "office".to_owned()).await.unwrap_err();
        assert!(matches!(error, Refused::Rejected(_)), "it is there, and known: {error:?}");
        submit(&one.jobs, "lab".to_owned()).await.unwrap();
    }
}
