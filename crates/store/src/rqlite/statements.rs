//! What is asked of rqlite beside commits, one function for each function of the trait.
//!
//! Not for commits. All of it may be done twice without harm. What is written holds no clock and no chance of its own: each
//! node carries it out by itself, and all must come to the same.

use std::time::Duration;

use model::{Epoch, Timestamp};
use serde_json::{Value, json};

use super::http::{Answered, Http, Level, statement};
use crate::journal::PRUNED_AT_ONCE;
use crate::lease::{self, Held};
use crate::rows::{self, JournalRow, MOST_FOLLOWED, RecordRow, number};
use crate::sqlite::sql::{
    HELD, IDENTITY, INVENTORY, JOURNAL, KEEP_IDENTITY, LAST_SEQ, NEXT_INVENTORY, PRUNE, RELEASE,
    REPLACE_IDENTITY,
};
use crate::{Followed, InventoryRow, JournalEntry, Loaded, StoreError};

/// One statement, so that all of it is of one instant. The first rows have no kind.
pub(super) const LOAD: &str = "
    SELECT '', '', CAST(coalesce(max(seq), 0) AS TEXT) FROM journal
    UNION ALL SELECT '', key, value FROM meta
    UNION ALL SELECT kind, id, json FROM records";
/// One statement for the same reason. The first row has no kind: the last number, and the oldest.
const FOLLOW: &str = "
    WITH bounds AS (SELECT coalesce(max(seq), 0) AS last, coalesce(min(seq), 1) AS oldest FROM journal),
    touched AS (
        SELECT DISTINCT entry.value ->> 'kind' AS kind, entry.value ->> 'id' AS id
        FROM journal, json_each(journal.records) AS entry, bounds
        WHERE seq > ?1 AND last - ?1 <= ?2 AND oldest <= ?1 + 1
    )
    SELECT '' AS kind, CAST(last AS TEXT) AS id, CAST(oldest AS TEXT) AS json FROM bounds
    UNION ALL SELECT touched.kind, touched.id, records.json FROM touched LEFT JOIN records
        ON records.kind = touched.kind AND records.id = touched.id";
const NEXT_EPOCH: &str = "
    UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
    WHERE key = 'epoch' AND CAST(value AS INTEGER) < 16777215";
const EPOCH: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'";
/// Under the version that the statement before has counted up, if it has.
const PUT_INVENTORY: &str = "
    INSERT INTO inventory (host, json, version)
    SELECT new.value ->> 0, new.value ->> 1, CAST(meta.value AS INTEGER)
    FROM json_each(?1) AS new, meta WHERE meta.key = 'inventory'
        AND (?2 IS NULL OR EXISTS (SELECT 1 FROM meta WHERE key = 'epoch' AND value = ?2))
    ON CONFLICT (host) DO UPDATE SET json = excluded.json, version = excluded.version";
const DELETE_INVENTORY: &str = "
    DELETE FROM inventory WHERE host IN (SELECT value FROM json_each(?1))
        AND (?2 IS NULL OR EXISTS (SELECT 1 FROM meta WHERE key = 'epoch' AND value = ?2))";
/// The leader's clock, in milliseconds since 1970.
const CLOCK: &str = "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
/// `?3` when it ends, `?4` what time it is: what ends more than two lifetimes later is from a clock that was ahead.
const LEASE: &str = "
    INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE leases.holder = excluded.holder OR leases.until <= ?4 OR leases.until > 2 * ?3 - ?4";
const HOLDER: &str = "SELECT holder FROM leases WHERE name = ?1";

/// A number in an answer.
pub(super) fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// A text in an answer.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn rows(answered: Vec<Answered>) -> Vec<Vec<Value>> {
    answered.into_iter().last().map(|last| last.values).unwrap_or_default()
}

fn broken(http: &Http, detail: &str) -> StoreError {
    StoreError::Damaged { place: http.place.clone(), detail: detail.to_owned() }
}

/// The texts of a row of three; what is null stays none.
pub(super) fn three(http: &Http, row: &[Value]) -> Result<(String, String, Option<String>), StoreError> {
    let [kind, id, json] = row else {
        return Err(broken(http, "a row has not three columns"));
    };
    Ok((text(kind), text(id), json.as_str().map(str::to_owned)))
}

