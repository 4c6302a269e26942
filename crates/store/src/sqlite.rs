//! SQLite: one file, one thread that has it open, and a bounded queue in front of that thread.
//!
//! Not for several servers: one has the file, a second is refused. It keeps true that an answer to a commit comes after the
//! disk has it (write-ahead log, `synchronous=FULL`). Commits become fast by grouping: a group costs one wait for the disk.

mod backup;
mod failure;
mod file;
mod schema;
mod statements;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use model::{Epoch, Timestamp};
use tokio::sync::{mpsc, oneshot};

pub use backup::restore;
use failure::{Failed, of_file};
use statements::{Committed, PRUNED_AT_ONCE, Statements};

use crate::{
    Answer, Commit, CommitError, Database, Followed, InventoryRow, JournalEntry, Loaded, StoreError,
};

/// How many requests wait for the thread before those who ask have to wait.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Statements) + Send>;

/// A database in one SQLite file. When it is dropped the file is closed and free for another.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Sqlite {
    /// Opens the file; it and its folder are made when missing. Blocks for a moment: to be called at start.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let claim = file::claim(path)?;
        let statements = Statements::open(path).map_err(|failed| failed.at(path))?;
        Self::run(statements, claim)
    }

    fn run(mut statements: Statements, claim: impl Send + 'static) -> Result<Self, StoreError> {
        let path = statements.path().to_owned();
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        let work = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut statements);
            }
            drop(statements);
            drop(claim);
        };
        let thread = std::thread::Builder::new().name("database".to_owned()).spawn(work);
        let thread = thread.map_err(|error| of_file(&path, &error))?;
        Ok(Self { path, jobs: Some(jobs), thread: Some(thread) })
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Statements) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |statements| {
            let result = question(statements).map_err(|failed| failed.at(statements.path()));
            // Nobody waits any more: what was asked for is done all the same.
            drop(answer.send(result));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Gone)?;
        jobs.send(job).await.map_err(|_| StoreError::Gone)?;
        answered.await.map_err(|_| StoreError::Gone)?
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
    fn load(&self) -> Answer<'_, Loaded> {
        Box::pin(self.ask(Statements::load))
    }

    fn commit(&self, group: Vec<Commit>) -> Answer<'_, (), CommitError> {
        Box::pin(async move {
            match self.ask(move |statements| statements.commit(&group)).await? {
                Committed::Done => Ok(()),
                Committed::Conflict { given, next } => Err(CommitError::Conflict { given, next }),
            }
        })
    }

    fn follow(&self, after: u64) -> Answer<'_, Followed> {
        Box::pin(self.ask(move |statements| statements.follow(after)))
    }

    fn journal(&self, before: Option<u64>, most: u32) -> Answer<'_, Vec<JournalEntry>> {
        Box::pin(self.ask(move |statements| statements.journal(before, most)))
    }

    fn prune(&self, older_than: Timestamp) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut total = 0;
            loop {
                let removed = self.ask(move |statements| statements.prune(older_than)).await?;
                total += removed;
                if removed < PRUNED_AT_ONCE {
                    return Ok(total);
                }
            }
        })
    }

    fn next_epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(self.ask(Statements::next_epoch))
    }

    fn put_inventory(&self, hosts: Vec<InventoryRow>) -> Answer<'_, ()> {
        Box::pin(self.ask(move |statements| statements.put_inventory(&hosts)))
    }

    fn inventory(&self) -> Answer<'_, Vec<InventoryRow>> {
        Box::pin(self.ask(Statements::inventory))
    }

    fn backup(&self, to: &Path) -> Answer<'_, ()> {
        let (from, to) = (self.path.clone(), to.to_owned());
        Box::pin(async move {
            // A thread and a connection of its own: commits do not wait for it.
            let (answer, answered) = oneshot::channel();
            let work = move || drop(answer.send(backup::backup(&from, &to)));
            let thread = std::thread::Builder::new().name("backup".to_owned()).spawn(work);
            thread.map_err(|error| of_file(&self.path, &error))?;
            answered.await.map_err(|_| StoreError::Gone)?
        })
    }

    fn check(&self) -> Answer<'_, u64> {
        Box::pin(self.ask(Statements::check))
    }
}
