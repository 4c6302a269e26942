//! One agent's map as numbers of the book: four bytes for each peer.
//!
//! Follows `wire::patch` and `wire::assemble` in what it does, and shares no code with them. It keeps true that the digests it
//! tells are those of what it holds, and that its generation never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Generation, MemberId, NetworkId};
use wire::{BUCKETS, BucketDigests, Delta, MapRequest, Membership, OwnHost, PartsHead, ServerLinks};

use super::book::{Book, Number, Pages, Place};
use super::tracker::Tracker;

/// What is held of one network.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) network: NetworkId,
    /// The entry's number at each place.
    pub(super) numbers: Vec<Number>,
    digests: Vec<u64>,
}

/// A map.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) generation: Generation,
    pub(super) own: Option<OwnHost>,
    pub(super) server: ServerLinks,
    pub(super) networks: BTreeMap<NetworkId, Membership>,
    pub(super) held: Vec<Held>,
}

/// A bucket that came with an answer.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) network: NetworkId,
    pub(super) bucket: u8,
    pub(super) numbers: Arc<[Number]>,
}

/// What became of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// It was applied.
    Applied,
    /// It is older than the map.
    Old,
    /// It starts from another generation.
    Misfit,
}

/// The changes under test that came with a step.
#[derive(Debug, Default)]
pub(super) struct Marks(pub(super) Vec<u32>);

impl Marks {
    fn add(&mut self, change: u32) {
        if change != 0 && !self.0.contains(&change) {
            self.0.push(change);
        }
    }
}

/// What is looked at while a map changes.
struct Look<'a> {
    pages: &'a Pages,
    tracker: &'a Tracker,
    marks: &'a mut Marks,
}

impl Held {
    fn new(network: NetworkId) -> Self {
        Self { network, numbers: Vec::new(), digests: vec![0; BUCKETS] }
    }

    /// The number at a place.
    pub(super) fn at(&self, place: Place) -> Number {
        self.numbers.get(place as usize).copied().unwrap_or(0)
    }

    fn put(&mut self, place: Place, number: Number, look: &mut Look<'_>) {
        let before = self.at(place);
        if before == number {
            return;
        }
        let at = place as usize;
        if self.numbers.len() <= at {
            let all = look.pages.places(self.network).map_or(0, super::book::Places::len);
            self.numbers.reserve_exact((all.max(at + 1) + 16).saturating_sub(self.numbers.len()));
            self.numbers.resize(at + 1, 0);
        }
        self.numbers[at] = number;
        let (before, after) = (look.pages.known(before), look.pages.known(number));
        if let Some(before) = before {
            let digest = &mut self.digests[usize::from(before.bucket)];
            *digest = digest.wrapping_sub(before.digest);
        }
        if let Some(after) = after {
            let digest = &mut self.digests[usize::from(after.bucket)];
            *digest = digest.wrapping_add(after.digest);
        }
        match (before, after) {
            (before, Some(after)) if before.is_none_or(|before| before.change != after.change) => {
                look.marks.add(after.change);
            }
            (Some(before), None) => look.marks.add(look.tracker.of_gone(before.host)),
            (_, Some(_)) | (None, None) => {}
        }
    }

    fn digests(&self) -> BucketDigests {
        let held = (0..=u8::MAX).zip(&self.digests).filter(|(_, digest)| **digest != 0);
        BucketDigests(held.map(|(bucket, digest)| (bucket, *digest)).collect())
    }
}

impl Map {
    /// What to ask for a newer one with.
    pub(super) fn request(&self) -> MapRequest {
        let held = self.held.iter().map(|held| (held.network, held.digests()));
        let digests = held.filter(|(_, digests)| !digests.0.is_empty()).collect();
        MapRequest { have: self.generation, digests, records: BTreeMap::new() }
    }

    /// What is held of a network.
    pub(super) fn held(&self, network: NetworkId) -> Option<&Held> {
        self.held.iter().find(|held| held.network == network)
    }

    fn hold(&mut self, network: NetworkId) {
        if self.held(network).is_none() {
            self.held.push(Held::new(network));
        }
    }

    /// What it has is current under this generation.
    pub(super) fn is_current(&mut self, generation: Generation) {
        self.generation = self.generation.max(generation);
    }

