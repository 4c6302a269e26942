//! rqlite, 8 or newer: SQLite on several machines that agree by Raft, asked over HTTP.
//!
//! It knows no transactions that take several requests: a commit is one request, and the guard is in its SQL. It keeps true
//! that nothing depends on which node answers: reads that decide anything are asked for at the level `strong`.

mod copy;
mod http;
mod line;
mod schema;
mod statements;
mod target;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Epoch, Timestamp};
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
use http::Http;
use line::CommitLine;

/// rqlite among the backends.
pub(crate) const BACKEND: Backend = Backend {
    schemes: &["rqlite", "rqlites"],
    example: "rqlite://user@host:4001,host:4001 (rqlites: with TLS)",
    place: target::place,
    inspect: |address| Box::pin(async move { schema::inspect(&target::http(address)?).await }),
    open: |address| Box::pin(async move { Ok(Arc::new(Rqlite::open(address).await?) as Arc<dyn Database>) }),
    restore: |address: &Address, backup, existing: Existing| {
        Box::pin(async move { copy::restore(&target::http(address)?, backup, existing).await.map(|()| None) })
    },
};

/// How often is asked for what others committed.
const ASK: Duration = Duration::from_millis(250);

/// A database on an rqlite cluster.
struct Rqlite {
    http: Arc<Http>,
    commits: Commits<CommitLine>,
    last: Last,
    asker: JoinHandle<()>,
}

impl Rqlite {
    async fn open(address: &Address) -> Result<Self, StoreError> {
        let http = Arc::new(target::http(address)?);
        schema::prepare(&http).await?;
        let last = Last::new(statements::check(&http).await?);
        let commits = Commits::new(&http.place, &last, CommitLine::new(Arc::clone(&http)));
        let asker = tokio::spawn(ask(Arc::clone(&http), last.clone()));
        Ok(Self { http, commits, last, asker })
    }
}

impl Drop for Rqlite {
    fn drop(&mut self) {
        self.asker.abort();
    }
}

/// Asks for what others committed until it is aborted, however often those who wait for it begin anew.
async fn ask(http: Arc<Http>, last: Last) {
    loop {
        tokio::time::sleep(ASK).await;
        match statements::check(&http).await {
            Ok(seq) => last.tell(seq),
            // Whoever waits here waits for commits, not for errors.
            Err(error) => tracing::debug!(%error, "not hearing of others' commits; asking again"),
        }
    }
}

impl Database for Rqlite {
    fn place(&self) -> &Place {
        &self.http.place
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn load(&self) -> Answer<'_, Loaded> {
        Box::pin(statements::load(&self.http))
    }

    fn commit_in(&self, group: Vec<Commit>, epoch: Option<Epoch>) -> Answer<'_, (), CommitError> {
        self.commits.commit(group, epoch)
    }

    fn follow(&self, after: u64) -> Answer<'_, Followed> {
        Box::pin(statements::follow(&self.http, after))
    }

    fn changed(&self, after: u64) -> Answer<'_, u64> {
        self.last.changed(after)
    }

    fn lease(&self, name: &str, holder: &str, lifetime: Duration) -> Answer<'_, Leased> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(async move {
            keepable("the name of a lease", &name)?;
            let asked = Instant::now();
            let now_holds = statements::lease(&self.http, &name, &holder, lifetime).await?;
            Ok(Leased::of(now_holds, &holder, asked, lifetime))
        })
    }

    fn release(&self, name: &str, holder: &str) -> Answer<'_, ()> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(async move { statements::release(&self.http, &name, &holder).await })
    }

    fn held<'a>(&'a self, prefix: &'a str, lifetime: Duration) -> Answer<'a, Vec<Held>> {
        Box::pin(statements::held(&self.http, prefix, lifetime))
    }

    fn journal(&self, before: Option<u64>, most: u32) -> Answer<'_, Vec<JournalEntry>> {
        Box::pin(statements::journal(&self.http, before, most))
    }

    fn prune(&self, older_than: Timestamp) -> Answer<'_, u64> {
        Box::pin(prune_in_pieces(move || statements::prune(&self.http, older_than)))
    }

    fn next_epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(statements::next_epoch(&self.http))
    }

    fn put_inventory_in(&self, hosts: Vec<InventoryRow>, epoch: Option<Epoch>) -> Answer<'_, ()> {
        Box::pin(async move {
            let (put, gone) = inventory_rows(hosts)?;
            statements::put_inventory(&self.http, &put, &gone, epoch).await
        })
    }

    fn inventory_since(&self, version: u64) -> Answer<'_, (u64, Vec<InventoryRow>)> {
        Box::pin(statements::inventory_since(&self.http, version))
    }

    fn identity<'a>(&'a self, ours: &'a str) -> Answer<'a, String> {
        Box::pin(async move {
            keepable("the identity of a server", ours)?;
            statements::identity(&self.http, ours).await
        })
    }

    fn replace_identity<'a>(&'a self, ours: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            keepable("the identity of a server", ours)?;
            statements::replace_identity(&self.http, ours).await
        })
    }

    fn backup(&self, to: &Path) -> Answer<'_, ()> {
        Box::pin(copy::backup(&self.http, to.to_owned()))
    }

    fn check(&self) -> Answer<'_, u64> {
        Box::pin(async {
            let seq = statements::check(&self.http).await?;
            self.last.tell(seq);
            Ok(seq)
        })
    }
}
