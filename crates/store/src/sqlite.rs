//! SQLite: one file, one thread that has it open, and a bounded queue in front of that thread.
//!
//! Not for several servers: one has the file, a second is refused. It keeps true that an answer to a commit comes after the
//! disk has it (write-ahead log, `synchronous=FULL`). Commits become fast by grouping: a group costs one wait for the disk.

mod backup;
pub(crate) mod failure;
pub(crate) mod file;
pub(crate) mod schema;
pub(crate) mod sql;
pub(crate) mod statements;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{Epoch, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use failure::{Failed, of_file};
use statements::Statements;

use crate::address::{Address, Backend, Existing, Url};
use crate::journal::prune_in_pieces;
use crate::last::Last;
use crate::neutral::blocking;
use crate::rows::{Written, inventory_rows, keepable};
use crate::{
    Answer, Commit, CommitError, Database, Followed, Held, InventoryRow, JournalEntry, Leased, Loaded, Place,
    StoreError,
};

/// What stands before a file's path in an address.
pub(crate) const SCHEME: &str = "sqlite";

/// SQLite among the backends.
pub(crate) const BACKEND: Backend = Backend {
    schemes: &[SCHEME],
    example: "sqlite:/var/lib/netloom/netloom.db",
    place: |url| match url.rest() {
        "" => Err("`sqlite:` needs the path of a file behind it".to_owned()),
        path => Ok(Place::from(Path::new(path))),
    },
    inspect: |address| {
        let path = path_of(&address.url);
        Box::pin(blocking(move || {
            let place = Place::from(path.as_path());
            schema::inspect(&path, &place).map_err(|failed| failed.at(&place))
        }))
    },
    open: |address| {
        let path = path_of(&address.url);
        Box::pin(blocking(move || Ok(Arc::new(Sqlite::open(&path)?) as Arc<dyn Database>)))
    },
    restore: |address: &Address, backup, existing: Existing| {
        let (backup, path) = (backup.to_owned(), path_of(&address.url));
        Box::pin(blocking(move || backup::restore(&backup, &path, existing)))
    },
};

fn path_of(url: &Url) -> PathBuf {
    PathBuf::from(url.rest())
}

/// How many requests wait for the thread before those who ask have to wait.
const QUEUE: usize = 64;
/// A disk that stands still holds the thread for as long as it does: nobody waits longer than this.
const PATIENCE: Duration = Duration::from_secs(8);

type Job = Box<dyn FnOnce(&mut Statements) + Send>;

/// A database in one SQLite file. When it is dropped the file is closed and free for another.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    place: Place,
    last: Last,
    /// How long an answer is waited for.
    patience: Duration,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Sqlite {
    /// Opens the file; it and its folder are made when missing. Blocks for a moment: to be called at start.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let claim = file::claim(path)?;
        let place = Place::from(path);
        let mut statements = Statements::open(path).map_err(|failed| failed.at(&place))?;
        let last = statements.check().map_err(|failed| failed.at(&place))?;
        let (jobs, thread) = Self::run(statements, claim).map_err(|error| of_file(path, &error))?;
        let (jobs, thread, last) = (Some(jobs), Some(thread), Last::new(last));
        Ok(Self { path: path.to_owned(), place, last, patience: PATIENCE, jobs, thread })
    }

    fn run(
        mut statements: Statements,
        claim: impl Send + 'static,
    ) -> std::io::Result<(mpsc::Sender<Job>, JoinHandle<()>)> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        let work = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut statements);
            }
            drop(statements);
            drop(claim);
        };
        let thread = std::thread::Builder::new().name("database".to_owned()).spawn(work)?;
        Ok((jobs, thread))
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Statements) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |statements| {
            let result = question(statements).map_err(|failed| failed.at(statements.place()));
            // Nobody waits any more: what was asked for is done all the same.
            drop(answer.send(result));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Gone)?;
        let done = async {
            jobs.send(job).await.map_err(|_| StoreError::Gone)?;
            answered.await.map_err(|_| StoreError::Gone)?
        };
        timeout(self.patience, done).await.unwrap_or_else(|_| Err(StoreError::NoAnswer(self.place.clone())))
    }

    fn unknown(&self) -> CommitError {
        let reason = format!("it did not answer within {} seconds", self.patience.as_secs());
        CommitError::Unknown { place: self.place.clone(), reason }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // Waits for what was asked for already; a thread that panicked has said so itself.
        self.thread.take().map(JoinHandle::join);
    }
}

impl Database for Sqlite {
    fn place(&self) -> &Place {
        &self.place
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn load(&self) -> Answer<'_, Loaded> {
        Box::pin(self.ask(Statements::load))
    }

