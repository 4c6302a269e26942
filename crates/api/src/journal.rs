//! The journal: who changed what and when. It is the audit log.

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::schema;

/// One record before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordChange {
    /// What kind of record.
    #[schema(example = "network")]
    pub kind: String,
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: String,
    /// As it was, without secrets; null for one that was made.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// As it is since, without secrets; null for one that was removed.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalEntry {
    /// Its number; numbers only grow.
    pub seq: u64,
    /// When it was committed.
    #[schema(value_type = schema::Timestamp)]
    pub time: Timestamp,
    /// Who asked for it, in words that stay true when the account is gone.
    #[schema(example = "user alice")]
    pub actor: String,
    /// What was asked for.
    #[schema(example = "create-network")]
    pub command: String,
    /// What it did.
    pub changes: Vec<RecordChange>,
}
