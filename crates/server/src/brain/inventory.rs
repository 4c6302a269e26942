//! Keeps inventory in the database: in batches, now and then. What is lost by a crash comes back with the next reports.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use control::{Intent, Inventory};
use model::{Epoch, HostId};
use store::{Database, InventoryRow, StoreError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Told;
use super::row::Row;

/// How long changes of inventory are gathered before they are written.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same where other servers show it.
const SHARED_INTERVAL: Duration = Duration::from_secs(2);

/// Rows that are written at a time.
const MOST_ROWS: usize = 1000;

/// Which hosts' inventory is to be written, and when. The database is waited for by a task of its own, one at a time: the hub
/// that owns this has others to tell.
pub(super) struct Keeper {
    database: Arc<dyn Database>,
    changed: BTreeSet<HostId>,
    at: Option<Instant>,
    writing: Option<JoinHandle<Written>>,
}

/// What became of rows that were written.
enum Written {
    Done,
    /// They are to be written again.
    Failed(Vec<HostId>),
    /// Another server has led since this epoch: theirs count.
    Deposed(Epoch),
}

/// What there is to do.
pub(super) enum Due {
    /// Something is to be written.
    Save,
    /// The database takes nothing any more that this server says in this epoch.
    Deposed(Epoch),
}

impl Keeper {
    pub(super) fn new(database: Arc<dyn Database>) -> Self {
        Self { database, changed: BTreeSet::new(), at: None, writing: None }
    }

    /// A host's inventory changed.
    pub(super) fn changed(&mut self, host: HostId) {
        self.changed.insert(host);
        let interval = if self.database.is_shared() { SHARED_INTERVAL } else { INTERVAL };
        self.at.get_or_insert_with(|| Instant::now() + interval);
    }

    /// Somebody else writes from now on.
    pub(super) fn drop_all(&mut self) {
        (self.changed, self.at) = (BTreeSet::new(), None);
    }

    /// Hosts that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.changed.len()
    }

    /// Waits until something is to be written and nothing is being written. May be given up and called again.
    pub(super) async fn due(&mut self) -> Due {
        if let Written::Deposed(epoch) = self.written().await {
            return Due::Deposed(epoch);
        }
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        Due::Save
    }

    /// Waits until nothing is being written. Says how that went; what failed is due again.
    async fn written(&mut self) -> Written {
        let Some(writing) = &mut self.writing else {
            return Written::Done;
        };
        let written = writing.await;
        self.writing = None;
        let written = written.unwrap_or_else(|error| {
            tracing::error!(%error, "writing inventory broke");
            Written::Done
        });
        if let Written::Failed(hosts) = &written {
            hosts.iter().for_each(|host| self.changed(*host));
        }
        written
    }

    /// Begins to write what changed. What cannot be written is told in the log and tried again.
    pub(super) fn save(&mut self, inventory: &Inventory, told: &Told) {
        debug_assert!(self.writing.is_none(), "`due` waits for the write before");
        let hosts: Vec<HostId> = self.changed.iter().copied().take(MOST_ROWS).collect();
        hosts.iter().for_each(|host| {
            self.changed.remove(host);
        });
        self.at = (!self.changed.is_empty()).then(Instant::now);
        if hosts.is_empty() {
            return;
        }
        let entries = hosts.iter().map(|host| row(*host, inventory, told)).collect();
        let (database, epoch) = (Arc::clone(&self.database), told.epoch());
        self.writing = Some(tokio::spawn(async move {
            match (database.put_inventory_in(entries, epoch).await, epoch) {
                (Ok(()), _) => Written::Done,
                (Err(StoreError::Deposed(_)), Some(epoch)) => Written::Deposed(epoch),
                (Err(error), _) => {
                    tracing::warn!(%error, "inventory was not written; that is tried again");
                    Written::Failed(hosts)
                }
            }
        }));
    }

    /// Writes all that is left, and gives up when the database does not take it.
    pub(super) async fn finish(&mut self, inventory: &Inventory, told: &Told) {
        self.written().await;
        while !self.changed.is_empty() {
            self.save(inventory, told);
            match self.written().await {
                Written::Done => {}
                Written::Failed(_) | Written::Deposed(_) => return,
            }
        }
    }
}

/// What is kept of a host; nothing where nothing is known, or it is gone.
fn row(host: HostId, inventory: &Inventory, told: &Told) -> InventoryRow {
    let wanted = told.wanted(host).filter(|_| told.intent.host(host).is_some());
    let entry = inventory.host(host).map(Cow::Borrowed).or_else(|| wanted.map(|_| Cow::default()));
    InventoryRow { host, json: entry.and_then(|entry| Row { entry, wanted }.write()) }
}

/// Inventory as it was written last.
pub(super) async fn load(database: &dyn Database, intent: &Intent) -> Result<Inventory> {
    let (_, rows) = database.inventory_since(0).await.context("inventory cannot be read")?;
    Ok(of_rows(rows, intent))
}

/// Inventory as these rows say. An entry that cannot be read, or whose host is gone, is left out.
pub(super) fn of_rows(rows: Vec<InventoryRow>, intent: &Intent) -> Inventory {
    let read = |InventoryRow { host, json }| {
        intent.host(host)?;
        Some((host, Row::read(host, json.as_deref()?)?.entry.into_owned()))
    };
    rows.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use control::Intent;
    use futures_util::FutureExt as _;
    use model::Timestamp;
    use store::Sqlite;
    use wire::ServerLinks;

    use super::*;

    #[tokio::test]
    async fn all_that_changed_is_written_in_batches_and_nobody_waits_for_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let database: Arc<dyn Database> = Arc::new(Sqlite::open(&folder.path().join("netloom.db")).unwrap());
        let mut keeper = Keeper::new(Arc::clone(&database));
        let mut inventory = Inventory::default();
        for number in 0..2_500_u16 {
            let mut bytes = [7; 16];
            bytes[14..].copy_from_slice(&number.to_be_bytes());
            let host = HostId::from_bytes(bytes);
            inventory.observe_presence(host, true, Timestamp::from_millis(1));
            keeper.changed(host);
        }
        let (intent, links, domain) = (Arc::default(), ServerLinks::default(), "x.test".parse().unwrap());
        let told = Told::followed(intent, Inventory::default(), links, domain, imbl::HashMap::new());
        keeper.save(&inventory, &told);
        assert_eq!(keeper.changed.len(), 1_500, "the first batch is on its way");
        assert!(keeper.written().now_or_never().is_none(), "and is waited for by its own task");
        keeper.due().await;
        keeper.finish(&inventory, &told).await;
        assert!(keeper.changed.is_empty() && keeper.writing.is_none());
        assert_eq!(database.inventory().await.unwrap().len(), 2_500);
        assert!(
            load(&*database, &Intent::default()).await.unwrap().host(HostId::from_bytes([7; 16])).is_none()
        );
    }
}