    fn commit_in(&self, group: Vec<Commit>, epoch: Option<Epoch>) -> Answer<'_, (), CommitError> {
        Box::pin(async move {
            let Some(group) = Written::of(&group, epoch)? else {
                return Ok(());
            };
            let last = group.last;
            // Told by the thread: whoever asked may have stopped waiting.
            let tell = self.last.clone();
            let commit = move |statements: &mut Statements| {
                let committed = statements.commit(&group)?;
                if committed.is_ok() {
                    tell.tell(last);
                }
                Ok(committed)
            };
            match self.ask(commit).await {
                Err(StoreError::NoAnswer(_)) => Err(self.unknown()),
                answered => answered?,
            }
        })
    }

    fn follow(&self, after: u64) -> Answer<'_, Followed> {
        Box::pin(self.ask(move |statements| statements.follow(after)))
    }

    fn changed(&self, after: u64) -> Answer<'_, u64> {
        self.last.changed(after)
    }

    fn lease(&self, name: &str, holder: &str, lifetime: Duration) -> Answer<'_, Leased> {
        let (name, holder, asked) = (name.to_owned(), holder.to_owned(), Instant::now());
        Box::pin(async move {
            keepable("the name of a lease", &name)?;
            let ours = holder.clone();
            let now_holds = self.ask(move |statements| statements.lease(&name, &ours, lifetime)).await?;
            Ok(Leased::of(now_holds, &holder, asked, lifetime))
        })
    }

    fn release(&self, name: &str, holder: &str) -> Answer<'_, ()> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(self.ask(move |statements| statements.release(&name, &holder)))
    }

    fn held<'a>(&'a self, prefix: &'a str, lifetime: Duration) -> Answer<'a, Vec<Held>> {
        let prefix = prefix.to_owned();
        Box::pin(self.ask(move |statements| statements.held(&prefix, lifetime)))
    }

    fn journal(&self, before: Option<u64>, most: u32) -> Answer<'_, Vec<JournalEntry>> {
        Box::pin(self.ask(move |statements| statements.journal(before, most)))
    }

    fn prune(&self, older_than: Timestamp) -> Answer<'_, u64> {
        Box::pin(prune_in_pieces(move || self.ask(move |statements| statements.prune(older_than))))
    }

    fn next_epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(self.ask(Statements::next_epoch))
    }

    fn put_inventory_in(&self, hosts: Vec<InventoryRow>, epoch: Option<Epoch>) -> Answer<'_, ()> {
        Box::pin(async move {
            let (put, gone) = inventory_rows(hosts)?;
            self.ask(move |statements| statements.put_inventory(&put, &gone, epoch)).await
        })
    }

    fn inventory_since(&self, version: u64) -> Answer<'_, (u64, Vec<InventoryRow>)> {
        Box::pin(self.ask(move |statements| statements.inventory_since(version)))
    }

    fn identity<'a>(&'a self, ours: &'a str) -> Answer<'a, String> {
        let ours = ours.to_owned();
        Box::pin(async move {
            keepable("the identity of a server", &ours)?;
            self.ask(move |statements| statements.identity(&ours)).await
        })
    }

    fn replace_identity<'a>(&'a self, ours: &'a str) -> Answer<'a, ()> {
        let ours = ours.to_owned();
        Box::pin(async move {
            keepable("the identity of a server", &ours)?;
            self.ask(move |statements| statements.replace_identity(&ours)).await
        })
    }

    fn backup(&self, to: &Path) -> Answer<'_, ()> {
        let (from, to) = (self.path.clone(), to.to_owned());
        // A thread and a connection of its own: commits do not wait for it.
        Box::pin(blocking(move || backup::backup(&from, &to)))
    }

    fn check(&self) -> Answer<'_, u64> {
        Box::pin(self.ask(Statements::check))
    }
}

#[cfg(test)]
mod tests {
    use control::{ActorName, Change};

    use super::*;

    #[tokio::test]
    async fn while_a_disk_stands_still_nobody_waits_for_ever_and_what_becomes_of_a_change_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Sqlite::open(&folder.path().join("netloom.db")).unwrap();
        database.patience = Duration::from_millis(50);
        let (thaw, frozen) = oneshot::channel::<()>();
        let stands_still = move |_: &mut Statements| {
            let _thawed = frozen.blocking_recv();
            Ok(())
        };
        let still = database.ask(stands_still).await;
        assert!(matches!(still, Err(StoreError::NoAnswer(_))), "{still:?}");
        let actor = ActorName::from_text("user root".to_owned());
        let change = Change { actor, command: "import".into(), records: Vec::new() };
        let change = Commit { seq: 1, time: Timestamp::default(), change };
        let unknown = database.commit(vec![change]).await.unwrap_err();
        assert!(matches!(unknown, CommitError::Unknown { .. }), "{unknown}");
        drop(thaw);
        database.patience = PATIENCE;
        assert_eq!(database.check().await, Ok(1), "it came to pass all the same");
    }
}
