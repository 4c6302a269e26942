//! PostgreSQL, 15 or newer: one connection for commits in their order, one for leases, which must not wait for anything, one
//! for what takes as long as there is much to read, one for everything else, which must not wait for that, and one that listens
//! for what other servers commit.
//!
//! Not for poolers that hand each transaction another connection. It keeps true that a commit is one statement and one round
//! trip, whatever the size of its group, and that nobody waits for ever.

mod connect;
mod copy;
mod failure;
mod leases;
mod line;
mod listen;
mod schema;
mod statements;
mod target;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use model::{Epoch, Timestamp};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::address::{Address, Backend, Existing};
use crate::commit::Commits;
use crate::journal::prune_in_pieces;
use crate::last::Last;
use crate::rows::{inventory_rows, keepable};
use crate::{
    Answer, Commit, CommitError, Database, Followed, Held, InventoryRow, JournalEntry, Leased, Loaded, Place,
    StoreError,
};
use leases::Leases;
use line::CommitLine;
use statements::Side;
use target::Target;

/// PostgreSQL among the backends.
pub(crate) const BACKEND: Backend = Backend {
    schemes: &["postgres", "postgresql"],
    example: "postgres://user@host:5432/database",
    place: target::place,
    inspect: |address| Box::pin(async move { schema::inspect(&Target::of(address)?).await }),
    open: |address| {
        Box::pin(async move { Ok(Arc::new(Postgres::open(address).await?) as Arc<dyn Database>) })
    },
    restore: |address: &Address, backup, existing: Existing| {
        Box::pin(async move { copy::restore(&Target::of(address)?, backup, existing).await.map(|()| None) })
    },
};

/// A database on a PostgreSQL server.
struct Postgres {
    target: Arc<Target>,
    commits: Commits<CommitLine>,
    /// For what is answered soon.
    side: Mutex<Side>,
    /// For what grows with what is kept.
    reads: Mutex<Side>,
    leases: Leases,
    last: Last,
    listener: JoinHandle<()>,
}

impl Postgres {
    async fn open(address: &Address) -> Result<Self, StoreError> {
        let target = Arc::new(Target::of(address)?);
        schema::prepare(&target).await?;
        let mut side = Side::new(Arc::clone(&target));
        let last = Last::new(side.check().await?);
        let listener = tokio::spawn(listen::run(Arc::clone(&target), last.clone()));
        let commits = Commits::new(&target.place, &last, CommitLine::new(Arc::clone(&target)));
        let leases = Leases::new(Arc::clone(&target));
        let reads = Mutex::new(Side::new(Arc::clone(&target)));
        Ok(Self { target, commits, side: Mutex::new(side), reads, leases, last, listener })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Database for Postgres {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn load(&self) -> Answer<'_, Loaded> {
        Box::pin(async { self.reads.lock().await.load().await })
    }

    fn commit_in(&self, group: Vec<Commit>, epoch: Option<Epoch>) -> Answer<'_, (), CommitError> {
        self.commits.commit(group, epoch)
    }

    fn follow(&self, after: u64) -> Answer<'_, Followed> {
        Box::pin(async move { self.reads.lock().await.follow(after).await })
    }

    fn changed(&self, after: u64) -> Answer<'_, u64> {
        self.last.changed(after)
    }

    fn lease(&self, name: &str, holder: &str, lifetime: Duration) -> Answer<'_, Leased> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(async move {
            keepable("the name of a lease", &name)?;
            self.leases.lease(&name, &holder, lifetime).await
        })
    }

    fn release(&self, name: &str, holder: &str) -> Answer<'_, ()> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(async move { self.leases.release(&name, &holder).await })
    }

    fn held<'a>(&'a self, prefix: &'a str, lifetime: Duration) -> Answer<'a, Vec<Held>> {
        Box::pin(self.leases.held(prefix, lifetime))
    }

    fn journal(&self, before: Option<u64>, most: u32) -> Answer<'_, Vec<JournalEntry>> {
        Box::pin(async move { self.reads.lock().await.journal(before, most).await })
    }

    fn prune(&self, older_than: Timestamp) -> Answer<'_, u64> {
        Box::pin(prune_in_pieces(move || async move { self.side.lock().await.prune(older_than).await }))
    }

    fn next_epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(async { self.side.lock().await.next_epoch().await })
    }

    fn put_inventory_in(&self, hosts: Vec<InventoryRow>, epoch: Option<Epoch>) -> Answer<'_, ()> {
        Box::pin(async move {
            let (put, gone) = inventory_rows(hosts)?;
            self.side.lock().await.put_inventory(&put, &gone, epoch).await
        })
    }

    fn inventory_since(&self, version: u64) -> Answer<'_, (u64, Vec<InventoryRow>)> {
        Box::pin(async move { self.reads.lock().await.inventory_since(version).await })
    }

    fn identity<'a>(&'a self, ours: &'a str) -> Answer<'a, String> {
        Box::pin(async move {
            keepable("the identity of a server", ours)?;
            self.side.lock().await.identity(ours).await
        })
    }

    fn replace_identity<'a>(&'a self, ours: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            keepable("the identity of a server", ours)?;
            self.side.lock().await.replace_identity(ours).await
        })
    }

    fn backup(&self, to: &std::path::Path) -> Answer<'_, ()> {
        Box::pin(copy::backup(&self.target, to.to_owned()))
    }

    fn check(&self) -> Answer<'_, u64> {
        Box::pin(async {
            let seq = self.side.lock().await.check().await?;
            self.last.tell(seq);
            Ok(seq)
        })
    }
}
