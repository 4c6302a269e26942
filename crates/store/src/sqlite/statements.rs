//! What is asked of SQLite, one function for each function of the trait. Runs on the database's own thread.
//!
//! Not for waiting and not for threads. It keeps true that each function is one transaction.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use control::RecordKey;
use model::{Epoch, Timestamp};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};

use super::failure::{Failed, may_be_there, of_file};
use super::file::OpenFile;
use super::schema;
use super::sql::{
    HELD, IDENTITY, INVENTORY, JOURNAL, KEEP_IDENTITY, LAST_SEQ, NEXT_INVENTORY, PRUNE, RELEASE,
    REPLACE_IDENTITY,
};
use crate::journal::PRUNED_AT_ONCE;
use crate::lease::{self, Held};
use crate::record::from_row;
use crate::rows::{self, JournalRow, Written, number};
use crate::{CommitError, Current, Followed, InventoryRow, JournalEntry, Loaded, Place, StoreError};

/// How long to wait for a lock that another program holds.
const PATIENCE: Duration = Duration::from_secs(5);

const PUT_RECORD: &str = "INSERT INTO records (kind, id, json) VALUES (?1, ?2, ?3) ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json";
const DELETE_RECORD: &str = "DELETE FROM records WHERE kind = ?1 AND id = ?2";
const PUT_JOURNAL: &str =
    "INSERT INTO journal (seq, time, actor, command, records, mark) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const NEXT_EPOCH: &str = "
    UPDATE meta SET value = CAST(value AS INTEGER) + 1
    WHERE key = 'epoch' AND CAST(value AS INTEGER) < 16777215 RETURNING CAST(value AS INTEGER)";
const EPOCH: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'";
const PUT_INVENTORY: &str = "
    INSERT INTO inventory (host, json, version)
    VALUES (?1, ?2, (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'inventory'))
    ON CONFLICT (host) DO UPDATE SET json = excluded.json, version = excluded.version";
/// Milliseconds since 1970, by the clock of this machine as SQLite reads it.
const LEASE: &str = "
    INSERT INTO leases AS held (name, holder, until)
    VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE held.holder = excluded.holder OR held.until <= excluded.until - ?3 OR held.until > excluded.until + ?3";
const HOLDER: &str = "SELECT holder FROM leases WHERE name = ?1";
const DELETE_INVENTORY: &str = "DELETE FROM inventory WHERE host = ?1";

/// An open database.
pub(super) struct Statements {
    place: Place,
    file: OpenFile,
    pub(super) connection: Connection,
}

fn seq(row: &Row<'_>) -> rusqlite::Result<u64> {
    // Numbers start at 0 and count up by one: the sign is never reached.
    row.get::<_, i64>(0).map(i64::unsigned_abs)
}

/// Opens the file as everyone here does.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

