//! The names that we answer for, shared between those that read and the one that changes them.
//!
//! Readers take a snapshot and never wait; a change makes the next snapshot and puts it in the place of the last one. Not
//! for looking up: that is [`crate::answer()`]. It keeps true that a zone's serial number grows with every change of the
//! zone, and only then, and that a reader sees all of a change or nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use domain::base::iana::Rtype;
use domain::base::rdata::RecordData as _;

use crate::key::Key;
use crate::name::Name;
use crate::record::{Data, Record};
use crate::snapshot::{Authority, Owner, Set, Snapshot, Zone};

/// The most records of one kind at one name.
const MOST_OF_A_KIND: usize = 1024;

/// The names, shared: clones are the same names.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    now: ArcSwap<Snapshot>,
    writer: Mutex<()>,
}

/// Why a record cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No zone of ours.
    #[error("{0} lies in none of our zones; use a name that ends with the name of one")]
    OutsideZones(Name),
    /// A CNAME wants to be alone.
    #[error("{0} cannot have a CNAME and other records; remove one or the other")]
    CnameBesideOthers(Name),
    /// Two CNAMEs.
    #[error("{0} has a CNAME already; remove it first")]
    SecondCname(Name),
    /// Too many records.
    #[error("{0} has {MOST_OF_A_KIND} records of this kind, which is the most; remove one first")]
    TooMany(Name),
}

impl Names {
    /// No zones, no names.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names as they are now, for keeping.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.now.load_full()
    }

    /// The names as they are now, for a moment.
    pub(crate) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.now.load()
    }

    /// Changes names and zones; readers see all of it at once when this returns.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Edit) -> T) -> T {
        // A change that panicked was never shown, so the names are whole.
        let _alone = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut edit = Edit { next: Snapshot::clone(&self.0.now.load()), touched: BTreeSet::new() };
        let outcome = change(&mut edit);
        if let Some(next) = edit.finish() {
            self.0.now.store(Arc::new(next));
        }
        outcome
    }
}

/// A change under way.
#[derive(Debug)]
pub struct Edit {
    next: Snapshot,
    /// The keys of the zones that differ from before.
    touched: BTreeSet<Arc<[u8]>>,
}

impl Edit {
    /// Adds a record; says whether it was not there yet. All records of a kind at a name have the newest one's time to live.
    pub fn insert(&mut self, record: Record) -> Result<bool, RecordError> {
        let Record { name, ttl, data } = record;
        let key = Key::of(&name);
        let key = key.as_slice();
        let Some(authority) = self.next.authority(key) else { return Err(RecordError::OutsideZones(name)) };
        let zone = Key::of(&authority.zone.origin);
        let mut owner = match self.next.owner(key) {
            Some(owner) => owner.clone(),
            None => Owner { name, sets: Vec::new() },
        };
        if data.rtype() == Rtype::CNAME && zone.as_slice() == key {
            return Err(RecordError::CnameBesideOthers(owner.name));
        }
        if !add(&mut owner, ttl, data)? {
            return Ok(false);
        }
        self.touched.insert(zone.as_slice().into());
        self.put(key.into(), owner);
        Ok(true)
    }

    /// Removes a record; says whether it was there.
    pub fn remove(&mut self, name: &Name, data: &Data) -> bool {
        self.change_owner(name, |owner| {
            owner.sets.iter_mut().for_each(|set| set.data.retain(|kept| kept != data));
            owner.sets.retain(|set| !set.data.is_empty());
        })
    }

    /// Puts these records in the place of those, and names the ones that could not be taken.
    pub fn exchange(&mut self, before: &[Record], now: &[Record]) -> Vec<RecordError> {
        for record in before {
            self.remove(&record.name, &record.data);
        }
        now.iter().filter_map(|record| self.insert(record.clone()).err()).collect()
    }

    /// Removes all records of a name; says whether there were any.
    pub fn clear(&mut self, name: &Name) -> bool {
        self.change_owner(name, |owner| owner.sets.clear())
    }

    /// Adds a zone or changes it. Records of names below it that another zone had are its own from now on.
    pub fn put_zone(&mut self, zone: Zone) {
        let key: Arc<[u8]> = Key::of(&zone.origin).as_slice().into();
        let before = self.next.zones.get(&key);
        if before.is_some_and(|before| before.zone == zone) {
            return;
        }
        if let Some(above) = self.next.authority(&key) {
            self.touched.insert(Key::of(&above.zone.origin).as_slice().into());
        }
        let serial = before.map_or(zone.serial, |before| later(before.serial, zone.serial));
        self.insert_zone(&key, Authority { zone, serial });
        // A CNAME that was inside another zone cannot be where a zone begins.
        if self.next.owner(&key).is_some_and(|owner| owner.set(Rtype::CNAME).is_some()) {
            self.drop_owner(&key);
        }
        self.touched.insert(key);
    }