pub(super) async fn load(http: &Http) -> Result<Loaded, StoreError> {
    let found = rows(http.query(Level::Strong, &[statement(LOAD, [])]).await?);
    let (mut seq, mut server, mut records) = (None, None, Vec::with_capacity(found.len()));
    for row in &found {
        let (kind, id, value) = three(http, row)?;
        let value = value.unwrap_or_default();
        match (kind.as_str(), id.as_str()) {
            ("", "") => seq = value.parse().ok(),
            ("", "server") => server = Some(value),
            ("", _) => {}
            _ => records.push((kind, id, value)),
        }
    }
    let (Some(seq), Some(server)) = (seq, server) else {
        return Err(broken(http, "it does not say whose it is"));
    };
    rows::loaded(&http.place, seq, server, records)
}

pub(super) async fn follow(http: &Http, after: u64) -> Result<Followed, StoreError> {
    let follow = statement(FOLLOW, [json!(number(after)), json!(MOST_FOLLOWED)]);
    let found = rows(http.query(Level::Strong, &[follow]).await?);
    let (mut bounds, mut records) = (None, Vec::new());
    for row in &found {
        let (kind, id, json) = three(http, row)?;
        if kind.is_empty() {
            let oldest = json.and_then(|oldest| oldest.parse::<u64>().ok());
            bounds = id.parse::<u64>().ok().zip(oldest);
        } else {
            records.push(rows::current(&http.place, &RecordRow { kind, id, json })?);
        }
    }
    let (last, oldest) = bounds.ok_or_else(|| broken(http, "it does not say how far its journal reaches"))?;
    if after > last || after + 1 < oldest || last - after > MOST_FOLLOWED {
        return Ok(Followed::TooFar);
    }
    records.sort_unstable_by_key(|current| current.key);
    Ok(Followed::Changed { seq: last, records })
}

/// A row of the journal.
pub(super) fn entry(http: &Http, row: &[Value]) -> Result<JournalRow, StoreError> {
    let [seq, time, actor, command, records] = row else {
        return Err(broken(http, "a row of the journal has not five columns"));
    };
    Ok(JournalRow {
        seq: integer(seq),
        time: integer(time),
        actor: text(actor),
        command: text(command),
        records: text(records),
    })
}

pub(super) async fn journal(
    http: &Http,
    before: Option<u64>,
    most: u32,
) -> Result<Vec<JournalEntry>, StoreError> {
    let journal = statement(JOURNAL, [json!(number(before.unwrap_or(u64::MAX))), json!(most)]);
    let found = rows(http.query(Level::Weak, &[journal]).await?);
    found.iter().map(|row| entry(http, row)?.read(&http.place)).collect()
}

/// Removes the oldest entries, no more than fit one short transaction.
pub(super) async fn prune(http: &Http, older_than: Timestamp) -> Result<u64, StoreError> {
    let prune = statement(PRUNE, [json!(older_than.as_millis()), json!(PRUNED_AT_ONCE)]);
    let answered = http.repeatable(&[prune]).await?;
    Ok(answered.first().map_or(0, |done| done.rows_affected))
}

pub(super) async fn next_epoch(http: &Http) -> Result<Epoch, StoreError> {
    let answered = http.repeatable(&[statement(NEXT_EPOCH, []), statement(EPOCH, [])]).await?;
    let counted = answered.first().is_some_and(|done| done.rows_affected > 0);
    let found = rows(answered);
    let number =
        found.first().and_then(|row| row.first()).and_then(|value| u32::try_from(integer(value)).ok());
    match number.filter(|_| counted) {
        Some(number) => Ok(Epoch::new(number)),
        None => Err(broken(http, "no epoch is left")),
    }
}