impl Statements {
    /// Opens the file, which is there, and brings its tables to the newest version.
    pub(super) fn open(path: &Path) -> Result<Self, Failed> {
        let (mut connection, place) = (connect(path)?, Place::from(path));
        schema::recognise(&connection, &place)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            let reason = "its file system cannot share memory between programs; use a local disk".to_owned();
            return Err(StoreError::Open { place, reason }.into());
        }
        // Each commit reaches the disk before it is answered.
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut connection, &place)?;
        let file = OpenFile::at(path).map_err(|error| of_file(path, &error))?;
        Ok(Self { place, file, connection })
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn load(&mut self) -> Result<Loaded, Failed> {
        let transaction = self.connection.transaction()?;
        let seq = transaction.query_row(LAST_SEQ, [], seq)?;
        let server =
            transaction.query_row("SELECT value FROM meta WHERE key = 'server'", [], |row| row.get(0))?;
        let mut statement = transaction.prepare("SELECT kind, id, json FROM records ORDER BY kind, id")?;
        let mut rows = statement.query([])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let text = |index| row.get_ref(index).and_then(|value| Ok(value.as_str()?));
            records.push(from_row(&self.place, text(0)?, text(1)?, text(2)?)?);
        }
        Ok(Loaded { seq, server, records })
    }

    /// Commits a group; or says that another number is next, or a later epoch was taken.
    pub(super) fn commit(&mut self, group: &Written) -> Result<Result<(), CommitError>, Failed> {
        self.is_still_there()?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last = transaction.query_row(LAST_SEQ, [], seq)?;
        if let Some(conflict) = group.misnumbered(last) {
            return Ok(Err(conflict));
        }
        if let Some(epoch) = group.epoch
            && transaction.query_row(EPOCH, [], |row| row.get::<_, u32>(0))? != epoch.number()
        {
            return Err(StoreError::Deposed(self.place.clone()).into());
        }
        write(&transaction, group)?;
        match transaction.commit() {
            Ok(()) => Ok(Ok(())),
            Err(error) => may_be_there(&self.place, error).map(Err),
        }
    }

    /// What is written to a file that no name leads to is lost with this process, and SQLite does not notice.
    fn is_still_there(&self) -> Result<(), StoreError> {
        if self.file.is_still_there() { Ok(()) } else { Err(StoreError::Moved(self.place.clone())) }
    }

    pub(super) fn follow(&mut self, after: u64) -> Result<Followed, Failed> {
        let transaction = self.connection.transaction()?;
        let last = transaction.query_row(LAST_SEQ, [], seq)?;
        let oldest = transaction.query_row("SELECT coalesce(min(seq), 1) FROM journal", [], seq)?;
        if after > last || after + 1 < oldest || last - after > rows::MOST_FOLLOWED {
            return Ok(Followed::TooFar);
        }
        let mut current = transaction.prepare("SELECT json FROM records WHERE kind = ?1 AND id = ?2")?;
        let mut records = Vec::new();
        for key in touched(&transaction, &self.place, after)? {
            let (kind, id) = (key.kind.as_str(), key.id_text());
            let json = current.query_row([kind, &id], |row| row.get::<_, String>(0)).optional()?;
            let record = json.map(|json| from_row(&self.place, kind, &id, &json)).transpose()?;
            records.push(Current { key, record });
        }
        Ok(Followed::Changed { seq: last, records })
    }

    pub(super) fn journal(&mut self, before: Option<u64>, most: u32) -> Result<Vec<JournalEntry>, Failed> {
        let mut statement = self.connection.prepare(JOURNAL)?;
        let mut rows = statement.query(params![number(before.unwrap_or(u64::MAX)), most])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(entry(row)?.read(&self.place)?);
        }
        Ok(entries)
    }

    /// Removes the oldest entries, no more than fit one short transaction.
    pub(super) fn prune(&mut self, older_than: Timestamp) -> Result<u64, Failed> {
        let removed =
            self.connection.execute(PRUNE, params![older_than.as_millis(), number(PRUNED_AT_ONCE)])?;
        Ok(removed as u64)
    }

    pub(super) fn next_epoch(&mut self) -> Result<Epoch, Failed> {
        let number = self.connection.query_row(NEXT_EPOCH, [], |row| row.get(0)).optional()?;
        let used_up =
            || StoreError::Damaged { place: self.place.clone(), detail: "no epoch is left".to_owned() };
        Ok(Epoch::new(number.ok_or_else(used_up)?))
    }

    pub(super) fn put_inventory(
        &mut self,
        put: &[(String, String)],
        gone: &[String],
        epoch: Option<Epoch>,
    ) -> Result<(), Failed> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if transaction.execute(NEXT_INVENTORY, [rows::epoch_text(epoch)])? == 0 {
            return Err(StoreError::Deposed(self.place.clone()).into());
        }
        {
            let mut statement = transaction.prepare(PUT_INVENTORY)?;
            for (host, json) in put {
                statement.execute([host, json])?;
            }
            let mut statement = transaction.prepare(DELETE_INVENTORY)?;
            for host in gone {
                statement.execute([host])?;
            }
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn inventory_since(&mut self, version: u64) -> Result<(u64, Vec<InventoryRow>), Failed> {
        let mut statement = self.connection.prepare(INVENTORY)?;
        let rows = statement.query_map([number(version)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows::inventory_since(&self.place, rows.collect::<Result<_, _>>()?)?)
    }

    pub(super) fn held(&mut self, prefix: &str, lifetime: Duration) -> Result<Vec<Held>, Failed> {
        let mut statement = self.connection.prepare(HELD)?;
        let rows = statement
            .query_map(params![prefix, lease::millis(lifetime)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(lease::held(rows.collect::<Result<_, _>>()?))
    }

    /// What is kept; ours where nothing was. No other server has the file.
    pub(super) fn identity(&mut self, ours: &str) -> Result<String, Failed> {
        let kept = self.connection.query_row(IDENTITY, [], |row| row.get(0)).optional()?;
        if let Some(kept) = kept {
            return Ok(kept);
        }
        self.connection.execute(KEEP_IDENTITY, [ours])?;
        Ok(ours.to_owned())
    }

    pub(super) fn replace_identity(&mut self, ours: &str) -> Result<(), Failed> {
        self.connection.execute(REPLACE_IDENTITY, [ours])?;
        Ok(())
    }

    /// Takes or renews a lease; who has it then.
    pub(super) fn lease(&mut self, name: &str, holder: &str, lifetime: Duration) -> Result<String, Failed> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(LEASE, params![name, holder, lease::millis(lifetime)])?;
        let holder = transaction.query_row(HOLDER, [name], |row| row.get(0))?;
        transaction.commit()?;
        Ok(holder)
    }

    pub(super) fn release(&mut self, name: &str, holder: &str) -> Result<(), Failed> {
        self.connection.execute(RELEASE, [name, holder])?;
        Ok(())
    }

    pub(super) fn check(&mut self) -> Result<u64, Failed> {
        self.is_still_there()?;
        Ok(self.connection.query_row(LAST_SEQ, [], seq)?)
    }
}

fn write(transaction: &Transaction<'_>, group: &Written) -> Result<(), Failed> {
    let mut put = transaction.prepare(PUT_RECORD)?;
    let mut delete = transaction.prepare(DELETE_RECORD)?;
    for row in &group.records {
        match &row.json {
            Some(json) => put.execute([&row.kind, &row.id, json])?,
            None => delete.execute([&row.kind, &row.id])?,
        };
    }
    let mut journal = transaction.prepare(PUT_JOURNAL)?;
    for JournalRow { seq, time, actor, command, records } in &group.journal {
        journal.execute(params![seq, time, actor, command, records, group.mark])?;
    }
    Ok(())
}

/// The keys of the records that commits after this one touched.
fn touched(transaction: &Transaction<'_>, place: &Place, after: u64) -> Result<BTreeSet<RecordKey>, Failed> {
    let mut statement = transaction.prepare("SELECT seq, records FROM journal WHERE seq > ?1")?;
    let rows = statement.query_map([number(after)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let entries: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
    Ok(rows::touched(place, entries.iter().map(|(seq, json)| (*seq, json.as_str())))?)
}

/// A row of the journal.
pub(crate) fn entry(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    Ok(JournalRow {
        seq: row.get(0)?,
        time: row.get(1)?,
        actor: row.get(2)?,
        command: row.get(3)?,
        records: row.get(4)?,
    })
}
