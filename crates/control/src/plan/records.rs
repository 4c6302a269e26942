//! The DNS records of a network as all are told of them who take part in it: what changes of them, and all of them in one
//! piece, made once for everybody.
//!
//! Not for what members are called. It keeps true that a change of one record costs that record, however many there are, and
//! that whoever comes into a network with records fetches them with the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use imbl::OrdMap;
use model::{DnsName, DnsRecord, NetworkId, ToldRecord};
use wire::{RecordsChange, RecordsPart, pack_records, records_digest};

use super::section::Place;
use super::{Roster, Touched};
use crate::Intent;

/// The most bytes of records in one delta. A host that is to hear of more fetches what was packed once for everybody.
const MOST_BYTES: usize = 16 * 1024;

/// All records of one network.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// By name; what stands at one name is ordered.
    at: OrdMap<Option<DnsName>, Arc<[ToldRecord]>>,
    count: usize,
    digest: u64,
    packed: Arc<OnceLock<Arc<[u8]>>>,
}

/// What was packed follows from the rest.
impl PartialEq for Book {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.digest == other.digest && self.count == other.count
    }
}

impl Book {
    /// With what stands at this name now; none where that makes no difference.
    fn changed(&self, intent: &Intent, network: NetworkId, name: &Option<DnsName>) -> Option<Self> {
        let now = told(intent.dns_records_at(network, name.as_ref()));
        let was = self.at(name);
        if was == now {
            return None;
        }
        let digest = self.digest.wrapping_sub(records_digest(was)).wrapping_add(records_digest(&now));
        let count = self.count - was.len() + now.len();
        let mut at = self.at.clone();
        match now.is_empty() {
            true => drop(at.remove(name)),
            false => drop(at.insert(name.clone(), now.into())),
        }
        Some(Self { at, count, digest, packed: Arc::default() })
    }

    fn at(&self, name: &Option<DnsName>) -> &[ToldRecord] {
        self.at.get(name).map(AsRef::as_ref).unwrap_or_default()
    }

    /// The sum of the digests of its records.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// As it travels whole. The first who asks waits until it is packed.
    pub fn packed(&self) -> Arc<[u8]> {
        let pack = || pack_records(self.at.values().flat_map(|at| at.iter()).collect::<Vec<_>>().into_iter());
        Arc::clone(self.packed.get_or_init(pack))
    }
}

/// The books of all networks that have records.
pub(super) type Books = OrdMap<NetworkId, Arc<Book>>;

/// Follows what was touched.
pub(super) fn follow(books: &mut Books, intent: &Intent, touched: &Touched) {
    for (network, name) in &touched.records {
        let book = books.get(network).cloned().unwrap_or_default();
        match book.changed(intent, *network, name) {
            Some(now) if now.count == 0 => drop(books.remove(network)),
            Some(now) => drop(books.insert(*network, Arc::new(now))),
            None => {}
        }
    }
}

/// The records of a network, in order: the definition.
pub(super) fn records(intent: &Intent, network: NetworkId) -> Vec<ToldRecord> {
    told(intent.dns_records_in_network(network))
}

/// Records as they are told: ordered, each once.
fn told<'a>(records: impl Iterator<Item = &'a DnsRecord>) -> Vec<ToldRecord> {
    let told = records.map(|it| ToldRecord { name: it.name.clone(), ttl: it.ttl, data: it.data.clone() });
    let mut told: Vec<ToldRecord> = told.collect();
    told.sort_unstable();
    told.dedup();
    told
}

/// Networks whose records may be others, ordered.
fn networks(touched: &Touched) -> impl Iterator<Item = NetworkId> {
    let mut networks: Vec<NetworkId> = touched.records.iter().map(|(network, _)| *network).collect();
    networks.dedup();
    networks.into_iter()
}

/// Networks whose records are others.
pub(super) fn other(before: &Roster, after: &Roster, touched: &Touched) -> Vec<NetworkId> {
    networks(touched).filter(|network| before.book(*network) != after.book(*network)).collect()
}

/// What changes of records, for all hosts.
pub(super) struct Pages<'a> {
    after: &'a Roster,
    /// By network; none: more than is told in a delta.
    changes: BTreeMap<NetworkId, Option<RecordsPart>>,
}

impl<'a> Pages<'a> {
    pub(super) fn between(before: &Roster, after: &'a Roster, touched: &Touched) -> Self {
        let empty = Book::default();
        let change = |network: NetworkId| {
            let [was, now] = [before, after].map(|roster| roster.book(network).map_or(&empty, |book| book));
            let first = (network, None);
            let names = touched.records.range(first..).take_while(|(other, _)| *other == network);
            let mut change = RecordsChange::default();
            for (_, name) in names {
                let RecordsChange { gone, come } = RecordsChange::between(was.at(name), now.at(name));
                change.gone.extend(gone);
                change.come.extend(come);
            }
            let part = RecordsPart::new(&change);
            let told = Some(part).filter(|part| part.size() <= MOST_BYTES);
            (!change.is_empty()).then_some((network, told))
        };
        Self { after, changes: networks(touched).filter_map(change).collect() }
    }

    /// The networks in which something changes.
    pub(super) fn networks(&self) -> impl Iterator<Item = NetworkId> {
        self.changes.keys().copied()
    }

    /// What a host hears that was at the one place and is at the other; none where that is more than is told in a delta.
    pub(super) fn heard(&self, from: &Place, to: &Place) -> Option<Vec<(NetworkId, RecordsPart)>> {
        let mut heard = Vec::new();
        for (network, _) in to.iter() {
            let was_there = from.iter().any(|(other, _)| other == network);
            match self.changes.get(network).filter(|_| was_there) {
                Some(part) => heard.push((*network, part.clone()?)),
                None if was_there || self.after.book(*network).is_none() => {}
                None => return None,
            }
        }
        Some(heard)
    }
}
