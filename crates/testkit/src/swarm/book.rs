//! The book of everything that any agent holds: each distinct entry once, numbered, so that an agent's map is a list of
//! numbers, and ten thousand maps of ten thousand peers fit this process.
//!
//! Not a shortcut: each agent opens, decodes and looks up by content what it was sent; only equal contents share their memory.
//! It keeps true that two entries have the same number only if host, network and every field are the same, and that an entry's
//! number means the same for the whole run.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use model::{MemberId, NetworkId};
use wire::{Entry, Part, PartsError, Peer, bucket_of};

use super::tracker::Tracker;

/// Packed buckets that are remembered with what is in them.
const MOST_PARTS: usize = 100_000;

/// Where a peer stands in the maps of one network.
pub(super) type Place = u32;
/// An entry's number; 0 is none.
pub(super) type Number = u32;

/// An entry of somebody's map.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) host: MemberId,
    pub(super) network: NetworkId,
    pub(super) place: Place,
    pub(super) bucket: u8,
    /// What it adds to its bucket's digest.
    pub(super) digest: u64,
    /// The change under test that made it; 0 for none.
    pub(super) change: u32,
    pub(super) peer: Peer,
}

/// The hosts of one network that are or were in somebody's map.
#[derive(Debug)]
pub(super) struct Places {
    by_host: HashMap<MemberId, Place>,
    hosts: Vec<MemberId>,
    by_bucket: Vec<Vec<Place>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { by_host: HashMap::new(), hosts: Vec::new(), by_bucket: vec![Vec::new(); wire::BUCKETS] }
    }
}

impl Places {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Where this host stands, if it does.
    pub(super) fn of(&self, host: MemberId) -> Option<Place> {
        self.by_host.get(&host).copied()
    }

    /// Who stands there.
    pub(super) fn host(&self, place: usize) -> Option<MemberId> {
        self.hosts.get(place).copied()
    }

    /// Everybody of a bucket.
    pub(super) fn bucket(&self, bucket: u8) -> &[Place] {
        &self.by_bucket[usize::from(bucket)]
    }

    fn place(&mut self, host: MemberId) -> Place {
        if let Some(place) = self.of(host) {
            return place;
        }
        let place = Place::try_from(self.hosts.len()).expect("no network has so many hosts");
        self.by_host.insert(host, place);
        self.hosts.push(host);
        self.by_bucket[usize::from(bucket_of(host))].push(place);
        place
    }
}

/// A packed bucket and the numbers of its entries.
type PartKnown = (Part, Arc<[Number]>);

/// What is written in the book.
#[derive(Debug, Default)]
pub(super) struct Pages {
    all: Vec<Known>,
    by_print: HashMap<u64, Number>,
    networks: HashMap<NetworkId, Places>,
}

impl Pages {
    /// The entry with this number; none for 0.
    pub(super) fn known(&self, number: Number) -> Option<&Known> {
        self.all.get((number as usize).checked_sub(1)?)
    }

    /// The places of a network; none while nobody holds anything of it.
    pub(super) fn places(&self, network: NetworkId) -> Option<&Places> {
        self.networks.get(&network)
    }

    /// The number of an entry, if anybody holds it.
    pub(super) fn number_of(&self, network: NetworkId, host: MemberId, peer: &Peer) -> Option<Number> {
        self.find(network, host, peer).ok()
    }

    /// Its number, or the print under which it belongs.
    fn find(&self, network: NetworkId, host: MemberId, peer: &Peer) -> Result<Number, u64> {
        let mut print = print_of(network, host, peer);
        while let Some(number) = self.by_print.get(&print) {
            let known = self.known(*number);
            if known
                .is_some_and(|known| known.host == host && known.network == network && known.peer == *peer)
            {
                return Ok(*number);
            }
            print = print.wrapping_add(1);
        }
        Err(print)
    }

    fn write(&mut self, network: NetworkId, host: MemberId, peer: &Peer, tracker: &Tracker) -> Number {
        let print = match self.find(network, host, peer) {
            Ok(number) => return number,
            Err(print) => print,
        };
        let known = Known {
            host,
            network,
            place: self.networks.entry(network).or_default().place(host),
            bucket: bucket_of(host),
            digest: Entry::new(host, peer).digest(),
            change: tracker.of_entry(host, peer),
            peer: peer.clone(),
        };
        self.all.push(known);
        let number = Number::try_from(self.all.len()).expect("no run has so many entries");
        self.by_print.insert(print, number);
        number
    }
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    pages: RwLock<Pages>,
    parts: RwLock<HashMap<u64, PartKnown>>,
}

