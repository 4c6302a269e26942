//! Export and import: all that people want, as a document that they can read, compare, keep beside their code, and give back.
//!
//! No backup: passwords, digests of secrets and log-ins are not in it.

use std::collections::BTreeMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{AccessChange, schema};

/// The largest document that is read, in bytes.
pub const MOST_IMPORT: usize = 64 * 1024 * 1024;

/// All that people want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The format's number: 1. A server reads no newer one than it knows.
    #[schema(example = 1)]
    pub format: u32,
    /// What the server calls itself.
    #[serde(default)]
    pub server: String,
    /// The number of the last change that is in it.
    #[serde(default)]
    pub seq: u64,
    /// The records by kind, each kind by id. Same records, same text.
    #[schema(value_type = BTreeMap<String, Vec<Object>>)]
    pub records: BTreeMap<String, Vec<Value>>,
}

impl Export {
    /// The format that is written.
    pub const FORMAT: u32 = 1;
}

/// How a document is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Remove what is not in the document, too
    #[serde(default)]
    pub prune: bool,
    /// Only say what would change
    #[serde(default)]
    pub dry_run: bool,
    /// Only if this is still the number of the last change, as a dry run told it (`seq`); else nothing is changed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportChange {
    /// It is new.
    Made,
    /// It is other than before.
    Changed,
    /// It is gone.
    Removed,
    /// It stays out: what is secret of it is in no document. Make it anew.
    LeftOut,
}

/// A record that an import concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportedRecord {
    /// What kind of record.
    #[schema(example = "policy")]
    pub kind: String,
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: String,
    /// What people call it, where it has a name.
    pub name: Option<String>,
    /// What happened to it.
    pub change: ImportChange,
}

/// What an import did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Whether it was only looked.
    pub dry_run: bool,
    /// The number of the last change.
    pub seq: u64,
    /// The records that it concerns; those that are as they were are not named.
    pub records: Vec<ImportedRecord>,
    /// After a dry run: who would gain and who would lose access, in all networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessChange>,
    /// When.
    #[schema(value_type = schema::Timestamp)]
    pub time: Timestamp,
}
