//! The DNS records of a network, as they travel: apart from the [`Membership`](crate::Membership), so that one record that
//! changes costs one record, however many there are.
//!
//! Not for what a record means. It keeps true that a map's records are ordered, each there once.

use std::collections::BTreeSet;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use miniz_oxide::deflate::compress_to_vec;
use model::ToldRecord;
use sha2::{Digest as _, Sha256};

use crate::parts::LEVEL;

/// What changes of one network's records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct RecordsChange {
    /// Records that are gone, ordered.
    #[cbor(n(0), default, skip_if = "Vec::is_empty")]
    pub gone: Vec<ToldRecord>,
    /// Records that are new, ordered.
    #[cbor(n(1), default, skip_if = "Vec::is_empty")]
    pub come: Vec<ToldRecord>,
}

impl RecordsChange {
    /// What leads from these records to those.
    pub fn between(from: &[ToldRecord], to: &[ToldRecord]) -> Self {
        let only_in = |these: &[ToldRecord], those: &[ToldRecord]| {
            let those: BTreeSet<&ToldRecord> = those.iter().collect();
            let these: BTreeSet<&ToldRecord> = these.iter().collect();
            these.difference(&those).map(|record| (*record).clone()).collect()
        };
        if from == to {
            return Self::default();
        }
        Self { gone: only_in(from, to), come: only_in(to, from) }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty()
    }

    /// Changes a network's records.
    pub(crate) fn apply(self, records: &mut Vec<ToldRecord>) {
        let gone: BTreeSet<ToldRecord> = self.gone.into_iter().collect();
        records.retain(|record| !gone.contains(record));
        records.extend(self.come);
        records.sort_unstable();
        records.dedup();
    }
}

/// By what two sides find out whether they hold the same records: a sum, so that one record can change without a look at the
/// others. For each, the first eight bytes, little endian, of SHA-256 over its encoding.
pub fn records_digest<'a>(records: impl IntoIterator<Item = &'a ToldRecord>) -> u64 {
    let digest = |record: &ToldRecord| {
        let hash = Sha256::digest(crate::encode(record));
        hash.iter().take(8).rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
    };
    records.into_iter().map(digest).fold(0, u64::wrapping_add)
}

/// Packs all records of a network, which must be ordered: what is in a [`Part`](crate::Part) of records.
pub fn pack_records<'a>(records: impl ExactSizeIterator<Item = &'a ToldRecord>) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    crate::append(&mut bytes, |encoder| encoder.array(records.len() as u64)?.ok());
    for record in records {
        crate::append(&mut bytes, |encoder| encoder.encode(record)?.ok());
    }
    compress_to_vec(&bytes, LEVEL).into()
}
