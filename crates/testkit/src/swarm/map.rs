//! One agent's map as numbers of the book: four bytes for each peer.
//!
//! Follows `wire::patch` and `wire::assemble` in what it does, and shares no code with them. It keeps true that the digests it
//! tells are those of what it holds, and that its generation never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Generation, HostId, NetworkId};
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
        MapRequest { have: self.generation, digests }
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
        let Delta { base: _, generation, host, server, networks, networks_gone, peers, peers_gone } = delta;
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
        let mut come: Vec<(HostId, NetworkId, Number)> = Vec::with_capacity(peers.len());
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
        let PartsHead { generation, host, server, networks, whole, parts: _ } = head;
        let own = host.id;
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
            } else {
                came.for_each(|bucket| held.replace(bucket, own, &mut look));
            }
        }
    }
}

impl Held {
    fn lose(&mut self, host: HostId, look: &mut Look<'_>) {
        let place = look.pages.places(self.network).and_then(|places| places.of(host));
        if let Some(place) = place {
            self.put(place, 0, look);
        }
    }

    /// Everything that is held is what came.
    fn replace_all<'a>(&mut self, came: impl Iterator<Item = &'a Bucket>, own: HostId, look: &mut Look<'_>) {
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

    /// The bucket holds what came, and nothing else.
    fn replace(&mut self, bucket: &Bucket, own: HostId, look: &mut Look<'_>) {
        let pages = look.pages;
        let known = bucket.numbers.iter().filter_map(|number| Some((pages.known(*number)?, *number)));
        let came: BTreeMap<Place, Number> = known
            .filter(|(known, _)| known.host != own)
            .map(|(known, number)| (known.place, number))
            .collect();
        let places = pages.places(self.network).map_or(&[][..], |places| places.bucket(bucket.bucket));
        for place in places {
            self.put(*place, came.get(place).copied().unwrap_or(0), look);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Addresses, HostName, Keepalive, Mtu, WgPublicKey};
    use proptest::prelude::*;
    use wire::{Entry, HostMap, NatMapping, Part, Peer, PeerNode, assemble, delta, digests, pack};

    use super::*;

    fn network(number: u8) -> NetworkId {
        NetworkId::from_bytes([number; 16])
    }

    fn host(number: u8) -> HostId {
        // Two hosts to a bucket.
        let mut bytes = [number; 16];
        bytes[15] = number / 2;
        HostId::from_bytes(bytes)
    }

    fn peer(number: u8, networks: &[u8]) -> Peer {
        let node = |at: &u8| PeerNode { network: network(*at), addresses: Addresses::default() };
        Peer {
            name: HostName::nearest("peer"),
            key: WgPublicKey::from_bytes([number; 32]),
            nodes: networks.iter().map(node).collect(),
            seen: vec![],
            local: vec![],
            fixed: None,
            nat: NatMapping::Unknown,
        }
    }

    fn host_map(generation: u64, peers: &BTreeMap<u8, (u8, u8)>) -> HostMap {
        let membership = Membership {
            name: "home".parse().unwrap(),
            ranges: model::Ranges::new(Some("10.0.0.0/24".parse().unwrap()), None).unwrap(),
            addresses: Addresses::default(),
            connected: true,
            keepalive: Keepalive::DEFAULT,
        };
        let seen = |(number, (key, networks)): (&u8, &(u8, u8))| {
            let networks: &[u8] = [&[1][..], &[2], &[1, 2]][usize::from(networks % 3)];
            (host(*number), peer(*key, networks))
        };
        HostMap {
            generation: Generation::from_number(generation),
            host: OwnHost {
                id: host(0),
                name: HostName::nearest("own"),
                mtu: Mtu::DEFAULT,
                seen: vec![],
                nat: NatMapping::Unknown,
            },
            server: ServerLinks::default(),
            networks: [1, 2].map(|number| (network(number), membership.clone())).into(),
            peers: peers.iter().map(seen).collect(),
        }
    }

    /// The answer in parts that leads a host that holds this to the map.
    fn parts(to: &HostMap, held: &MapRequest) -> (PartsHead, Vec<Part>) {
        let mut buckets: BTreeMap<(NetworkId, u8), Vec<Entry>> = BTreeMap::new();
        for (host, peer) in &to.peers {
            for node in &peer.nodes {
                let entry = Entry::new(*host, &Peer { nodes: vec![node.clone()], ..peer.clone() });
                buckets.entry((node.network, wire::bucket_of(*host))).or_default().push(entry);
            }
        }
        let held_buckets =
            held.digests.iter().flat_map(|(network, held)| held.0.keys().map(|at| (*network, *at)));
        for at in held_buckets {
            buckets.entry(at).or_default();
        }
        let now = digests(to);
        let digest = |all: &BTreeMap<NetworkId, BucketDigests>, (network, bucket): &(NetworkId, u8)| {
            all.get(network).and_then(|digests| digests.0.get(bucket)).copied()
        };
        buckets.retain(|at, _| digest(&now, at) != digest(&held.digests, at));
        let part = |((network, bucket), entries): ((NetworkId, u8), Vec<Entry>)| Part {
            network,
            bucket,
            packed: pack(entries.iter()),
        };
        let parts: Vec<Part> = buckets.into_iter().map(part).collect();
        let HostMap { generation, host, server, networks, peers: _ } = to.clone();
        let whole = networks.keys().filter(|network| !held.digests.contains_key(network)).copied().collect();
        let count = u32::try_from(parts.len()).unwrap();
        (PartsHead { generation, host, server, networks, whole, parts: count }, parts)
    }

    struct Rig {
        book: Book,
        tracker: Tracker,
        map: Map,
    }

    impl Rig {
        fn adopt(&mut self, to: &HostMap) -> (PartsHead, Vec<Part>) {
            let answer = parts(to, &self.map.request());
            let bucket = |part: &Part| Bucket {
                network: part.network,
                bucket: part.bucket,
                numbers: self.book.numbers(part, &self.tracker).unwrap(),
            };
            let buckets: Vec<Bucket> = answer.1.iter().map(bucket).collect();
            self.map.adopt(answer.0.clone(), &buckets, &self.book, &self.tracker, &mut Marks::default());
            answer
        }

        /// What is held, as the wire's own type.
        fn peers(&self) -> BTreeMap<HostId, Peer> {
            let pages = self.book.open();
            let mut peers: BTreeMap<HostId, Peer> = BTreeMap::new();
            for known in
                self.map.held.iter().flat_map(|held| &held.numbers).filter_map(|number| pages.known(*number))
            {
                let peer =
                    peers.entry(known.host).or_insert_with(|| Peer { nodes: vec![], ..known.peer.clone() });
                peer.nodes.extend(known.peer.nodes.clone());
                peer.nodes.sort_by_key(|node| node.network);
            }
            peers
        }
    }

    fn any_peers() -> impl Strategy<Value = BTreeMap<u8, (u8, u8)>> {
        proptest::collection::btree_map(1u8..12, (0u8..3, 0u8..3), 0..9)
    }

    proptest! {
        #[test]
        fn deltas_and_parts_lead_to_the_map_that_they_were_made_of(
            steps in proptest::collection::vec((any_peers(), any::<bool>()), 1..12),
        ) {
            let mut rig = Rig { book: Book::default(), tracker: Tracker::default(), map: Map::default() };
            let mut before: Option<HostMap> = None;
            for (generation, (peers, by_delta)) in (1..).zip(steps) {
                let to = host_map(generation, &peers);
                match before.as_ref().filter(|_| by_delta) {
                    Some(from) => {
                        let Rig { book, tracker, map } = &mut rig;
                        let followed = map.follow(delta(from, &to), book, tracker, &mut Marks::default());
                        prop_assert_eq!(followed, Followed::Applied);
                    }
                    None => {
                        let (head, parts) = rig.adopt(&to);
                        let assembled = assemble(before.as_ref(), head, &parts);
                        prop_assert_eq!(assembled.as_ref(), Ok(&to));
                    }
                }
                prop_assert_eq!(&rig.peers(), &to.peers);
                prop_assert_eq!(rig.map.request().digests, digests(&to));
                prop_assert_eq!(rig.map.generation, to.generation);
                before = Some(to);
            }
        }
    }

    #[test]
    fn what_does_not_fit_or_is_old_changes_nothing() {
        let mut rig = Rig { book: Book::default(), tracker: Tracker::default(), map: Map::default() };
        let maps = [3, 4, 5].map(|generation| host_map(generation, &[(1, (0, 0))].into()));
        let Rig { book, tracker, map } = &mut rig;
        let follow = |map: &mut Map, from: usize, to: usize| {
            map.follow(delta(&maps[from], &maps[to]), book, tracker, &mut Marks::default())
        };
        assert_eq!(follow(map, 0, 1), Followed::Misfit, "it has no map");
        map.own = Some(maps[0].host.clone());
        map.generation = maps[0].generation;
        assert_eq!(follow(map, 1, 2), Followed::Misfit);
        assert_eq!(follow(map, 0, 0), Followed::Old);
        assert_eq!(map.generation, maps[0].generation);
    }
}
