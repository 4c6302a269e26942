//! A change in the making: intent as it will be, and the records that make it so.
//!
//! Not for what touches one record alone. It keeps true that each record is in the change at most once, as it was before and
//! as it is at last, and that what is decided later in a change sees what was decided earlier.

use std::collections::BTreeSet;

use crate::{Intent, Record, RecordChange, RecordKey};

/// A change in the making.
pub(super) struct Draft {
    now: Intent,
    touched: Vec<(RecordKey, Option<Record>)>,
    seen: BTreeSet<RecordKey>,
}

impl Draft {
    pub(super) fn of(intent: &Intent) -> Self {
        Self { now: intent.clone(), touched: Vec::new(), seen: BTreeSet::new() }
    }

    /// Intent as it will be, as far as the change is made.
    pub(super) fn now(&self) -> &Intent {
        &self.now
    }

    /// Makes a record, or makes it another.
    pub(super) fn put(&mut self, record: impl Into<Record>) {
        let record = record.into();
        self.remove(record.key());
        self.now.insert(record);
    }

    /// Removes a record.
    pub(super) fn remove(&mut self, key: impl Into<RecordKey>) {
        let key = key.into();
        let before = self.now.remove(key);
        if self.seen.insert(key) {
            self.touched.push((key, before));
        }
    }

    /// The change: what differs from before.
    pub(super) fn finish(mut self) -> Vec<RecordChange> {
        let mut changes = Vec::with_capacity(self.touched.len());
        for (key, before) in self.touched {
            let after = self.now.remove(key);
            if before != after {
                changes.push(RecordChange { before, after });
            }
        }
        changes
    }
}
