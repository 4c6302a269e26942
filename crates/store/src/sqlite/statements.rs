//! What is asked of SQLite, one function for each function of the trait. Runs on the database's own thread.
//!
//! Not for waiting and not for threads. It keeps true that each function is one transaction.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use control::{ActorName, RecordKey};
use model::{Epoch, HostId, Timestamp};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use serde::Deserialize;

use super::failure::Failed;
use super::schema;
use crate::journal::records_of;
use crate::record::{from_row, key_of, to_json};
use crate::{Commit, Current, Followed, InventoryRow, JournalEntry, JournalRecord, Loaded, StoreError};

/// How long to wait for a lock that another program holds.
const PATIENCE: Duration = Duration::from_secs(5);
/// More commits than this are not followed one by one: loading is cheaper.
const MOST_FOLLOWED: u64 = 10_000;
/// How many entries of the journal one transaction removes, so that commits need not wait for long.
pub(super) const PRUNED_AT_ONCE: u64 = 5_000;

const LAST_SEQ: &str = "SELECT coalesce(max(seq), 0) FROM journal";
const PUT_RECORD: &str =
    "INSERT INTO records VALUES (?1, ?2, ?3) ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json";
const DELETE_RECORD: &str = "DELETE FROM records WHERE kind = ?1 AND id = ?2";
const PUT_JOURNAL: &str =
    "INSERT INTO journal (seq, time, actor, command, records) VALUES (?1, ?2, ?3, ?4, ?5)";
const PRUNE: &str = "
    DELETE FROM journal WHERE seq < min(
        coalesce((SELECT min(seq) FROM journal WHERE time >= ?1), (SELECT max(seq) FROM journal)),
        (SELECT min(seq) FROM journal) + ?2
    )";
const NEXT_EPOCH: &str = "
    UPDATE meta SET value = CAST(value AS INTEGER) + 1
    WHERE key = 'epoch' AND CAST(value AS INTEGER) < 16777215 RETURNING CAST(value AS INTEGER)";
const PUT_INVENTORY: &str =
    "INSERT INTO inventory VALUES (?1, ?2) ON CONFLICT (host) DO UPDATE SET json = excluded.json";
const DELETE_INVENTORY: &str = "DELETE FROM inventory WHERE host = ?1";

/// How a group of commits ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// All of it is there.
    Done,
    /// None of it is: another number is next.
    Conflict {
        /// The number that was given.
        given: u64,
        /// The number that is next.
        next: u64,
    },
}

/// An open database.
pub(super) struct Statements {
    path: PathBuf,
    pub(super) connection: Connection,
}