pub(super) async fn put_inventory(
    http: &Http,
    put: &[(String, String)],
    gone: &[String],
    epoch: Option<Epoch>,
) -> Result<(), StoreError> {
    let epoch = json!(rows::epoch_text(epoch));
    let put = statement(PUT_INVENTORY, [Value::from(json!(put).to_string()), epoch.clone()]);
    let gone = statement(DELETE_INVENTORY, [Value::from(json!(gone).to_string()), epoch.clone()]);
    let answered = http.repeatable(&[statement(NEXT_INVENTORY, [epoch]), put, gone]).await?;
    match answered.first().is_some_and(|counted| counted.rows_affected > 0) {
        true => Ok(()),
        false => Err(StoreError::Deposed(http.place.clone())),
    }
}

/// The texts of rows of two.
fn pairs(http: &Http, found: &[Vec<Value>]) -> Result<Vec<(String, String)>, StoreError> {
    let pair = |row: &Vec<Value>| match row.as_slice() {
        [first, second] => Ok((text(first), text(second))),
        _ => Err(broken(http, "a row has not two columns")),
    };
    found.iter().map(pair).collect()
}

pub(super) async fn inventory_since(
    http: &Http,
    version: u64,
) -> Result<(u64, Vec<InventoryRow>), StoreError> {
    let since = statement(INVENTORY, [json!(number(version))]);
    let found = rows(http.query(Level::Strong, &[since]).await?);
    rows::inventory_since(&http.place, pairs(http, &found)?)
}

pub(super) async fn held(http: &Http, prefix: &str, lifetime: Duration) -> Result<Vec<Held>, StoreError> {
    let asked = statement(HELD, [json!(prefix), json!(lease::millis(lifetime))]);
    let found = rows(http.query(Level::Weak, &[asked]).await?);
    Ok(lease::held(pairs(http, &found)?))
}

/// What is kept; ours where nothing was. Asked first, so that it is answered also where nothing can be written.
pub(super) async fn identity(http: &Http, ours: &str) -> Result<String, StoreError> {
    let asked = statement(IDENTITY, []);
    let kept = |found: Vec<Vec<Value>>| found.first().and_then(|row| row.first()).map(text);
    if let Some(kept) = kept(rows(http.query(Level::Strong, std::slice::from_ref(&asked)).await?)) {
        return Ok(kept);
    }
    let keep = statement(KEEP_IDENTITY, [json!(ours)]);
    let found = rows(http.repeatable(&[keep, asked]).await?);
    kept(found).ok_or_else(|| broken(http, "it does not keep who its servers are"))
}

pub(super) async fn replace_identity(http: &Http, ours: &str) -> Result<(), StoreError> {
    http.repeatable(&[statement(REPLACE_IDENTITY, [json!(ours)])]).await.map(drop)
}

/// Takes or renews a lease; who has it then. The clock is read before, so the lease ends a little early
/// rather than late.
pub(super) async fn lease(
    http: &Http,
    name: &str,
    holder: &str,
    lifetime: Duration,
) -> Result<String, StoreError> {
    let clock = rows(http.query(Level::Weak, &[statement(CLOCK, [])]).await?);
    let now = clock.first().and_then(|row| row.first()).and_then(Value::as_i64);
    let now = now.ok_or_else(|| broken(http, "it does not say what time it is"))?;
    let until = now.saturating_add(lease::millis(lifetime));
    let take = statement(LEASE, [json!(name), json!(holder), json!(until), json!(now)]);
    let held = rows(http.repeatable(&[take, statement(HOLDER, [json!(name)])]).await?);
    let holder = held.first().and_then(|row| row.first()).and_then(Value::as_str);
    holder.map(str::to_owned).ok_or_else(|| broken(http, "it does not say who holds a lease"))
}

pub(super) async fn release(http: &Http, name: &str, holder: &str) -> Result<(), StoreError> {
    http.repeatable(&[statement(RELEASE, [json!(name), json!(holder)])]).await.map(drop)
}

pub(super) async fn check(http: &Http) -> Result<u64, StoreError> {
    let found = rows(http.query(Level::Weak, &[statement(LAST_SEQ, [])]).await?);
    let last = found.first().and_then(|row| row.first()).map(integer);
    last.map(i64::unsigned_abs).ok_or_else(|| broken(http, "it does not say its last number"))
}
