//! Export and import of all that people want.
//!
//! Not for deciding what may change: that is one command. It keeps true that nothing secret is in a document, and that what is
//! secret of a record that is there stays as it is when the record is imported.

use std::collections::BTreeMap;

use anyhow::Context as _;
use api::{Export, ImportChange, ImportQuery, Imported, ImportedRecord, Problem, ProblemKind};
use axum::Json;
use axum::extract::State;
use control::{
    Change, Command, Env, Intent, Kind, Record, RecordChange, RecordKey, authorise_administration, decide,
};
use serde_json::Value;

use super::body::{Body, Params};
use super::caller::{Caller, Reader};
use super::{Answer, Failure, Problems, Shared};
use crate::brain::now;

/// A hash that no password has: for accounts that a document brings anew.
const NO_PASSWORD: &str = "none";

/// All that people want, as JSON without secrets
#[utoipa::path(get, path = "/api/v1/export", tag = "server", responses((status = 200, body = Export), Problems))]
pub(super) async fn export(State(admin): State<Shared>, reader: Reader) -> Answer<Export> {
    let server = admin.parts.settings.name.to_string();
    let intent = reader.intent;
    let written = tokio::task::spawn_blocking(move || write(server, &intent)).await;
    Ok(Json(written.context("an export broke")??))
}

fn write(server: String, intent: &Intent) -> anyhow::Result<Export> {
    let mut records: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in intent.records() {
        let kind = record.key().kind;
        if kind == Kind::ApiToken {
            continue;
        }
        let mut value = value_of(&record)?;
        for field in kind.secret_fields() {
            value.as_object_mut().and_then(|fields| fields.remove(*field));
        }
        records.entry(kind.to_string()).or_default().push(value);
    }
    Ok(Export { format: Export::FORMAT, server, seq: intent.seq(), records })
}

fn value_of(record: &Record) -> anyhow::Result<Value> {
    serde_json::to_value(record).context("a record cannot be written")
}

/// Bring everything to what a document says, or look what that would change
#[utoipa::path(post, path = "/api/v1/import", tag = "server", params(ImportQuery), request_body = Export,
    responses((status = 200, body = Imported), Problems))]
pub(super) async fn import(
    State(admin): State<Shared>,
    caller: Caller,
    Params(ImportQuery { prune, dry_run }): Params<ImportQuery>,
    Body(document): Body<Export>,
) -> Answer<Imported> {
    let intent = admin.parts.brain.intent();
    authorise_administration(&intent, &caller.actor, "import")?;
    let known = Intent::clone(&intent);
    let read = tokio::task::spawn_blocking(move || read(&known, document)).await;
    let Read { records, left_out } = read.context("an import broke")??;
    let command = Command::Import { records, prune };
    let (change, seq) = if dry_run {
        let (domain, actor) = (admin.parts.settings.domain.clone(), caller.actor);
        let seq = intent.seq();
        let tried = tokio::task::spawn_blocking(move || {
            // Nothing that an import makes is random.
            let env = &mut Env { now: now(), domain: &domain, random: &mut |_| {} };
            decide(&intent, &actor, command, env)
        });
        (tried.await.context("an import broke")??.into(), seq)
    } else {
        let committed = admin.submit(caller.actor, command).await?;
        (committed.change, committed.intent.seq())
    };
    let mut records = said(&change);
    records.extend(left_out);
    Ok(Json(Imported { dry_run, seq, records, time: now() }))
}

/// What a document holds.
struct Read {
    records: Vec<Record>,
    left_out: Vec<ImportedRecord>,
}

fn read(intent: &Intent, document: Export) -> Result<Read, Failure> {
    let Export { format, records, .. } = document;
    if format != Export::FORMAT {
        let detail = format!(
            "the document has format {format}, and this server knows format {}; take a server that is as new as the one that \
             wrote it",
            Export::FORMAT
        );
        return Err(Failure::new(ProblemKind::Invalid, detail));
    }
    let mut read = Read { records: Vec::new(), left_out: Vec::new() };
    for (name, values) in records {
        let kind = name.parse().ok().filter(|kind| *kind != Kind::ApiToken);
        let kind: Kind =
            kind.ok_or_else(|| wrong(&name, 0, "there is no such kind of record in a document"))?;
        for (at, value) in values.into_iter().enumerate() {
            match record(intent, kind, value).map_err(|why| wrong(&name, at, &why))? {
                Ok(record) => read.records.push(record),
                Err(left_out) => read.left_out.push(left_out),
            }
        }
    }
    Ok(read)
}

fn wrong(kind: &str, at: usize, why: &str) -> Failure {
    let kind: String = kind.chars().take(64).collect();
    Problem::of_field(&format!("records.{kind}[{at}]"), why).into()
}

/// A record with what is secret of it, as it is here. Left out where that makes no sense.
fn record(intent: &Intent, kind: Kind, mut value: Value) -> Result<Result<Record, ImportedRecord>, String> {
    let id = value.get("id").and_then(Value::as_str).ok_or("it has no id")?.to_owned();
    let key = RecordKey::parse(kind, &id).map_err(|error| error.to_string())?;
    let fields = value.as_object_mut().ok_or("it is no object")?;
    for field in kind.secret_fields() {
        let there = intent.record(key).map(|there| value_of(&there)).transpose();
        let there = there.map_err(|error| error.to_string())?;
        let secret = there.and_then(|there| there.get(*field).cloned());
        match (secret, kind) {
            (Some(secret), _) => drop(fields.insert((*field).to_owned(), secret)),
            (None, Kind::User) => drop(fields.insert((*field).to_owned(), NO_PASSWORD.into())),
            (None, _) => {
                let name = name(&value);
                return Ok(Err(ImportedRecord {
                    kind: kind.to_string(),
                    id,
                    name,
                    change: ImportChange::LeftOut,
                }));
            }
        }
    }
    Record::deserialize_as(kind, value).map(Ok).map_err(|error| error.to_string())
}

/// What people call a record.
fn name(value: &Value) -> Option<String> {
    let name = ["name", "title", "domain"].iter().find_map(|field| value.get(*field)?.as_str());
    name.map(str::to_owned)
}

fn said(change: &Change) -> Vec<ImportedRecord> {
    let one = |RecordChange { before, after }: &RecordChange| {
        let (record, change) = match (before, after) {
            (None, Some(after)) => (after, ImportChange::Made),
            (Some(before), None) => (before, ImportChange::Removed),
            (Some(_), Some(after)) => (after, ImportChange::Changed),
            (None, None) => return None,
        };
        let key = record.key();
        let name = value_of(record).ok().as_ref().and_then(name);
        Some(ImportedRecord { kind: key.kind.to_string(), id: key.id_text(), name, change })
    };
    change.records.iter().filter_map(one).collect()
}
