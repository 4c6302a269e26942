//! What a database does for the server: the trait, and the values that pass through it.
//!
//! Not for any one backend. It keeps one shape: each function is one message there and one answer back, so that a backend
//! without interactive transactions fits.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use control::{Change, Record, RecordKey};
use model::{Epoch, HostId, Timestamp};

use crate::{CommitError, Held, JournalEntry, Leased, Place, StoreError};

/// What a database answers, in time. Whoever stops waiting does not stop what was asked for.
pub type Answer<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A change with its place in the order of all changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// One more than the commit's before it; the first is 1.
    pub seq: u64,
    /// When it was decided.
    pub time: Timestamp,
    /// What it does, and who wanted it.
    pub change: Change,
}

/// All of intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The last commit's number; 0 when there was none.
    pub seq: u64,
    /// The identity the database got when it was made: it tells one installation from another.
    pub server: String,
    /// Every record, by kind and id.
    pub records: Vec<Record>,
}

/// A record as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Which.
    pub key: RecordKey,
    /// Its value; none when it was removed.
    pub record: Option<Record>,
}

/// What others committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// Every record that changed since, as it is now.
    Changed {
        /// The last commit's number.
        seq: u64,
        /// The records, each once.
        records: Vec<Current>,
    },
    /// Too much changed, or the journal does not reach back that far: load anew.
    TooFar,
}

/// What is known of a host and may be lost. The database does not look into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryRow {
    /// The host.
    pub host: HostId,
    /// JSON, as its owner writes it; none removes it.
    pub json: Option<String>,
}

/// A database. All of it can be asked at the same time by many; commits are done in the order in which they were asked for.
pub trait Database: Send + Sync {
    /// Where it is.
    fn place(&self) -> &Place;

    /// Whether several servers can use it at the same time. Where not, the one that has it need not ask who leads.
    fn is_shared(&self) -> bool;

    /// All of intent.
    fn load(&self) -> Answer<'_, Loaded>;

    /// Commits a group, wholly or not at all, and durably before it answers. Their numbers follow one another; a first number
    /// that is not the next one is a conflict.
    fn commit(&self, group: Vec<Commit>) -> Answer<'_, (), CommitError> {
        self.commit_in(group, None)
    }

    /// The same as the server that leads in this epoch. Once a later one was taken nothing of it is done any more
    /// ([`StoreError::Deposed`]), however long it was on its way.
    fn commit_in(&self, group: Vec<Commit>, epoch: Option<Epoch>) -> Answer<'_, (), CommitError>;

    /// What was committed after this number.
    fn follow(&self, after: u64) -> Answer<'_, Followed>;

    /// Waits until the last commit's number is greater than this one, whoever committed, and says which it is.
    fn changed(&self, after: u64) -> Answer<'_, u64>;

    /// Takes or renews a lease by the database's own clock, or says who holds it. All ask for a lease with the same lifetime: one
    /// that ends more than two of them later is from a clock that was ahead, and counts as ended.
    fn lease(&self, name: &str, holder: &str, lifetime: Duration) -> Answer<'_, Leased>;

    /// Gives a lease back before its time. Nothing happens when it is not this holder's.
    fn release(&self, name: &str, holder: &str) -> Answer<'_, ()>;

    /// The leases whose names begin so and that are held now, by the database's own clock; in the order of their names. What ends
    /// more than two of these lifetimes later counts as ended.
    fn held<'a>(&'a self, prefix: &'a str, lifetime: Duration) -> Answer<'a, Vec<Held>>;

    /// The journal's newest entries before this number, newest first; from the end when there is no number.
    fn journal(&self, before: Option<u64>, most: u32) -> Answer<'_, Vec<JournalEntry>>;

    /// Removes the oldest entries of the journal, up to the first that is not older than this. The newest entry stays.
    /// Says how many were removed.
    fn prune(&self, older_than: Timestamp) -> Answer<'_, u64>;

    /// Counts up and keeps the epoch: once for each time that a server begins to lead, before it hands out any generation. From
    /// then on nothing is done any more that names an earlier one.
    fn next_epoch(&self) -> Answer<'_, Epoch>;

    /// Keeps what is known of these hosts, under the inventory's next version.
    fn put_inventory(&self, hosts: Vec<InventoryRow>) -> Answer<'_, ()> {
        self.put_inventory_in(hosts, None)
    }

    /// The same as the server that leads in this epoch, while that lasts, as with [`Database::commit_in`].
    fn put_inventory_in(&self, hosts: Vec<InventoryRow>, epoch: Option<Epoch>) -> Answer<'_, ()>;

    /// What was written of hosts after this version (0: all that is known), and the version that this leads to. Hosts that were
    /// removed are not told: whoever follows intent knows.
    fn inventory_since(&self, version: u64) -> Answer<'_, (u64, Vec<InventoryRow>)>;

    /// What is known of all hosts.
    fn inventory(&self) -> Answer<'_, Vec<InventoryRow>> {
        let all = self.inventory_since(0);
        Box::pin(async move { Ok(all.await?.1) })
    }

    /// Who this database's servers are: what was kept first, `ours` where nothing was. Of many who ask at the same time, all
    /// are told the same.
    fn identity<'a>(&'a self, ours: &'a str) -> Answer<'a, String>;

    /// From now on its servers are this.
    fn replace_identity<'a>(&'a self, ours: &'a str) -> Answer<'a, ()>;

    /// Writes a consistent copy into a new file, while commits go on. The file is the same whichever database it is from:
    /// what is known and kept by a server, as a SQLite database.
    fn backup(&self, to: &Path) -> Answer<'_, ()>;

    /// Whether the database answers; the last commit's number.
    fn check(&self) -> Answer<'_, u64>;
}
