//! All names at one moment: what a question is looked up in, without waiting for anybody.
//!
//! A hash map finds a name in one step; beside it, the same keys in order say whether anything lies below a name that has
//! no records, and give a zone's records for writing them down. Both are persistent: a change copies a few nodes, so
//! ten thousand names of which one changes are not built again. Not for changing: that is [`crate::Names::edit`].
//!
//! It keeps true that every record lies in a zone, that no owner is without records, and that a CNAME is alone.

use std::sync::Arc;

use domain::base::iana::Rtype;
use domain::base::rdata::RecordData as _;
use imbl::{HashMap, OrdSet};

use crate::key::{Key, with_parents};
use crate::name::Name;
use crate::record::{Data, Record};

/// A zone that we answer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The name that all its names end with.
    pub origin: Name,
    /// The name server that it is said to have.
    pub server: Name,
    /// The mailbox of who is responsible, its first dot for the `@`.
    pub mailbox: Name,
    /// Seconds for which others may remember its own records, and that a name does not exist.
    pub ttl: u32,
    /// The lowest serial number: the zone has a higher one where it had that before.
    pub serial: u32,
}

/// A zone with the serial number that it has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) zone: Zone,
    pub(crate) serial: u32,
}

/// All records of one kind at one name: never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) ttl: u32,
    pub(crate) data: Vec<Data>,
}

impl Set {
    pub(crate) fn rtype(&self) -> Option<Rtype> {
        self.data.first().map(Data::rtype)
    }
}

/// A name that has records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) name: Name,
    pub(crate) sets: Vec<Set>,
}

impl Owner {
    pub(crate) fn set(&self, rtype: Rtype) -> Option<&Set> {
        self.sets.iter().find(|set| set.rtype() == Some(rtype))
    }
}

/// The names and zones at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) owners: HashMap<Arc<[u8]>, Arc<Owner>>,
    /// The names with records and the origins of zones.
    pub(crate) order: OrdSet<Arc<[u8]>>,
    pub(crate) zones: HashMap<Arc<[u8]>, Arc<Authority>>,
}

impl Snapshot {
    /// How many names have records.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Whether no name has records.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// The zones with their serial numbers, in no order.
    pub fn zones(&self) -> impl Iterator<Item = (&Zone, u32)> {
        self.zones.values().map(|authority| (&authority.zone, authority.serial))
    }

    /// A zone by its origin, with its serial number.
    pub fn zone(&self, origin: &Name) -> Option<(&Zone, u32)> {
        let authority = self.zones.get(Key::of(origin).as_slice())?;
        Some((&authority.zone, authority.serial))
    }

    /// All records, those of one name together.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.order.iter().filter_map(|key| self.owners.get(key)).flat_map(|owner| owner.records())
    }

    /// The records of a zone, without those of zones below it.
    pub fn records_of(&self, origin: &Name) -> impl Iterator<Item = Record> {
        let apex: Arc<[u8]> = Key::of(origin).as_slice().into();
        let is_ours = {
            let apex = Arc::clone(&apex);
            move |key: &Arc<[u8]>| {
                self.authority(key).is_some_and(|found| *Key::of(&found.zone.origin).as_slice() == *apex)
            }
        };
        let below =
            self.order.range::<_, [u8]>((std::ops::Bound::Included(&*apex), std::ops::Bound::Unbounded));
        let below: Vec<&Arc<[u8]>> = below.take_while(|key| key.starts_with(&apex)).collect();
        let owners = below.into_iter().filter(move |key| is_ours(key)).filter_map(|key| self.owners.get(key));
        owners.flat_map(|owner| owner.records())
    }

    pub(crate) fn owner(&self, key: &[u8]) -> Option<&Owner> {
        self.owners.get(key).map(|owner| &**owner)
    }

    /// The zone that a name lies in: the one with the longest origin.
    pub(crate) fn authority(&self, key: &[u8]) -> Option<&Authority> {
        with_parents(key).filter_map(|parent| self.zones.get(parent)).last().map(|authority| &**authority)
    }

    /// Whether a name exists that has no records: one below it has some, or a zone begins there or below.
    pub(crate) fn exists_empty(&self, key: &[u8]) -> bool {
        self.order.get_next(key).is_some_and(|next| next.starts_with(key))
    }
}

impl Owner {
    fn records(&self) -> impl Iterator<Item = Record> {
        let record =
            |set: &Set, data: &Data| Record { name: self.name.clone(), ttl: set.ttl, data: data.clone() };
        self.sets.iter().flat_map(move |set| set.data.iter().map(move |data| record(set, data)))
    }
}