    /// Applies a delta.
    pub(super) fn follow(
        &mut self,
        delta: Delta,
        book: &Book,
        tracker: &Tracker,
        marks: &mut Marks,
    ) -> Followed {
        if delta.generation <= self.generation {
            return Followed::Old;
        }
        if self.own.is_none() || delta.base != self.generation {
            return Followed::Misfit;
        }
        let Delta { base: _, generation, host, server, networks, networks_gone, peers, peers_gone, .. } =
            delta;
        self.generation = generation;
        self.own = host.or_else(|| self.own.take());
        self.server = server.unwrap_or_else(|| std::mem::take(&mut self.server));
        for (id, membership) in networks {
            self.join(id, membership, tracker, marks);
        }
        for gone in networks_gone {
            self.networks.remove(&gone);
            self.held.retain(|held| held.network != gone);
        }
        // Written down before the book is opened for reading.
        let mut come: Vec<(MemberId, NetworkId, Number)> = Vec::with_capacity(peers.len());
        for (host, peer) in &peers {
            if let [node] = peer.nodes.as_slice() {
                come.push((*host, node.network, book.number(node.network, *host, peer, tracker)));
                continue;
            }
            for node in &peer.nodes {
                let seen = wire::Peer { nodes: vec![node.clone()], ..peer.clone() };
                come.push((*host, node.network, book.number(node.network, *host, &seen, tracker)));
            }
        }
        come.iter().for_each(|(_, network, _)| self.hold(*network));
        let pages = book.open();
        let mut look = Look { pages: &pages, tracker, marks };
        let single = self.held.len() == 1;
        for (host, network, number) in &come {
            for held in &mut self.held {
                if held.network == *network {
                    if let Some(known) = pages.known(*number) {
                        held.put(known.place, *number, &mut look);
                    }
                } else if !single && !come.iter().any(|(other, at, _)| other == host && *at == held.network) {
                    held.lose(*host, &mut look);
                }
            }
        }
        for host in peers_gone {
            self.held.iter_mut().for_each(|held| held.lose(host, &mut look));
        }
        Followed::Applied
    }

    fn join(&mut self, id: NetworkId, membership: Membership, tracker: &Tracker, marks: &mut Marks) {
        let keepalive = membership.keepalive;
        let before = self.networks.insert(id, membership);
        if before.is_none_or(|before| before.keepalive != keepalive) {
            marks.add(tracker.of_keepalive(id, keepalive));
        }
    }

    /// Takes an answer in parts, asked for with what is held now. Who held nothing has a map from now on.
    pub(super) fn adopt(
        &mut self,
        head: PartsHead,
        buckets: &[Bucket],
        book: &Book,
        tracker: &Tracker,
        marks: &mut Marks,
    ) {
        let PartsHead { generation, host, server, networks, whole, parts: _, records: _ } = head;
        let own = host.id.into();
        self.generation = self.generation.max(generation);
        (self.own, self.server) = (Some(host), server);
        let before = std::mem::take(&mut self.networks);
        for (id, membership) in networks {
            if let Some(before) = before.get(&id) {
                self.networks.insert(id, before.clone());
            }
            self.join(id, membership, tracker, marks);
        }
        let networks = &self.networks;
        self.held.retain(|held| networks.get(&held.network).is_some_and(|membership| membership.connected));
        buckets.iter().for_each(|bucket| self.hold(bucket.network));
        let pages = book.open();
        let mut look = Look { pages: &pages, tracker, marks };
        for held in &mut self.held {
            let network = held.network;
            let came = buckets.iter().filter(|bucket| bucket.network == network);
            if whole.contains(&held.network) {
                held.replace_all(came, own, &mut look);
                continue;
            }
            // Members of a bucket that policy tells apart come in parts of their own.
            let mut parts: BTreeMap<u8, Vec<&Bucket>> = BTreeMap::new();
            came.for_each(|bucket| parts.entry(bucket.bucket).or_default().push(bucket));
            for (bucket, parts) in parts {
                held.replace(bucket, &parts, own, &mut look);
            }
        }
    }
}

impl Held {
    fn lose(&mut self, host: MemberId, look: &mut Look<'_>) {
        let place = look.pages.places(self.network).and_then(|places| places.of(host));
        if let Some(place) = place {
            self.put(place, 0, look);
        }
    }

    /// Everything that is held is what came.
    fn replace_all<'a>(
        &mut self,
        came: impl Iterator<Item = &'a Bucket>,
        own: MemberId,
        look: &mut Look<'_>,
    ) {
        let pages = look.pages;
        let all = pages.places(self.network).map_or(0, super::book::Places::len);
        let mut fresh = vec![0; all];
        for number in came.flat_map(|bucket| bucket.numbers.iter()) {
            if let Some(known) = pages.known(*number).filter(|known| known.host != own) {
                fresh[known.place as usize] = *number;
            }
        }
        for (place, number) in (0..).zip(fresh) {
            self.put(place, number, look);
        }
    }

    /// The bucket holds what came in all of its parts, and nothing else.
    fn replace(&mut self, bucket: u8, parts: &[&Bucket], own: MemberId, look: &mut Look<'_>) {
        let pages = look.pages;
        let numbers = parts.iter().flat_map(|part| part.numbers.iter());
        let known = numbers.filter_map(|number| Some((pages.known(*number)?, *number)));
        let came: BTreeMap<Place, Number> = known
            .filter(|(known, _)| known.host != own)
            .map(|(known, number)| (known.place, number))
            .collect();
        let places = pages.places(self.network).map_or(&[][..], |places| places.bucket(bucket));
        for place in places {
            self.put(*place, came.get(place).copied().unwrap_or(0), look);
        }
    }
}

#[cfg(test)]
mod tests;
