//! Copies of a database file: out of a running one, and back into a folder.
//!
//! Neither overwrites a file, and a copy that was not finished never has the name that was asked for. A database that is to
//! be replaced is put aside.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::failure::{Failed, of_file};
use super::file::{beside, claim, create_private};
use super::schema;
use super::statements::{Statements, connect};
use crate::neutral::{EPOCHS_SINCE, LAST_EPOCH, sound};
use crate::{Existing, Place, StoreError};

/// What lies beside a database's name when it is there.
const FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// So many databases that were replaced may lie beside the one that counts.
const MOST_ASIDE: u32 = 1_000;

/// Copies the database, as it is at one instant, into a new file. Commits go on meanwhile.
pub(super) fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let source = connect(from).map_err(|error| Failed::from(error).at(&Place::from(from)))?;
    into_new_file(&source, from, to, |_| Ok(()))
}

/// Makes a database of a backup. What is there already is kept, or put aside with `.old` behind its name, and a number where that
/// is taken; says where. Blocks: a shell calls it before the server starts.
pub(super) fn restore(
    backup: &Path,
    database: &Path,
    existing: Existing,
) -> Result<Option<Place>, StoreError> {
    let source = sound(backup)?;
    let place = Place::from(backup);
    if schema::recognise(&source, &place).map_err(|failed| failed.at(&place))? == 0 {
        return Err(StoreError::Foreign(place));
    }
    // A log that an earlier database left behind would be taken for the restored one's.
    let there = || {
        ["", "-wal", "-journal"].map(|suffix| beside(database, suffix)).into_iter().find(|path| path.exists())
    };
    if let (Some(there), Existing::Keep) = (there(), existing) {
        return Err(StoreError::Exists(Place::from(there.as_path())));
    }
    let is_there = there().is_some();
    let claim = claim(database)?;
    let aside = match is_there {
        true => Some(put_aside(database)?),
        false => {
            // Claiming it made it.
            std::fs::remove_file(database).map_err(|error| of_file(database, &error))?;
            None
        }
    };
    let restored = into_new_file(&source, backup, database, |copy| later_epoch(copy, backup));
    if let (Err(_), Some(aside)) = (&restored, &aside) {
        // Back as it was; if that fails too, the files are there under their other names, and the error says what is wrong.
        drop(rename_all(aside, database));
    }
    drop(claim);
    restored.map(|()| aside.as_deref().map(Place::from))
}

/// Moves the database to the first free name beside it.
fn put_aside(database: &Path) -> Result<PathBuf, StoreError> {
    let is_free = |aside: &PathBuf| !FILES.iter().any(|suffix| beside(aside, suffix).exists());
    let numbered = (2..=MOST_ASIDE).map(|number| beside(database, &format!(".old-{number}")));
    let first = beside(database, ".old");
    let aside = std::iter::once(first.clone()).chain(numbered).find(is_free);
    let aside = aside.ok_or_else(|| StoreError::Exists(Place::from(first.as_path())))?;
    rename_all(database, &aside)?;
    Ok(aside)
}

fn rename_all(from: &Path, to: &Path) -> Result<(), StoreError> {
    for suffix in FILES {
        let (from, to) = (beside(from, suffix), beside(to, suffix));
        if from.exists() {
            std::fs::rename(&from, &to).map_err(|error| of_file(&from, &error))?;
        }
    }
    Ok(())
}

/// Checks that the copy is a database of ours, and counts its epoch up. Leases are not restored: their holders are gone.
fn later_epoch(copy: &Path, backup: &Path) -> Result<(), StoreError> {
    let statements = Statements::open(copy).map_err(|failed| named(failed.at(&Place::from(copy)), backup))?;
    let sql = "UPDATE meta SET value = min(CAST(value AS INTEGER) + ?1, ?2) WHERE key = 'epoch'";
    let connection = &statements.connection;
    let done = connection
        .execute(sql, [EPOCHS_SINCE, LAST_EPOCH])
        .and_then(|_| connection.execute("DELETE FROM leases", []))
        .and_then(|_| one_file(connection));
    done.map_err(|error| Failed::from(error).at(&Place::from(copy)))
}

/// The same error, told of the backup: its copy is gone when somebody reads this.
fn named(error: StoreError, backup: &Path) -> StoreError {
    let place = Place::from(backup);
    match error {
        StoreError::Foreign(_) => StoreError::Foreign(place),
        StoreError::Newer { found, known, .. } => StoreError::Newer { place, found, known },
        StoreError::Damaged { detail, .. } => StoreError::Damaged { place, detail },
        other => other,
    }
}

/// Ends the write-ahead log, so that the file is all there is.
fn one_file(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0)).map(drop)
}

fn into_new_file(
    source: &Connection,
    from: &Path,
    to: &Path,
    finish: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // Reserves the name: whoever else wants it is refused from here on.
    create_private(to).map_err(|error| of_file(to, &error))?;
    let part = beside(to, ".part");
    let copied = copy(source, from, &part).and_then(|()| finish(&part)).and_then(|()| publish(&part, to));
    if copied.is_err() {
        // What is wrong was said already; that the remains cannot be removed either adds nothing.
        [&part, to].into_iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
    copied
}

fn copy(source: &Connection, from: &Path, part: &Path) -> Result<(), StoreError> {
    let refuse = |error: rusqlite::Error| Failed::from(error).at(&Place::from(part));
    create_private(part).map_err(|error| of_file(part, &error))?;
    let mut target = connect(part).map_err(refuse)?;
    // All pages in one step: that is one read transaction, which with a write-ahead log holds up nobody.
    let step = Backup::new(source, &mut target).and_then(|backup| backup.step(-1)).map_err(refuse)?;
    match step {
        StepResult::Done => one_file(&target).map_err(refuse),
        StepResult::Busy | StepResult::Locked => Err(StoreError::Busy(Place::from(from))),
        // `step(-1)` is never `More`, and the enum is not ours to list.
        _ => Err(StoreError::Other { place: Place::from(from), detail: "the copy ended early".to_owned() }),
    }
}

fn publish(part: &Path, to: &Path) -> Result<(), StoreError> {
    let synced = std::fs::File::open(part).and_then(|file| file.sync_all());
    synced.and_then(|()| std::fs::rename(part, to)).map_err(|error| of_file(to, &error))
}
