//! What backends that are not SQLite write and read: commits as rows, and rows as what the trait answers.
//!
//! Not for SQL. It keeps true that of a group each record is written once, as it is in the end, and that no text reaches a
//! database which cannot keep it.

use std::collections::{BTreeMap, BTreeSet};

use control::{ActorName, RecordKey};
use model::{Epoch, HostId, Timestamp};
use serde::Deserialize;

use crate::journal::records_of;
use crate::record::{from_row, key_of, to_json};
use crate::{
    Commit, CommitError, Current, InventoryRow, JournalEntry, JournalRecord, Loaded, Place, StoreError,
};

/// More commits than this are not followed one by one: loading is cheaper.
pub(crate) const MOST_FOLLOWED: u64 = 10_000;

/// A record's row; without JSON it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordRow {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) json: Option<String>,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalRow {
    pub(crate) seq: i64,
    pub(crate) time: i64,
    pub(crate) actor: String,
    pub(crate) command: String,
    pub(crate) records: String,
}

/// A group of commits as rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// What tells this group from every other that wants the same numbers.
    pub(crate) mark: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Nothing is done once a later epoch was taken; none: whoever leads.
    pub(crate) epoch: Option<Epoch>,
    /// Each record once.
    pub(crate) records: Vec<RecordRow>,
    pub(crate) journal: Vec<JournalRow>,
}

/// A text that nobody can guess, of 128 bits.
pub(crate) fn unguessable() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// An epoch as it is kept.
pub(crate) fn epoch_text(epoch: Option<Epoch>) -> Option<String> {
    epoch.map(|epoch| epoch.number().to_string())
}

/// A commit's number as databases count.
pub(crate) fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

pub(crate) fn keepable<'a>(what: &'static str, text: &'a str) -> Result<&'a str, StoreError> {
    if text.contains('\0') { Err(StoreError::Text { what }) } else { Ok(text) }
}

impl Written {
    /// The rows of a group whose numbers follow one another; none of an empty one.
    pub(crate) fn of(group: &[Commit], epoch: Option<Epoch>) -> Result<Option<Self>, StoreError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(None);
        };
        let (first, last) = (first.seq, last.seq);
        let mut records: BTreeMap<RecordKey, Option<String>> = BTreeMap::new();
        let mut journal = Vec::with_capacity(group.len());
        for Commit { seq, time, change } in group {
            for record in &change.records {
                let Some(key) = record.key() else { continue };
                records.insert(key, record.after.as_ref().map(to_json));
            }
            journal.push(JournalRow {
                seq: number(*seq),
                time: time.as_millis(),
                actor: keepable("the name of who acts", change.actor.as_str())?.to_owned(),
                command: keepable("the name of the command", &change.command)?.to_owned(),
                records: serde_json::to_string(&records_of(change)).expect("they were JSON already"),
            });
        }
        let row = |(key, json): (RecordKey, Option<String>)| RecordRow {
            kind: key.kind.as_str().to_owned(),
            id: key.id_text(),
            json,
        };
        let records = records.into_iter().map(row).collect();
        Ok(Some(Self { mark: unguessable(), first, last, epoch, records, journal }))
    }

    /// The commit that does not have the number which follows from this last one.
    pub(crate) fn misnumbered(&self, last: u64) -> Option<CommitError> {
        let given = self.journal.iter().map(|row| row.seq.unsigned_abs());
        let (next, given) = (last + 1..).zip(given).find(|(next, given)| given != next)?;
        Some(CommitError::Conflict { given, next })
    }

    /// Whether the numbers do not even follow one another.
    pub(crate) fn has_gaps(&self) -> bool {
        self.misnumbered(self.first.saturating_sub(1)).is_some()
    }
}

impl JournalRow {
    /// The entry that this row holds.
    pub(crate) fn read(self, place: &Place) -> Result<JournalEntry, StoreError> {
        let Self { seq, time, actor, command, records } = self;
        let records: Vec<JournalRecord> = serde_json::from_str(&records)
            .map_err(|error| unreadable_entry(place, seq, error.to_string()))?;
        Ok(JournalEntry {
            seq: seq.unsigned_abs(),
            time: Timestamp::from_millis(time),
            actor: ActorName::from_text(actor),
            command,
            records,
        })
    }
}

