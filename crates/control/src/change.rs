//! A change: what a command does to the records, fully specific, so that doing it again needs neither luck nor a clock.
//!
//! Not for deciding. It keeps true that a change names every record it touches as it was before and as it is after.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Noun, Record, RecordKey};

/// Who made a change, in words that stay true when the account is gone: `user anna`, `host web-01`, `system`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorName(String);

impl ActorName {
    /// Wraps words as the journal keeps them.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One record before and after. At least one of the two is there, and both have the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// As it was; none for a record that is made.
    pub before: Option<Record>,
    /// As it is from now on; none for a record that is removed.
    pub after: Option<Record>,
}

impl RecordChange {
    /// A record that is made.
    pub fn made(after: impl Into<Record>) -> Self {
        Self { before: None, after: Some(after.into()) }
    }

    /// A record that becomes another.
    pub fn changed(before: impl Into<Record>, after: impl Into<Record>) -> Self {
        Self { before: Some(before.into()), after: Some(after.into()) }
    }

    /// A record that is removed.
    pub fn removed(before: impl Into<Record>) -> Self {
        Self { before: Some(before.into()), after: None }
    }

    /// The record's key; none only for a change of nothing, which `decide` never makes.
    pub fn key(&self) -> Option<RecordKey> {
        self.after.as_ref().or(self.before.as_ref()).map(Record::key)
    }
}

/// What one command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who gave the command.
    pub actor: ActorName,
    /// The command's name, such as `create-network`.
    pub command: Cow<'static, str>,
    /// What it does; each record at most once.
    pub records: Vec<RecordChange>,
}

impl Change {
    /// Whether it changes nothing; then there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The first of these nouns that it makes.
    pub fn made<T: Noun>(&self) -> Option<&T> {
        let made = self.records.iter().filter(|change| change.before.is_none());
        made.filter_map(|change| change.after.as_ref()).find_map(Record::noun)
    }
}