impl Book {
    /// Looks into it. Not to be held while waiting.
    pub(super) fn open(&self) -> RwLockReadGuard<'_, Pages> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an entry, written down if nobody held it before.
    pub(super) fn number(
        &self,
        network: NetworkId,
        host: MemberId,
        peer: &Peer,
        tracker: &Tracker,
    ) -> Number {
        if let Some(number) = self.open().number_of(network, host, peer) {
            return number;
        }
        self.pages.write().unwrap_or_else(PoisonError::into_inner).write(network, host, peer, tracker)
    }

    /// The numbers of what is in a packed bucket. Buckets are the same bytes for all hosts of a network, so each is unpacked
    /// once.
    pub(super) fn numbers(&self, part: &Part, tracker: &Tracker) -> Result<Arc<[Number]>, PartsError> {
        let mut print = print_of_part(part);
        {
            let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
            while let Some((known, numbers)) = parts.get(&print) {
                if known == part {
                    return Ok(Arc::clone(numbers));
                }
                print = print.wrapping_add(1);
            }
        }
        let peers = part.unpack()?;
        let number = |(host, peer): (&MemberId, &Peer)| self.number(part.network, *host, peer, tracker);
        let numbers: Arc<[Number]> = peers.iter().map(number).collect();
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        if parts.len() >= MOST_PARTS {
            parts.clear();
        }
        parts.entry(print).or_insert_with(|| (part.clone(), Arc::clone(&numbers)));
        Ok(numbers)
    }
}

fn print_of(network: NetworkId, host: MemberId, peer: &Peer) -> u64 {
    let Peer { name, key, nodes, seen, local, fixed, nat } = peer;
    let mut hasher = DefaultHasher::new();
    (network, host, key.map(|key| *key.as_bytes()), name.as_str()).hash(&mut hasher);
    nodes.hash(&mut hasher);
    (seen, local, fixed, nat).hash(&mut hasher);
    hasher.finish()
}

/// Of both ends: the whole is compared anyway.
fn print_of_part(part: &Part) -> u64 {
    let Part { network, bucket, packed } = part;
    let mut hasher = DefaultHasher::new();
    let end = packed.len().saturating_sub(32);
    (network, bucket, packed.len(), &packed[..packed.len().min(32)], &packed[end..]).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use model::{Addresses, HostName, WgPublicKey};
    use wire::{NatMapping, PeerNode};

    use super::*;

    const NETWORK: NetworkId = NetworkId::from_bytes([7; 16]);

    fn host(number: u8) -> MemberId {
        MemberId::from_bytes([number; 16])
    }

    fn peer(key: u8) -> Peer {
        Peer {
            name: HostName::nearest("peer"),
            key: Some(WgPublicKey::from_bytes([key; 32])),
            nodes: vec![PeerNode::new(NETWORK, Addresses::default())],
            seen: vec![],
            local: vec![],
            fixed: None,
            nat: NatMapping::Unknown,
        }
    }

    #[test]
    fn equal_entries_have_one_number_and_others_another() {
        let (book, tracker) = (Book::default(), Tracker::default());
        let first = book.number(NETWORK, host(1), &peer(1), &tracker);
        assert_eq!(book.number(NETWORK, host(1), &peer(1), &tracker), first);
        let moved = Peer { local: vec!["10.0.0.1:1".parse().unwrap()], ..peer(1) };
        let others = [
            book.number(NETWORK, host(2), &peer(1), &tracker),
            book.number(NETWORK, host(1), &peer(2), &tracker),
            book.number(NETWORK, host(1), &moved, &tracker),
        ];
        assert!(!others.contains(&first));
        let pages = book.open();
        assert_eq!(pages.known(others[2]).unwrap().peer, moved);
        assert_eq!((pages.known(others[2]).unwrap().place, pages.known(first).unwrap().place), (0, 0));
        assert!(pages.known(0).is_none());
        assert_eq!(pages.places(NETWORK).unwrap().len(), 2);
    }

    #[test]
    fn a_bucket_is_unpacked_to_the_same_numbers_as_its_entries_have() {
        let (book, tracker) = (Book::default(), Tracker::default());
        let entries = [Entry::new(host(9), &peer(1))];
        let part = Part { network: NETWORK, bucket: Some(9), packed: wire::pack(entries.iter()) };
        let numbers = book.numbers(&part, &tracker).unwrap();
        assert_eq!(numbers[..], [book.number(NETWORK, host(9), &peer(1), &tracker)]);
        assert_eq!(book.numbers(&part, &tracker).unwrap(), numbers);
        assert_eq!(book.open().known(numbers[0]).unwrap().digest, entries[0].digest());
        let damaged = Part { packed: [1, 2, 3][..].into(), ..part };
        assert!(book.numbers(&damaged, &tracker).is_err());
    }
}
