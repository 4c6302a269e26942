//! The requests that a commit is.
//!
//! Not for what to do when an answer is lost (`crate::commit`). It keeps true that the request does all of a group or nothing:
//! its first statement fails, and with it the transaction, unless the fence is the one we know and the number the next one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::http::{Answered, Failure, Http, Level, Statement, statement};
use super::statements::{integer, text};
use crate::StoreError;
use crate::commit::{Attempt, Line, Seen};
use crate::rows::{JournalRow, Written, epoch_text};

/// A row that the table does not take, unless all is as it must be: `?1` fence, `?2` first number, `?3` epoch.
const GUARD: &str = "
    INSERT INTO journal (seq, time, actor, command, records) SELECT 0, NULL, '', '', ''
    WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'fence' AND value = ?1)
        OR (SELECT coalesce(max(seq), 0) FROM journal) + 1 <> ?2
        OR (?3 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM meta WHERE key = 'epoch' AND value = ?3))";
const GONE: &str = "
    DELETE FROM records WHERE (kind, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";
const PUT: &str = "
    INSERT INTO records (kind, id, json)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
    ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json";
const NOTE: &str = "
    INSERT INTO journal (seq, time, actor, command, records, mark)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2 FROM json_each(?1)";
const LOOK: &str = "
    SELECT (SELECT coalesce(max(seq), 0) FROM journal), (SELECT value FROM meta WHERE key = 'fence'),
        (SELECT mark FROM journal WHERE seq = ?1), EXISTS (SELECT 1 FROM journal WHERE seq = ?1),
        (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch')";
/// Only in place of the fence that we know: were this carried out late, it would change nothing.
const FENCE: &str = "UPDATE meta SET value = ?1 WHERE key = 'fence' AND value = ?2";
/// The database's own word for a guard that held, or a number that somebody else had first.
const CONSTRAINT: &str = "constraint failed";

/// The way of commits to the cluster.
pub(super) struct CommitLine {
    http: Arc<Http>,
    fence: Option<String>,
}

impl CommitLine {
    pub(super) fn new(http: Arc<Http>) -> Self {
        Self { http, fence: None }
    }

    async fn fence(&mut self) -> Result<String, StoreError> {
        if let Some(fence) = &self.fence {
            return Ok(fence.clone());
        }
        let answered = self.http.query(Level::Strong, &[statement(LOOK, [json!(0)])]).await?;
        self.read(&answered)?;
        self.fence.clone().ok_or(StoreError::Gone)
    }

    /// What was looked at is the last answer's only row.
    fn read(&mut self, answered: &[Answered]) -> Result<Seen, StoreError> {
        let damaged =
            |detail: &str| StoreError::Damaged { place: self.http.place.clone(), detail: detail.to_owned() };
        let row = answered.last().and_then(|last| last.values.first());
        let row = row.filter(|row| row.len() == 5).ok_or_else(|| damaged("a row is missing"))?;
        let fence = row[1].as_str().ok_or_else(|| damaged("its fence is missing"))?;
        self.fence = Some(fence.to_owned());
        // A commit without a mark is of an older version or from a backup, and in any case not ours.
        let there = integer(&row[3]) == 1;
        let epoch = u32::try_from(integer(&row[4])).unwrap_or_default();
        Ok(Seen { last: integer(&row[0]).unsigned_abs(), mark: there.then(|| text(&row[2])), epoch })
    }
}

/// The rows as one text: a list of lists.
fn list(rows: impl Iterator<Item = Value>) -> Value {
    Value::from(Value::Array(rows.collect()).to_string())
}

fn statements(group: &Written, fence: &str) -> Vec<Statement> {
    let gone: Vec<_> = group.records.iter().filter(|row| row.json.is_none()).collect();
    let put: Vec<_> = group.records.iter().filter(|row| row.json.is_some()).collect();
    let note = |row: &JournalRow| json!([row.seq, row.time, row.actor, row.command, row.records]);
    let mut all = vec![statement(GUARD, [json!(fence), json!(group.first), json!(epoch_text(group.epoch))])];
    if !gone.is_empty() {
        all.push(statement(GONE, [list(gone.iter().map(|row| json!([row.kind, row.id])))]));
    }
    if !put.is_empty() {
        all.push(statement(PUT, [list(put.iter().map(|row| json!([row.kind, row.id, row.json])))]));
    }
    all.push(statement(NOTE, [list(group.journal.iter().map(note)), json!(group.mark)]));
    all
}

impl Line for CommitLine {
    async fn attempt(&mut self, group: &Written) -> Attempt {
        let fence = match self.fence().await {
            Ok(fence) => fence,
            Err(error) => return Attempt::Failed(error),
        };
        match self.http.once(&statements(group, &fence)).await {
            Ok(_) => Attempt::Done,
            Err(Failure::Statement(error)) if error.contains(CONSTRAINT) => Attempt::Refused,
            Err(Failure::Unsent(error)) => Attempt::Unsent(error),
            Err(Failure::Lost(error)) => Attempt::Lost(error),
            Err(failure @ (Failure::Refused(_) | Failure::Statement(_))) => {
                Attempt::Failed(failure.error(&self.http.place))
            }
        }
    }

    async fn look(&mut self, at: u64, new_fence: Option<&str>) -> Result<Seen, StoreError> {
        let look = statement(LOOK, [json!(at)]);
        let answered = match new_fence {
            Some(fence) => {
                self.http.look(&[statement(FENCE, [json!(fence), json!(self.fence)]), look]).await?
            }
            None => self.http.query(Level::Strong, &[look]).await?,
        };
        self.read(&answered)
    }
}
