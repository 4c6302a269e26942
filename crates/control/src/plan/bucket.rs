//! A bucket: some members of one section in one form, encoded once and packed once.

use std::sync::{Arc, OnceLock};

use model::MemberId;
use wire::{Entry, pack};

/// The members of one section of a network whose ids end in the same byte, ordered, in one form.
#[derive(Debug, Default)]
pub struct Bucket {
    entries: Vec<Entry>,
    digest: u64,
    packed: OnceLock<Arc<[u8]>>,
}

/// What was packed follows from the entries.
impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.digest == other.digest
    }
}

impl Bucket {
    fn new(entries: Vec<Entry>) -> Self {
        let digest = entries.iter().map(Entry::digest).fold(0, u64::wrapping_add);
        Self { entries, digest, packed: OnceLock::new() }
    }

    /// Its entries, by member.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The sum of its entries' digests.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// As it travels. The first who asks waits until it is packed.
    pub fn packed(&self) -> Arc<[u8]> {
        Arc::clone(self.packed.get_or_init(|| pack(self.entries.iter())))
    }

    pub(super) fn entry(&self, member: MemberId) -> Option<&Entry> {
        self.entries.binary_search_by_key(&member, Entry::member).ok().map(|at| &self.entries[at])
    }

    /// The bucket with these entries put in or taken out; none where that makes no difference.
    pub(super) fn changed<'a>(
        &self,
        changes: impl Iterator<Item = (MemberId, &'a Option<Entry>)> + Clone,
    ) -> Option<Self> {
        if changes.clone().all(|(member, entry)| self.entry(member) == entry.as_ref()) {
            return None;
        }
        let mut entries = self.entries.clone();
        for (member, entry) in changes {
            match (entries.binary_search_by_key(&member, Entry::member), entry) {
                (Ok(at), Some(entry)) => entries[at] = entry.clone(),
                (Ok(at), None) => drop(entries.remove(at)),
                (Err(at), Some(entry)) => entries.insert(at, entry.clone()),
                (Err(_), None) => {}
            }
        }
        Some(Self::new(entries))
    }
}
