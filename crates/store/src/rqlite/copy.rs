//! Backups of rqlite, and back.
//!
//! Not for rqlite's own backups, which hold what is only rqlite's. A backup is of one instant: records and the last number
//! come from one statement, and what the journal holds up to that number never changes. A restore takes many requests; a
//! word in the database says until the end that it is not finished, and no server opens it before.

use std::path::Path;

use serde_json::{Value, json};

use super::http::{Http, Level, Statement, statement};
use super::schema::{self, RESTORING, State};
use super::statements::{JOURNAL, LOAD, entry, integer, text, three};
use crate::neutral::{AT_ONCE, Carried, Identity, NewBackup, Rows, blocking};
use crate::rows::unguessable;
use crate::{Existing, StoreError};

const INVENTORY: &str = "SELECT host, json FROM inventory WHERE host > ?1 ORDER BY host LIMIT ?2";

/// Writes a backup into a new file.
pub(super) async fn backup(http: &Http, to: &Path) -> Result<(), StoreError> {
    let to = to.to_owned();
    let mut new = blocking(move || NewBackup::create(&to)).await?;
    let (seq, identity, records) = intent(http).await?;
    new = put(new, move |new| new.identify(&identity)).await?;
    new = put(new, move |new| new.put(&Rows { records, ..Rows::default() })).await?;
    let mut before = seq + 1;
    loop {
        let page = http.query(Level::Strong, &[statement(JOURNAL, [json!(before), json!(AT_ONCE)])]).await?;
        let rows = page.iter().flat_map(|answered| &answered.values);
        let journal = rows.map(|row| entry(http, row)).collect::<Result<Vec<_>, _>>()?;
        let Some(oldest) = journal.last() else { break };
        before = oldest.seq;
        new = put(new, move |new| new.put(&Rows { journal, ..Rows::default() })).await?;
    }
    let mut host = String::new();
    loop {
        let page = http.query(Level::Strong, &[statement(INVENTORY, [json!(host), json!(AT_ONCE)])]).await?;
        let rows = page.iter().flat_map(|answered| &answered.values).filter(|row| row.len() == 2);
        let inventory: Vec<(String, String)> = rows.map(|row| (text(&row[0]), text(&row[1]))).collect();
        let Some((last, _)) = inventory.last() else { break };
        host.clone_from(last);
        new = put(new, move |new| new.put(&Rows { inventory, ..Rows::default() })).await?;
    }
    blocking(move || new.publish()).await
}

async fn put(
    mut new: NewBackup,
    work: impl FnOnce(&mut NewBackup) -> Result<(), StoreError> + Send + 'static,
) -> Result<NewBackup, StoreError> {
    blocking(move || {
        work(&mut new)?;
        Ok(new)
    })
    .await
}

type Intent = (i64, Identity, Vec<(String, String, String)>);

/// The last number, whose it is, and every record.
async fn intent(http: &Http) -> Result<Intent, StoreError> {
    let answered = http.query(Level::Strong, &[statement(LOAD, [])]).await?;
    let (mut seq, mut server, mut epoch, mut records) = (None, None, None, Vec::new());
    for row in answered.iter().flat_map(|answered| &answered.values) {
        let (kind, id, value) = three(http, row)?;
        let value = value.unwrap_or_default();
        match (kind.as_str(), id.as_str()) {
            ("", "") => seq = value.parse().ok(),
            ("", "server") => server = Some(value),
            ("", "epoch") => epoch = value.parse().ok(),
            ("", _) => {}
            _ => records.push((kind, id, value)),
        }
    }
    let (Some(seq), Some(server), Some(epoch)) = (seq, server, epoch) else {
        let detail = "it does not say whose it is".to_owned();
        return Err(StoreError::Damaged { place: http.place.clone(), detail });
    };
    Ok((seq, Identity { server, epoch }, records))
}

/// Fills the database from a backup.
pub(super) async fn restore(http: &Http, backup: &Path, existing: Existing) -> Result<(), StoreError> {
    let (mut carried, identity) = Carried::open(backup).await?;
    // What an unfinished restore left behind is nobody's data.
    let is_whole = schema::migrate(http).await? == State::Whole;
    if existing == Existing::Keep && is_whole && holds_something(http).await? {
        return Err(StoreError::NotEmpty(http.place.clone()));
    }
    let meta = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    let set = |key: &str, value: &str| statement(meta, [json!(key), json!(value)]);
    let mut begin = vec![set(RESTORING, "a backup"), set("fence", &unguessable())];
    begin.extend(
        ["records", "journal", "inventory", "leases"]
            .map(|table| statement(&format!("DELETE FROM {table}"), [])),
    );
    http.repeatable(&begin).await?;
    while let Some(rows) = carried.next().await? {
        http.repeatable(&fill(&rows)).await?;
    }
    let Identity { server, epoch } = identity;
    let end = statement("DELETE FROM meta WHERE key = ?1", [json!(RESTORING)]);
    http.repeatable(&[set("server", &server), set("epoch", &epoch.to_string()), end]).await.map(drop)
}

async fn holds_something(http: &Http) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM records) OR EXISTS (SELECT 1 FROM journal)";
    let answered = http.query(Level::Strong, &[statement(sql, [])]).await?;
    let value = answered.first().and_then(|answered| answered.values.first()).and_then(|row| row.first());
    Ok(value.is_some_and(|value| integer(value) == 1))
}

fn fill(rows: &Rows) -> Vec<Statement> {
    let list = |rows: Vec<Value>| Value::from(Value::Array(rows).to_string());
    let records = "
        INSERT OR REPLACE INTO records (kind, id, json)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)";
    let journal = "
        INSERT OR REPLACE INTO journal (seq, time, actor, command, records)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1)";
    let inventory = "
        INSERT OR REPLACE INTO inventory (host, json) SELECT value ->> 0, value ->> 1 FROM json_each(?1)";
    let entries =
        rows.journal.iter().map(|row| json!([row.seq, row.time, row.actor, row.command, row.records]));
    vec![
        statement(records, [list(rows.records.iter().map(|row| json!(row)).collect())]),
        statement(journal, [list(entries.collect())]),
        statement(inventory, [list(rows.inventory.iter().map(|row| json!(row)).collect())]),
    ]
}
