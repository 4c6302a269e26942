//! Inventory at a server that follows: what the one that leads wrote down, read again every now and then.
//!
//! Not for writing any. It keeps true that the hub never waits for the database, and that at most one question is asked at a
//! time.

use std::sync::Arc;
use std::time::Duration;

use control::Inventory;
use model::{Generation, HostId};
use store::{Database, InventoryRow, StoreError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::row::Row;

/// How often is asked for what is new.
const EVERY: Duration = Duration::from_secs(2);

type Read = Result<(u64, Vec<InventoryRow>), StoreError>;

/// How far inventory was followed. With it ends what is being read.
pub(super) struct Followed {
    database: Arc<dyn Database>,
    /// What was read last.
    version: u64,
    /// The generations that hosts' maps are to have.
    pub(super) generations: imbl::HashMap<HostId, Generation>,
    at: Instant,
    reading: Option<JoinHandle<Read>>,
    /// Whether the database did not answer last.
    is_away: bool,
}

impl Drop for Followed {
    fn drop(&mut self) {
        // Nobody wants it any more, and whoever leads now asks for the same.
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

impl Followed {
    /// Everything is read, beginning now.
    pub(super) fn new(database: Arc<dyn Database>) -> Self {
        let (generations, at) = (imbl::HashMap::new(), Instant::now());
        Self { database, version: 0, generations, at, reading: None, is_away: false }
    }

    /// Waits for rows that are new. May be given up and called again.
    pub(super) async fn rows(&mut self) -> Vec<InventoryRow> {
        loop {
            let Some(reading) = &mut self.reading else {
                tokio::time::sleep_until(self.at).await;
                let (database, version) = (Arc::clone(&self.database), self.version);
                self.reading = Some(tokio::spawn(async move { database.inventory_since(version).await }));
                continue;
            };
            let read = reading.await;
            (self.reading, self.at) = (None, Instant::now() + EVERY);
            match read {
                Ok(Ok((version, rows))) => {
                    (self.version, self.is_away) = (version, false);
                    if !rows.is_empty() {
                        return rows;
                    }
                }
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        tracing::warn!(%error, "what agents report to the server that leads is not known; trying again");
                    }
                }
                Err(error) => tracing::error!(%error, "reading inventory broke"),
            }
        }
    }

    /// Puts rows that were read into the inventory that is shown.
    pub(super) fn take(&mut self, rows: Vec<InventoryRow>, inventory: &mut Inventory) {
        for InventoryRow { host, json } in rows {
            let row = json.as_deref().and_then(|json| Row::read(host, json));
            match row.as_ref().and_then(|row| row.wanted) {
                Some(wanted) => drop(self.generations.insert(host, wanted)),
                None => drop(self.generations.remove(&host)),
            }
            inventory.replace(host, row.map(|row| row.entry.into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use store::Sqlite;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_being_read_ends_with_whoever_follows() {
        let folder = tempfile::tempdir().unwrap();
        let database: Arc<dyn Database> = Arc::new(Sqlite::open(&folder.path().join("netloom.db")).unwrap());
        let mut followed = Followed::new(database);
        let (held, ended) = oneshot::channel::<()>();
        followed.reading = Some(tokio::spawn(async move {
            let _held = held;
            pending().await
        }));
        drop(followed);
        assert!(tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ended").is_err());
    }
}
