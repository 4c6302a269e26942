//! `netloom-server restore`: a backup into the database that the settings name.
//!
//! Not for what is in either. It keeps true that no server sees it happen: one would go on from what it knows, and mix two
//! histories.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use store::{Address, Existing, Place, StoreError};

use crate::cluster;
use crate::identity::create_private_folder;
use crate::settings::Settings;

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// The number of the last change.
    pub seq: u64,
    /// Where what was there before is now, if it is anywhere.
    pub aside: Option<Place>,
}

/// Puts a backup into the database. No server of it may run.
pub async fn restore(settings: &Settings, backup: &Path, existing: Existing) -> Result<Restored> {
    create_private_folder(&settings.data)?;
    let address = &settings.database;
    refuse_while_running(address).await?;
    let aside = match store::restore(backup, address, existing).await {
        Err(StoreError::Exists(place) | StoreError::NotEmpty(place)) if existing == Existing::Keep => bail!(
            "{place} is there already, and holds what a server wrote; nothing was changed. With `--replace` the backup takes its \
             place{}",
            if address.is_shared() { "" } else { ", and it is put aside" }
        ),
        done => done?,
    };
    let found = store::inspect(address).await.context("it was restored, and cannot be looked at")?;
    Ok(Restored { seq: found.map_or(0, |found| found.seq), aside })
}

/// A file is claimed by the server that has it. Where several can be, they say so in the database itself.
async fn refuse_while_running(address: &Address) -> Result<()> {
    if !address.is_shared() {
        return Ok(());
    }
    match store::open(address).await {
        Ok(database) => cluster::refuse_while_running(&*database).await,
        // No server starts on that.
        Err(StoreError::HalfRestored(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
