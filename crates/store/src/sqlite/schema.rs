//! The tables, and the way from each older version of them to the newest.
//!
//! A step that was released is never changed: a new one is added behind it. All steps that are missing are done in one
//! transaction when the database is opened; it is then at the newest version, or as it was.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};
use rustix::fs::{Access, access};

use super::failure::Failed;
use super::sql::{IDENTITY, LAST_SEQ};
use crate::version::Told;
use crate::{Inspected, Place, StoreError};

const V1: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE records (
        kind TEXT NOT NULL, id TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE journal (
        seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, command TEXT NOT NULL, records TEXT NOT NULL
    ) STRICT;
    CREATE TABLE inventory (host TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('epoch', '0'), ('server', lower(hex(randomblob(16))));
";

/// Leases, and in the journal what tells a commit from another that wanted the same number.
const V2: &str = "
    ALTER TABLE journal ADD COLUMN mark TEXT;
    CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// In the inventory, the version that wrote each row last.
const V3: &str = "
    ALTER TABLE inventory ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    CREATE INDEX inventory_by_version ON inventory (version);
    INSERT INTO meta VALUES ('inventory', '1');
";

/// From each version to the next; the first makes version 1 of an empty file.
const STEPS: &[&str] = &[V1, V2, V3];
/// The oldest version whose servers can use tables of the newest one.
const COMPATIBLE: &str = "3";

/// Refuses a file that is not ours or too new, before anything in it is changed. Says which version it is; 0 when empty.
pub(crate) fn recognise(connection: &Connection, place: &Place) -> Result<u32, Failed> {
    recognise_by(connection, place, STEPS).map(|(found, _)| found)
}

/// Brings the tables to the newest version.
pub(crate) fn migrate(connection: &mut Connection, place: &Place) -> Result<(), Failed> {
    migrate_by(connection, place, STEPS)
}

/// Looks at a file, and changes nothing.
pub(super) fn inspect(path: &Path, place: &Place) -> Result<Option<Inspected>, Failed> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let (schema, known) = recognise_by(&connection, place, STEPS)?;
    if schema == 0 {
        return Ok(None);
    }
    let seq: i64 = connection.query_row(LAST_SEQ, [], |row| row.get(0))?;
    let identity = connection.query_row(IDENTITY, [], |row| row.get(0)).optional()?;
    let read_only = access(path, Access::WRITE_OK).is_err();
    Ok(Some(Inspected { schema, known, seq: seq.unsigned_abs(), identity, read_only }))
}

fn migrate_by(connection: &mut Connection, place: &Place, steps: &[&str]) -> Result<(), Failed> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (found, known) = recognise_by(&transaction, place, steps)?;
    if found >= known {
        return Ok(());
    }
    for step in steps.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    let keep = "
        INSERT INTO meta VALUES ('schema', ?1), ('compatible', ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    transaction.execute(keep, [&known.to_string(), COMPATIBLE])?;
    Ok(transaction.commit()?)
}

/// The version that is there, and the newest there is.
fn recognise_by(connection: &Connection, place: &Place, steps: &[&str]) -> Result<(u32, u32), Failed> {
    let known = u32::try_from(steps.len()).expect("there are few steps");
    Ok((version(connection, place, known)?, known))
}

/// The version of the tables; 0 of an empty file.
fn version(connection: &Connection, place: &Place, known: u32) -> Result<u32, Failed> {
    let tables = |name: &str| {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE ?1 AND name NOT LIKE 'sqlite%'";
        connection.query_row(sql, [name], |row| row.get::<_, u32>(0))
    };
    if tables("%")? == 0 {
        return Ok(0);
    }
    if tables("meta")? == 0 || tables("records")? == 0 {
        return Err(StoreError::Foreign(place.clone()).into());
    }
    let kept = |key: &str| {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        connection.query_row(sql, [key], |row| row.get::<_, String>(0)).optional()
    };
    let told = Told { schema: kept("schema")?, compatible: kept("compatible")? };
    Ok(told.judge(place, known)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOUR: &str = "ALTER TABLE records ADD COLUMN colour TEXT NOT NULL DEFAULT 'none'";

    fn at(path: &str, connection: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
        let place = Place::named(path);
        migrate_by(connection, &place, steps).map_err(|failed| failed.at(&place))
    }

    fn schema(connection: &Connection) -> String {
        connection.query_row("SELECT value FROM meta WHERE key = 'schema'", [], |row| row.get(0)).unwrap()
    }

    fn older() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        at("x", &mut connection, &[V1]).unwrap();
        connection.execute("INSERT INTO records VALUES ('host', '1', '{}')", []).unwrap();
        connection
    }

    #[test]
    fn an_empty_file_becomes_the_newest_version() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &Place::named("x")).unwrap();
        assert_eq!(schema(&connection), STEPS.len().to_string());
        migrate(&mut connection, &Place::named("x")).unwrap();
    }

    #[test]
    fn an_older_version_moves_forward_and_keeps_what_it_holds() {
        let mut connection = older();
        at("x", &mut connection, &[V1, COLOUR]).unwrap();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let row = connection.query_row("SELECT id, colour FROM records", [], read).unwrap();
        assert_eq!((row.0.as_str(), row.1.as_str(), schema(&connection).as_str()), ("1", "none", "2"));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before() {
        let mut connection = older();
        at("x", &mut connection, &[V1, COLOUR, "CREATE TABLE broken"]).unwrap_err();
        assert_eq!(schema(&connection), "1");
        assert!(connection.prepare("SELECT colour FROM records").is_err());
    }

    #[test]
    fn a_newer_version_is_refused_with_both_numbers() {
        let mut connection = older();
        at("x", &mut connection, &[V1, COLOUR]).unwrap();
        let compatible = |connection: &Connection, version: &str| {
            connection.execute("UPDATE meta SET value = ?1 WHERE key = 'compatible'", [version]).unwrap();
        };
        compatible(&connection, "2");
        let error = at("/var/lib/netloom/netloom.db", &mut connection, &[V1]).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
        compatible(&connection, "1");
        at("x", &mut connection, &[V1]).unwrap();
        assert_eq!(schema(&connection), "2", "what is newer stays so");
    }

    #[test]
    fn what_others_made_is_not_touched() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
        assert!(matches!(at("x", &mut connection, STEPS), Err(StoreError::Foreign(_))));
    }
}
