//! Copies of a database: out of a running one, and back into an empty folder.
//!
//! Neither ever overwrites a file, and a copy that was not finished never has the name that was asked for.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::failure::{Failed, of_file};
use super::file::{beside, claim, create_private};
use super::statements::{Statements, connect};
use crate::StoreError;

/// What a restored database's epoch is counted up by. The server may have been started that often since the backup was made:
/// the generations of host maps must be higher than all that agents have seen, or they would refuse them.
const EPOCHS_SINCE: u32 = 4_096;

/// Copies the database, as it is at one instant, into a new file. Commits go on meanwhile.
pub(super) fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let source = connect(from).map_err(|error| Failed::from(error).at(from))?;
    into_new_file(&source, from, to, |_| Ok(()))
}

/// Makes a database of a backup. There must be none yet. Blocks: a shell calls it before the server starts.
pub fn restore(backup: &Path, database: &Path) -> Result<(), StoreError> {
    let refuse = |error: rusqlite::Error| Failed::from(error).at(backup);
    std::fs::metadata(backup).map_err(|error| of_file(backup, &error))?;
    let source = Connection::open_with_flags(backup, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(refuse)?;
    let sound: String = source.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refuse)?;
    if sound != "ok" {
        return Err(StoreError::Damaged { path: backup.to_owned(), detail: sound });
    }
    // A log that an earlier database left behind would be taken for the restored one's.
    let names = ["", "-wal", "-journal"].map(|suffix| beside(database, suffix));
    if let Some(there) = names.into_iter().find(|path| path.exists()) {
        return Err(StoreError::Exists(there));
    }
    let folder = claim_empty(database)?;
    into_new_file(&source, backup, database, |copy| later_epoch(copy, backup))?;
    drop(folder);
    Ok(())
}

/// Claims the database's name for the time of the restore, without leaving the empty file that a claim makes.
fn claim_empty(database: &Path) -> Result<impl Sized + use<>, StoreError> {
    let claim = claim(database)?;
    std::fs::remove_file(database).map_err(|error| of_file(database, &error))?;
    Ok(claim)
}

/// Checks that the copy is a database of ours, and counts its epoch up.
fn later_epoch(copy: &Path, backup: &Path) -> Result<(), StoreError> {
    let statements = Statements::open(copy).map_err(|failed| named(failed.at(copy), backup))?;
    let sql = "UPDATE meta SET value = min(CAST(value AS INTEGER) + ?1, 16777214) WHERE key = 'epoch'";
    let done =
        statements.connection.execute(sql, [EPOCHS_SINCE]).and_then(|_| one_file(&statements.connection));
    done.map_err(|error| Failed::from(error).at(copy))
}

/// The same error, told of the backup: its copy is gone when somebody reads this.
fn named(error: StoreError, backup: &Path) -> StoreError {
    let path = backup.to_owned();
    match error {
        StoreError::Foreign(_) => StoreError::Foreign(path),
        StoreError::Newer { found, known, .. } => StoreError::Newer { path, found, known },
        StoreError::Damaged { detail, .. } => StoreError::Damaged { path, detail },
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
    let refuse = |error: rusqlite::Error| Failed::from(error).at(part);
    create_private(part).map_err(|error| of_file(part, &error))?;
    let mut target = connect(part).map_err(refuse)?;
    // All pages in one step: that is one read transaction, which with a write-ahead log holds up nobody.
    let step = Backup::new(source, &mut target).and_then(|backup| backup.step(-1)).map_err(refuse)?;
    match step {
        StepResult::Done => one_file(&target).map_err(refuse),
        StepResult::Busy | StepResult::Locked => Err(StoreError::Busy(from.to_owned())),
        // `step(-1)` is never `More`, and the enum is not ours to list.
        _ => Err(StoreError::Other { path: from.to_owned(), detail: "the copy ended early".to_owned() }),
    }
}

fn publish(part: &Path, to: &Path) -> Result<(), StoreError> {
    let synced = std::fs::File::open(part).and_then(|file| file.sync_all());
    synced.and_then(|()| std::fs::rename(part, to)).map_err(|error| of_file(to, &error))
}
