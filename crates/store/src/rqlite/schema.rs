//! The tables in rqlite, and the way from each older version of them to the newest.
//!
//! A step that was released is never changed: a new one is added behind it. Each step is one transaction that fails as a
//! whole where another server was faster.

use serde_json::json;

use super::http::{Failure, Http, Level, Statement, statement};
use super::statements::text;
use crate::rows::unguessable;
use crate::version::Told;
use crate::{Inspected, StoreError};

const TABLES: [&str; 5] = [
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE records (
        kind TEXT NOT NULL, id TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE journal (
        seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, command TEXT NOT NULL,
        records TEXT NOT NULL, mark TEXT
    ) STRICT",
    "CREATE TABLE inventory (host TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID",
];
const IDENTITY: &str =
    "INSERT INTO meta (key, value) VALUES ('epoch', '0'), ('schema', '1'), ('server', ?1), ('fence', ?2)";
/// In the inventory, the version that wrote each row last.
const V2: &[&str] = &[
    "ALTER TABLE inventory ADD COLUMN version INTEGER NOT NULL DEFAULT 1",
    "CREATE INDEX inventory_by_version ON inventory (version)",
    "INSERT INTO meta (key, value) VALUES ('inventory', '1')",
];
/// From each version to the next, beginning with the one from version 1.
const STEPS: &[&[&str]] = &[V2];
/// Fails, and with it the whole step, unless the tables are of this version.
const FROM: &str = "
    INSERT INTO meta (key, value) SELECT 'schema', NULL
    WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'schema' AND value = ?1)";
const TO: &str = "
    INSERT INTO meta (key, value) VALUES ('schema', ?1), ('compatible', ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
/// The oldest version whose servers can use tables of the newest one.
const COMPATIBLE: u32 = 2;
/// How often another server may be faster.
const TRIES: u32 = 10;
/// The key in `meta` that stands there while a restore is not finished.
pub(super) const RESTORING: &str = "restoring";

/// Brings the tables to the newest version, and refuses what cannot be used.
pub(super) async fn prepare(http: &Http) -> Result<(), StoreError> {
    match migrate(http).await? {
        State::Whole => Ok(()),
        State::HalfRestored => Err(StoreError::HalfRestored(http.place.clone())),
    }
}

/// Looks at the tables, and changes nothing.
pub(super) async fn inspect(http: &Http) -> Result<Option<Inspected>, StoreError> {
    let known = u32::try_from(STEPS.len() + 1).expect("there are few steps");
    let (schema, state) = version(http, known).await?;
    match (schema, state) {
        (0, _) => return Ok(None),
        (_, State::HalfRestored) => return Err(StoreError::HalfRestored(http.place.clone())),
        (_, State::Whole) => {}
    }
    let sql =
        "SELECT (SELECT coalesce(max(seq), 0) FROM journal), (SELECT value FROM meta WHERE key = 'identity')";
    let found = http.query(Level::Strong, &[statement(sql, [])]).await?;
    let row = found.first().and_then(|answered| answered.values.first());
    let seq = row.and_then(|row| row.first()?.as_u64()).unwrap_or_default();
    let identity = row.and_then(|row| row.get(1)?.as_str().map(str::to_owned));
    Ok(Some(Inspected { schema, known, seq, identity, read_only: false }))
}

/// Whether what is there is all that should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is.
    Whole,
    /// A restore was not finished.
    HalfRestored,
}

/// Brings the tables to the newest version.
pub(super) async fn migrate(http: &Http) -> Result<State, StoreError> {
    let known = u32::try_from(STEPS.len() + 1).expect("there are few steps");
    let mut tries = 1;
    loop {
        let (found, state) = version(http, known).await?;
        let missing = match found {
            0 => first(),
            _ => match STEPS.get(found as usize - 1) {
                Some(step) => next(found, step),
                None => return Ok(state),
            },
        };
        match http.once(&missing).await {
            Ok(_) => {}
            // Another server was faster, or nobody knows: we look again.
            Err(Failure::Statement(_) | Failure::Lost(_) | Failure::Unsent(_)) if tries < TRIES => tries += 1,
            Err(failure) => return Err(failure.error(&http.place)),
        }
    }
}

/// Makes version 1 of an empty database; fails where there are tables.
fn first() -> Vec<Statement> {
    let mut statements: Vec<Statement> = TABLES.iter().map(|table| statement(table, [])).collect();
    statements.push(statement(IDENTITY, [json!(unguessable()), json!(unguessable())]));
    statements
}

/// From this version to the next one; fails where the tables are of another.
fn next(from: u32, step: &[&str]) -> Vec<Statement> {
    let mut statements = vec![statement(FROM, [json!(from.to_string())])];
    statements.extend(step.iter().map(|sql| statement(sql, [])));
    let compatible = COMPATIBLE.min(from + 1);
    statements.push(statement(TO, [json!((from + 1).to_string()), json!(compatible.to_string())]));
    statements
}

/// The version of the tables; 0 where there are none.
async fn version(http: &Http, known: u32) -> Result<(u32, State), StoreError> {
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    let names = http.query(Level::Strong, &[statement(tables, [])]).await?;
    let names: Vec<String> =
        names.iter().flat_map(|answered| &answered.values).filter_map(|row| row.first()).map(text).collect();
    let has = |name: &str| names.iter().any(|there| there == name);
    if names.is_empty() {
        return Ok((0, State::Whole));
    }
    if !has("meta") || !has("records") {
        return Err(StoreError::Foreign(http.place.clone()));
    }
    let meta = "SELECT key, value FROM meta WHERE key IN ('schema', 'compatible', ?1)";
    let meta = http.query(Level::Strong, &[statement(meta, [json!(RESTORING)])]).await?;
    let value = |key: &str| {
        let rows = meta.iter().flat_map(|answered| &answered.values);
        rows.filter(|row| row.len() == 2 && row[0] == key).map(|row| text(&row[1])).next()
    };
    let told = Told { schema: value("schema"), compatible: value("compatible") };
    Ok((
        told.judge(&http.place, known)?,
        if value(RESTORING).is_some() { State::HalfRestored } else { State::Whole },
    ))
}
