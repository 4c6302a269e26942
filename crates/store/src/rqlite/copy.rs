//! Backups of rqlite, and back.
//!
//! Not for rqlite's own backups, which hold what is only rqlite's. A backup is of one instant: records and the last number
//! come from one statement, and what the journal holds up to that number never changes. A restore takes many requests; a
//! word in the database says until the end that it is not finished, and no server opens it before.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::http::{Http, Level, Statement, statement};
use super::schema::{self, RESTORING, State};
use super::statements::{LOAD, entry, integer, text, three};
use crate::neutral::{AT_ONCE, Carried, Identity, Rows, Writing};
use crate::rows::unguessable;
use crate::sqlite::sql::{JOURNAL, NEXT_INVENTORY};
use crate::{Existing, StoreError};

const INVENTORY: &str = "SELECT host, json FROM inventory WHERE host > ?1 ORDER BY host LIMIT ?2";

/// Writes a backup into a new file.
pub(super) async fn backup(http: &Http, to: PathBuf) -> Result<(), StoreError> {
    let new = Writing::create(to).await?;
    let (seq, identity, records) = intent(http).await?;
    let new = new.identify(identity).await?;
    let mut new = new.put(Rows { records, ..Rows::default() }).await?;
    let mut before = seq + 1;
    loop {
        let page = http.query(Level::Strong, &[statement(JOURNAL, [json!(before), json!(AT_ONCE)])]).await?;
        let rows = page.iter().flat_map(|answered| &answered.values);
        let journal = rows.map(|row| entry(http, row)).collect::<Result<Vec<_>, _>>()?;
        let Some(oldest) = journal.last() else { break };
        before = oldest.seq;
        new = new.put(Rows { journal, ..Rows::default() }).await?;
    }
    let mut host = String::new();
    loop {
        let page = http.query(Level::Strong, &[statement(INVENTORY, [json!(host), json!(AT_ONCE)])]).await?;
        let rows = page.iter().flat_map(|answered| &answered.values).filter(|row| row.len() == 2);
        let inventory: Vec<(String, String)> = rows.map(|row| (text(&row[0]), text(&row[1]))).collect();
        let Some((last, _)) = inventory.last() else { break };
        host.clone_from(last);
        new = new.put(Rows { inventory, ..Rows::default() }).await?;
    }
    new.publish().await
}

type Intent = (i64, Identity, Vec<(String, String, String)>);

/// The last number, whose it is, and every record.
async fn intent(http: &Http) -> Result<Intent, StoreError> {
    let answered = http.query(Level::Strong, &[statement(LOAD, [])]).await?;
    let (mut seq, mut server, mut epoch, mut servers, mut records) = (None, None, None, None, Vec::new());
    for row in answered.iter().flat_map(|answered| &answered.values) {
        let (kind, id, value) = three(http, row)?;
        let value = value.unwrap_or_default();
        match (kind.as_str(), id.as_str()) {
            ("", "") => seq = value.parse().ok(),
            ("", "server") => server = Some(value),
            ("", "epoch") => epoch = value.parse().ok(),
            ("", "identity") => servers = Some(value),
            ("", _) => {}
            _ => records.push((kind, id, value)),
        }
    }
    let (Some(seq), Some(server), Some(epoch)) = (seq, server, epoch) else {
        let detail = "it does not say whose it is".to_owned();
        return Err(StoreError::Damaged { place: http.place.clone(), detail });
    };
    Ok((seq, Identity { server, epoch, servers }, records))
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
    begin.push(statement("DELETE FROM meta WHERE key = 'identity'", []));
    begin.push(statement(NEXT_INVENTORY, [Value::Null]));
    http.repeatable(&begin).await?;
    while let Some(rows) = carried.next().await? {
        http.repeatable(&fill(&rows)).await?;
    }
    let Identity { server, epoch, servers } = identity;
    let mut end = vec![set("server", &server), set("epoch", &epoch.to_string())];
    end.extend(servers.iter().map(|servers| set("identity", servers)));
    end.push(statement("DELETE FROM meta WHERE key = ?1", [json!(RESTORING)]));
    http.repeatable(&end).await.map(drop)
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
        INSERT OR REPLACE INTO inventory (host, json, version)
        SELECT new.value ->> 0, new.value ->> 1, CAST(meta.value AS INTEGER)
        FROM json_each(?1) AS new, meta WHERE meta.key = 'inventory'";
    let entries =
        rows.journal.iter().map(|row| json!([row.seq, row.time, row.actor, row.command, row.records]));
    vec![
        statement(records, [list(rows.records.iter().map(|row| json!(row)).collect())]),
        statement(journal, [list(entries.collect())]),
        statement(inventory, [list(rows.inventory.iter().map(|row| json!(row)).collect())]),
    ]
}