fn seq(row: &Row<'_>) -> rusqlite::Result<u64> {
    // Numbers start at 0 and count up by one: the sign is never reached.
    row.get::<_, i64>(0).map(i64::unsigned_abs)
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
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
        let mut connection = connect(path)?;
        schema::recognise(&connection, path)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            let reason = "its file system cannot share memory between programs; use a local disk".to_owned();
            return Err(StoreError::Open { path: path.to_owned(), reason }.into());
        }
        // Each commit reaches the disk before it is answered.
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
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
            records.push(from_row(&self.path, text(0)?, text(1)?, text(2)?)?);
        }
        Ok(Loaded { seq, server, records })
    }

    pub(super) fn commit(&mut self, group: &[Commit]) -> Result<Committed, Failed> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next = transaction.query_row(LAST_SEQ, [], seq)? + 1;
        let mut numbered = (next..).zip(group);
        if let Some((next, commit)) = numbered.find(|(next, commit)| commit.seq != *next) {
            return Ok(Committed::Conflict { given: commit.seq, next });
        }
        write(&transaction, group)?;
        transaction.commit()?;
        Ok(Committed::Done)
    }

    pub(super) fn follow(&mut self, after: u64) -> Result<Followed, Failed> {
        let transaction = self.connection.transaction()?;
        let last = transaction.query_row(LAST_SEQ, [], seq)?;
        let oldest = transaction.query_row("SELECT coalesce(min(seq), 1) FROM journal", [], seq)?;
        if after > last || after + 1 < oldest || last - after > MOST_FOLLOWED {
            return Ok(Followed::TooFar);
        }
        let mut current = transaction.prepare("SELECT json FROM records WHERE kind = ?1 AND id = ?2")?;
        let mut records = Vec::new();
        for key in touched(&transaction, &self.path, after)? {
            let (kind, id) = (key.kind.as_str(), key.id_text());
            let json = current.query_row([kind, &id], |row| row.get::<_, String>(0)).optional()?;
            let record = json.map(|json| from_row(&self.path, kind, &id, &json)).transpose()?;
            records.push(Current { key, record });
        }
        Ok(Followed::Changed { seq: last, records })
    }

    pub(super) fn journal(&mut self, before: Option<u64>, most: u32) -> Result<Vec<JournalEntry>, Failed> {
        let sql = "SELECT seq, time, actor, command, records FROM journal WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(params![number(before.unwrap_or(u64::MAX)), most])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(entry(row, &self.path)?);
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
            || StoreError::Damaged { path: self.path.clone(), detail: "no epoch is left".to_owned() };
        Ok(Epoch::new(number.ok_or_else(used_up)?))
    }

    pub(super) fn put_inventory(&mut self, hosts: &[InventoryRow]) -> Result<(), Failed> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = transaction.prepare(PUT_INVENTORY)?;
            let mut delete = transaction.prepare(DELETE_INVENTORY)?;
            for InventoryRow { host, json } in hosts {
                match json {
                    Some(json) => put.execute(params![host.to_string(), json])?,
                    None => delete.execute([host.to_string()])?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn inventory(&mut self) -> Result<Vec<InventoryRow>, Failed> {
        let mut statement = self.connection.prepare("SELECT host, json FROM inventory ORDER BY host")?;
        let mut rows = statement.query([])?;
        let mut hosts = Vec::new();
        while let Some(row) = rows.next()? {
            let host: String = row.get(0)?;
            let host =
                host.parse::<HostId>().map_err(|error| self.unreadable("inventory", error.to_string()))?;
            hosts.push(InventoryRow { host, json: Some(row.get(1)?) });
        }
        Ok(hosts)
    }

    pub(super) fn check(&mut self) -> Result<u64, Failed> {
        Ok(self.connection.query_row(LAST_SEQ, [], seq)?)
    }

    fn unreadable(&self, key: &str, detail: String) -> StoreError {
        StoreError::Record { path: self.path.clone(), key: key.to_owned(), detail }
    }
}

fn write(transaction: &Transaction<'_>, group: &[Commit]) -> Result<(), Failed> {
    let mut put = transaction.prepare(PUT_RECORD)?;
    let mut delete = transaction.prepare(DELETE_RECORD)?;
    let mut journal = transaction.prepare(PUT_JOURNAL)?;
    for Commit { seq, time, change } in group {
        for record in &change.records {
            let Some(key) = record.key() else { continue };
            match &record.after {
                Some(after) => put.execute(params![key.kind.as_str(), key.id_text(), to_json(after)])?,
                None => delete.execute(params![key.kind.as_str(), key.id_text()])?,
            };
        }
        let records = serde_json::to_string(&records_of(change)).expect("they were JSON already");
        let (time, actor, command) = (time.as_millis(), change.actor.as_str(), change.command.as_ref());
        journal.execute(params![number(*seq), time, actor, command, records])?;
    }
    Ok(())
}

/// The keys of the records that commits after this one touched.
fn touched(transaction: &Transaction<'_>, path: &Path, after: u64) -> Result<BTreeSet<RecordKey>, Failed> {
    #[derive(Deserialize)]
    struct Touched {
        kind: String,
        id: String,
    }
    let mut statement = transaction.prepare("SELECT seq, records FROM journal WHERE seq > ?1")?;
    let mut rows = statement.query([number(after)])?;
    let mut keys = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let json = row.get_ref(1)?;
        let json = json.as_str().map_err(rusqlite::Error::from)?;
        let unreadable = |detail| unreadable_entry(path, row, detail);
        let records: Vec<Touched> =
            serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
        for Touched { kind, id } in records {
            keys.insert(key_of(&kind, &id).map_err(unreadable)?);
        }
    }
    Ok(keys)
}

fn unreadable_entry(path: &Path, row: &Row<'_>, detail: String) -> StoreError {
    let seq = seq(row).unwrap_or(0);
    StoreError::Record { path: path.to_owned(), key: format!("{seq} of the journal"), detail }
}

fn entry(row: &Row<'_>, path: &Path) -> Result<JournalEntry, Failed> {
    let json: String = row.get(4)?;
    let records: Vec<JournalRecord> =
        serde_json::from_str(&json).map_err(|error| unreadable_entry(path, row, error.to_string()))?;
    Ok(JournalEntry {
        seq: seq(row)?,
        time: Timestamp::from_millis(row.get(1)?),
        actor: ActorName::from_text(row.get(2)?),
        command: row.get(3)?,
        records,
    })
}
