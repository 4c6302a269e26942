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
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::address::{Address, Backend, Existing};
use crate::commit::{Patience, commit};
use crate::rows::{Written, inventory_rows, keepable};
use crate::{
    Answer, Commit, CommitError, Database, Followed, Held, InventoryRow, JournalEntry, Lease, Loaded, Place,
    StoreError,
};
use http::Http;
use line::CommitLine;
use statements::PRUNED_AT_ONCE;

/// rqlite among the backends.
pub(crate) const BACKEND: Backend = Backend {
    schemes: &["rqlite", "rqlites"],
    example: "rqlite://user@host:4001,host:4001 (rqlites: with TLS)",
    place: target::place,
    open: |address| Box::pin(async move { Ok(Arc::new(Rqlite::open(address).await?) as Arc<dyn Database>) }),
    restore: |address: &Address, backup, existing: Existing| {
        Box::pin(async move { copy::restore(&target::http(address)?, backup, existing).await })
    },
};

/// How often is asked for what others committed.
const ASK: Duration = Duration::from_millis(250);

/// A database on an rqlite cluster.
struct Rqlite {
    http: Arc<Http>,
    commits: Arc<Mutex<CommitLine>>,
    /// The last number that was committed or seen here.
    last: Arc<watch::Sender<u64>>,
    asker: JoinHandle<()>,
}

impl Rqlite {
    async fn open(address: &Address) -> Result<Self, StoreError> {
        let http = Arc::new(target::http(address)?);
        schema::prepare(&http).await?;
        let last = Arc::new(watch::Sender::new(statements::check(&http).await?));
        let commits = Arc::new(Mutex::new(CommitLine::new(Arc::clone(&http))));
        let asker = tokio::spawn(ask(Arc::clone(&http), Arc::clone(&last)));
        Ok(Self { http, commits, last, asker })
    }
}

impl Drop for Rqlite {
    fn drop(&mut self) {
        self.asker.abort();
    }
}

/// Asks for what others committed until it is aborted, however often those who wait for it begin anew.
async fn ask(http: Arc<Http>, last: Arc<watch::Sender<u64>>) {
    loop {
        tokio::time::sleep(ASK).await;
        match statements::check(&http).await {
            Ok(seq) => tell(&last, seq),
            // Whoever waits here waits for commits, not for errors.
            Err(error) => tracing::debug!(%error, "not hearing of others' commits; asking again"),
        }
    }
}

/// The last commit's number never goes back.
fn tell(last: &watch::Sender<u64>, seq: u64) {
    last.send_if_modified(|last| {
        let is_later = seq > *last;
        *last = seq.max(*last);
        is_later
    });
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

    fn commit(&self, group: Vec<Commit>) -> Answer<'_, (), CommitError> {
        Box::pin(async move {
            let Some(group) = Written::of(&group)? else {
                return Ok(());
            };
            let mut line = Arc::clone(&self.commits).lock_owned().await;
            let (last, place) = (Arc::clone(&self.last), self.http.place.clone());
            // On its own: whoever stops waiting does not stop it half way.
            let work = tokio::spawn(async move {
                commit(&mut *line, &place, &group, Patience::USUAL).await?;
                tell(&last, group.last);
                Ok(())
            });
            work.await.map_err(|_| StoreError::Gone)?
        })
    }

    fn follow(&self, after: u64) -> Answer<'_, Followed> {
        Box::pin(statements::follow(&self.http, after))
    }

    fn changed(&self, after: u64) -> Answer<'_, u64> {
        let mut last = self.last.subscribe();
        Box::pin(async move {
            let seen = last.wait_for(|last| *last > after).await;
            seen.map(|last| *last).map_err(|_| StoreError::Gone)
        })
    }

    fn lease(&self, name: &str, holder: &str, lifetime: Duration) -> Answer<'_, Option<Lease>> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(async move {
            keepable("the name of a lease", &name)?;
            let asked = Instant::now();
            let granted = statements::lease(&self.http, &name, &holder, lifetime).await?;
            Ok(granted.then(|| Lease::granted(asked, lifetime)))
        })
    }

    fn release(&self, name: &str, holder: &str) -> Answer<'_, ()> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(async move { statements::release(&self.http, &name, &holder).await })
    }

    fn held<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Held>> {
        Box::pin(statements::held(&self.http, prefix))
    }

    fn journal(&self, before: Option<u64>, most: u32) -> Answer<'_, Vec<JournalEntry>> {
        Box::pin(statements::journal(&self.http, before, most))
    }

    fn prune(&self, older_than: Timestamp) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut total = 0;
            loop {
                let removed = statements::prune(&self.http, older_than).await?;
                total += removed;
                if removed < PRUNED_AT_ONCE {
                    return Ok(total);
                }
            }
        })
    }

    fn next_epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(statements::next_epoch(&self.http))
    }

    fn put_inventory(&self, hosts: Vec<InventoryRow>) -> Answer<'_, ()> {
        Box::pin(async move {
            let (put, gone) = inventory_rows(hosts)?;
            statements::put_inventory(&self.http, &put, &gone).await
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
        let to = to.to_owned();
        Box::pin(async move { copy::backup(&self.http, &to).await })
    }

    fn check(&self) -> Answer<'_, u64> {
        Box::pin(async {
            let seq = statements::check(&self.http).await?;
            tell(&self.last, seq);
            Ok(seq)
        })
    }
}
