//! Export and import of all that people want.
//!
//! Not for deciding what may change: that is one command. It keeps true that nothing secret is in a document, nor read out of
//! one, and that a document means all that it says: a field that nobody knows is refused.

use std::collections::BTreeMap;

use anyhow::Context as _;
use api::{Export, ImportChange, ImportQuery, Imported, ImportedRecord, Problem, ProblemKind};
use axum::Json;
use axum::extract::State;
use control::{Change, Command, Intent, Kind, Record, RecordChange, RecordKey, authorise_administration};
use serde_json::Value;

use super::body::{Body, Params};
use super::caller::{Caller, Reader};
use super::tried::tried_everywhere;
use super::{Answer, Failure, Problems, Shared};
use crate::brain::now;

/// What stands where a record has a secret, as long as nobody has decided on it: that puts in what is there.
const NO_SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

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
    Params(ImportQuery { prune, dry_run, seq: seen }): Params<ImportQuery>,
    Body(document): Body<Export>,
) -> Answer<Imported> {
    let intent = admin.parts.brain.intent();
    authorise_administration(&intent, &caller.actor, "import")?;
    let read = tokio::task::spawn_blocking(move || read(document)).await;
    let Read { records, keys } = read.context("an import broke")??;
    let command = Command::Import { records, prune, seen };
    let (mut records, seq, access) = if dry_run {
        let seq = intent.seq();
        let tried = tried_everywhere(&admin, intent, caller.actor, command).await?;
        (said(&tried.change), seq, Some(tried.access))
    } else {
        let committed = admin.submit(caller.actor, command).await?;
        (said(&committed.change), committed.intent.seq(), None)
    };
    let here = admin.parts.brain.intent();
    records.extend(keys.into_iter().filter(|(key, _)| here.record(*key).is_none()).map(|(_, key)| key));
    Ok(Json(Imported { dry_run, seq, records, access, time: now() }))
}

/// What a document holds.
struct Read {
    records: Vec<Record>,
    /// The enrollment keys, as they are told of where they stay out.
    keys: Vec<(RecordKey, ImportedRecord)>,
}

fn read(document: Export) -> Result<Read, Failure> {
    let Export { format, records, .. } = document;
    if format != Export::FORMAT {
        let detail = format!(
            "the document has format {format}, and this server knows format {}; take a server that is as new as the one that \
             wrote it",
            Export::FORMAT
        );
        return Err(Failure::new(ProblemKind::Invalid, detail));
    }
    let mut read = Read { records: Vec::new(), keys: Vec::new() };
    for (called, values) in records {
        let kind = called.parse().ok().filter(|kind| *kind != Kind::ApiToken);
        let kind: Kind = kind
            .ok_or_else(|| wrong(&called, 0, &Wrong::of("there is no such kind of record in a document")))?;
        for (at, value) in values.into_iter().enumerate() {
            let record = record(kind, value).map_err(|why| wrong(&called, at, &why))?;
            if kind == Kind::EnrollmentKey {
                read.keys.push((record.key(), concerned(&record, ImportChange::LeftOut)));
            }
            read.records.push(record);
        }
    }
    Ok(read)
}

/// What is wrong with a record.
struct Wrong {
    /// With which field of it, where it is one field.
    field: Option<String>,
    why: String,
}

impl Wrong {
    fn of(why: impl ToString) -> Self {
        Self { field: None, why: why.to_string() }
    }
}

fn wrong(kind: &str, at: usize, wrong: &Wrong) -> Failure {
    let short = |text: &str| -> String { text.chars().take(64).collect() };
    let field = wrong.field.as_ref().map(|field| format!(".{}", short(field))).unwrap_or_default();
    Problem::of_field(&format!("records.{}[{at}]{field}", short(kind)), &wrong.why).into()
}

/// A record of a document, with nothing in place of what is secret of it.
fn record(kind: Kind, mut value: Value) -> Result<Record, Wrong> {
    let fields = value.as_object_mut().ok_or_else(|| Wrong::of("it is no object"))?;
    for field in kind.secret_fields() {
        if fields.insert((*field).to_owned(), NO_SECRET.into()).is_some() {
            let why = "it is secret, and no document has it; leave it out: what is here stays".to_owned();
            return Err(Wrong { field: Some((*field).to_owned()), why });
        }
    }
    let record = Record::deserialize_as(kind, &value).map_err(Wrong::of)?;
    let understood = value_of(&record).map_err(Wrong::of)?;
    match unknown(&value, &understood) {
        None => Ok(record),
        field => Err(Wrong { field, why: "there is no such field".to_owned() }),
    }
}

/// The first field that a record was given with and that means nothing: it is not in what was understood. What says nothing,
/// such as `null` or an empty list, may be left out there.
fn unknown(given: &Value, understood: &Value) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            given.iter().find_map(|(name, value)| match understood.get(name) {
                Some(understood) => unknown(value, understood).map(|inner| format!("{name}.{inner}")),
                None => (!says_nothing(value)).then(|| name.clone()),
            })
        }
        (Value::Array(given), Value::Array(understood)) => {
            given.iter().zip(understood).find_map(|(given, understood)| unknown(given, understood))
        }
        (_, _) => None,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::Number(_) | Value::String(_) => false,
    }
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
        Some(concerned(record, change))
    };
    change.records.iter().filter_map(one).collect()
}

fn concerned(record: &Record, change: ImportChange) -> ImportedRecord {
    let key = record.key();
    let name = value_of(record).ok().as_ref().and_then(name);
    ImportedRecord { kind: key.kind.to_string(), id: key.id_text(), name, change }
}
