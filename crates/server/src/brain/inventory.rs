//! Keeps inventory in the database: in batches, now and then. What is lost by a crash comes back with the next reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use control::{Intent, Inventory};
use model::HostId;
use store::Database;
use tokio::time::Instant;

/// How long changes of inventory are gathered before they are written.
const INTERVAL: Duration = Duration::from_secs(10);

/// Which hosts' inventory is to be written, and when.
pub(super) struct Keeper {
    database: Arc<dyn Database>,
    changed: BTreeSet<HostId>,
    at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(database: Arc<dyn Database>) -> Self {
        Self { database, changed: BTreeSet::new(), at: None }
    }

    /// A host's inventory changed.
    pub(super) fn changed(&mut self, host: HostId) {
        self.changed.insert(host);
        self.at.get_or_insert_with(|| Instant::now() + INTERVAL);
    }

    /// Waits until something is to be written.
    pub(super) async fn due(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Writes what changed. What cannot be written is told in the log and tried again.
    pub(super) async fn save(&mut self, inventory: &Inventory) {
        self.at = None;
        let changed = std::mem::take(&mut self.changed);
        let entry = |host: HostId| store::InventoryRow {
            host,
            json: inventory.host(host).and_then(|entry| serde_json::to_string(entry).ok()),
        };
        let entries: Vec<_> = changed.iter().copied().map(entry).collect();
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.database.put_inventory(entries).await {
            tracing::warn!(%error, "inventory was not written; that is tried again");
            changed.into_iter().for_each(|host| self.changed(host));
        }
    }
}

/// Inventory as it was written last. An entry that cannot be read, or whose host is gone, is left out.
pub(super) async fn load(database: &dyn Database, intent: &Intent) -> Result<Inventory> {
    let entries = database.inventory().await.context("inventory cannot be read")?;
    let read = |entry: store::InventoryRow| {
        intent.host(entry.host)?;
        let value = serde_json::from_str(entry.json.as_deref()?);
        let value =
            value.inspect_err(|error| tracing::warn!(host = %entry.host, %error, "inventory was not read"));
        Some((entry.host, value.ok()?))
    };
    Ok(entries.into_iter().filter_map(read).collect())
}