/// An entry of the journal that does not hold what it should.
pub(crate) fn unreadable_entry(place: &Place, seq: i64, detail: String) -> StoreError {
    StoreError::Record { place: place.clone(), key: format!("{seq} of the journal"), detail }
}

/// The keys of the records that these entries of the journal touched, given as number and JSON.
pub(crate) fn touched<'a>(
    place: &Place,
    entries: impl Iterator<Item = (i64, &'a str)>,
) -> Result<BTreeSet<RecordKey>, StoreError> {
    #[derive(Deserialize)]
    struct Touched {
        kind: String,
        id: String,
    }
    let mut keys = BTreeSet::new();
    for (seq, json) in entries {
        let unreadable = |detail| unreadable_entry(place, seq, detail);
        let records: Vec<Touched> =
            serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
        for Touched { kind, id } in records {
            keys.insert(key_of(&kind, &id).map_err(unreadable)?);
        }
    }
    Ok(keys)
}

/// What a followed record is now.
pub(crate) fn current(place: &Place, row: &RecordRow) -> Result<Current, StoreError> {
    let RecordRow { kind, id, json } = row;
    let unreadable =
        |detail| StoreError::Record { place: place.clone(), key: format!("{kind}/{id}"), detail };
    let key = key_of(kind, id).map_err(unreadable)?;
    let record = json.as_ref().map(|json| from_row(place, kind, id, json)).transpose()?;
    Ok(Current { key, record })
}

/// All of intent from its rows, which may come in any order.
pub(crate) fn loaded(
    place: &Place,
    seq: u64,
    server: String,
    mut rows: Vec<(String, String, String)>,
) -> Result<Loaded, StoreError> {
    rows.sort_unstable();
    let read = |(kind, id, json): (String, String, String)| from_row(place, &kind, &id, &json);
    let records = rows.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Loaded { seq, server, records })
}

/// Inventory from its rows, which may come in any order.
pub(crate) fn inventory(
    place: &Place,
    mut rows: Vec<(String, String)>,
) -> Result<Vec<InventoryRow>, StoreError> {
    rows.sort_unstable();
    let read = |(host, json): (String, String)| {
        let unreadable =
            |detail| StoreError::Record { place: place.clone(), key: "inventory".to_owned(), detail };
        let host = host.parse::<HostId>().map_err(|error| unreadable(error.to_string()))?;
        Ok(InventoryRow { host, json: Some(json) })
    };
    rows.into_iter().map(read).collect()
}

/// Inventory and its version from rows of which one has no host but the version.
pub(crate) fn inventory_since(
    place: &Place,
    mut rows: Vec<(String, String)>,
) -> Result<(u64, Vec<InventoryRow>), StoreError> {
    let at = rows.iter().position(|(host, _)| host.is_empty());
    let version = at.and_then(|at| rows.swap_remove(at).1.parse().ok());
    let detail = "it does not say its inventory's version".to_owned();
    let version = version.ok_or_else(|| StoreError::Damaged { place: place.clone(), detail })?;
    Ok((version, inventory(place, rows)?))
}

/// A host and what is known of it, as JSON.
pub(crate) type HostRow = (String, String);

/// Inventory as rows to be put and hosts to be removed.
pub(crate) fn inventory_rows(hosts: Vec<InventoryRow>) -> Result<(Vec<HostRow>, Vec<String>), StoreError> {
    // The last word about a host counts: some databases refuse to be told two at once.
    let hosts: BTreeMap<String, Option<String>> =
        hosts.into_iter().map(|InventoryRow { host, json }| (host.to_string(), json)).collect();
    let (mut put, mut gone) = (Vec::new(), Vec::new());
    for (host, json) in hosts {
        match json {
            Some(json) => {
                keepable("what is known of a host", &json)?;
                put.push((host, json));
            }
            None => gone.push(host),
        }
    }
    Ok((put, gone))
}