    /// Removes a zone, and the records that lie in no other zone then; says whether it was there.
    pub fn remove_zone(&mut self, origin: &Name) -> bool {
        let key: Arc<[u8]> = Key::of(origin).as_slice().into();
        if self.next.zones.remove(&key).is_none() {
            return false;
        }
        self.forget(&key);
        match self.next.authority(&key) {
            Some(above) => drop(self.touched.insert(Key::of(&above.zone.origin).as_slice().into())),
            None => self.drop_outside(&key),
        }
        // Even where nothing else differs, there is a change to show.
        self.touched.insert(key);
        true
    }

    /// Puts these zones and records in the place of all that there were, and names the records that could not be taken.
    /// Zones that stay get a higher serial number.
    pub fn replace(
        &mut self,
        zones: impl IntoIterator<Item = Zone>,
        records: impl IntoIterator<Item = Record>,
    ) -> Vec<RecordError> {
        let before = std::mem::take(&mut self.next);
        self.touched.extend(before.zones.keys().cloned());
        for zone in zones {
            let key: Arc<[u8]> = Key::of(&zone.origin).as_slice().into();
            let serial = before.zones.get(&key).map_or(zone.serial, |old| later(old.serial, zone.serial));
            self.insert_zone(&key, Authority { zone, serial });
            self.touched.insert(key);
        }
        records.into_iter().filter_map(|record| self.insert(record).err()).collect()
    }

    fn change_owner(&mut self, name: &Name, change: impl FnOnce(&mut Owner)) -> bool {
        let key = Key::of(name);
        let key = key.as_slice();
        let Some(before) = self.next.owner(key) else { return false };
        let mut owner = before.clone();
        change(&mut owner);
        if owner == *before {
            return false;
        }
        if let Some(authority) = self.next.authority(key) {
            self.touched.insert(Key::of(&authority.zone.origin).as_slice().into());
        }
        if owner.sets.is_empty() {
            self.drop_owner(key);
        } else {
            self.put(key.into(), owner);
        }
        true
    }

    fn put(&mut self, key: Arc<[u8]>, owner: Owner) {
        self.next.order.insert(Arc::clone(&key));
        self.next.owners.insert(key, Arc::new(owner));
    }

    fn drop_owner(&mut self, key: &[u8]) {
        self.next.owners.remove(key);
        self.forget(key);
    }

    fn insert_zone(&mut self, key: &Arc<[u8]>, authority: Authority) {
        self.next.order.insert(Arc::clone(key));
        self.next.zones.insert(Arc::clone(key), Arc::new(authority));
    }

    /// Takes a name out of the order unless there is still something at it.
    fn forget(&mut self, key: &[u8]) {
        if self.next.owner(key).is_none() && !self.next.zones.contains_key(key) {
            self.next.order.remove(key);
        }
    }

    fn drop_outside(&mut self, origin: &[u8]) {
        let from = (std::ops::Bound::Included(origin), std::ops::Bound::Unbounded);
        let below = self.next.order.range::<_, [u8]>(from).take_while(|key| key.starts_with(origin));
        let outside: Vec<_> = below.filter(|key| self.next.authority(key).is_none()).cloned().collect();
        outside.iter().for_each(|key| self.drop_owner(key));
    }

    /// The next snapshot, where anything differs.
    fn finish(self) -> Option<Snapshot> {
        let Self { mut next, touched } = self;
        if touched.is_empty() {
            return None;
        }
        for key in touched {
            let Some(authority) = next.zones.get_mut(&key) else { continue };
            let authority = Arc::make_mut(authority);
            authority.serial = after(authority.serial);
        }
        Some(next)
    }
}

/// Adds a value to an owner; says whether anything differs then.
fn add(owner: &mut Owner, ttl: u32, data: Data) -> Result<bool, RecordError> {
    let rtype = data.rtype();
    let beside = owner.sets.iter().any(|set| (set.rtype() == Some(Rtype::CNAME)) != (rtype == Rtype::CNAME));
    if beside {
        return Err(RecordError::CnameBesideOthers(owner.name.clone()));
    }
    let Some(set) = owner.sets.iter_mut().find(|set| set.rtype() == Some(rtype)) else {
        owner.sets.push(Set { ttl, data: vec![data] });
        return Ok(true);
    };
    let is_there = set.data.contains(&data);
    if !is_there && rtype == Rtype::CNAME {
        return Err(RecordError::SecondCname(owner.name.clone()));
    }
    if !is_there && set.data.len() >= MOST_OF_A_KIND {
        return Err(RecordError::TooMany(owner.name.clone()));
    }
    let differs = !is_there || set.ttl != ttl;
    set.ttl = ttl;
    if !is_there {
        set.data.push(data);
    }
    Ok(differs)
}

/// The serial number after this one; zero is left out, some take it for none.
fn after(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

/// The later of two serial numbers, as RFC 1982 compares them.
fn later(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a) < 1 << 31 { b } else { a }
}
