//! The map against the wire's own: whatever deltas and answers come, both hold the same.

use model::{Addresses, HostName, Mtu, WgPublicKey};
use proptest::prelude::*;
use wire::{Entry, HostMap, NatMapping, Part, Peer, PeerNode, assemble, delta, digests, pack};

use super::*;

fn network(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

fn host(number: u8) -> MemberId {
    // Two hosts to a bucket.
    let mut bytes = [number; 16];
    bytes[15] = number / 2;
    MemberId::from_bytes(bytes)
}

fn peer(number: u8, networks: &[u8]) -> Peer {
    let node = |at: &u8| PeerNode::new(network(*at), Addresses::default());
    Peer {
        name: HostName::nearest("peer"),
        key: Some(WgPublicKey::from_bytes([number; 32])),
        nodes: networks.iter().map(node).collect(),
        seen: vec![],
        local: vec![],
        fixed: None,
        nat: NatMapping::Unknown,
    }
}

fn host_map(generation: u64, peers: &BTreeMap<u8, (u8, u8)>) -> HostMap {
    let ranges = model::Ranges::new(Some("10.0.0.0/24".parse().unwrap()), None).unwrap();
    let membership =
        Membership { addresses: Addresses::default(), ..Membership::plain("home".parse().unwrap(), ranges) };
    let seen = |(number, (key, networks)): (&u8, &(u8, u8))| {
        let networks: &[u8] = [&[1][..], &[2], &[1, 2]][usize::from(networks % 3)];
        (host(*number), peer(*key, networks))
    };
    HostMap {
        generation: Generation::from_number(generation),
        host: OwnHost {
            id: model::HostId::from_bytes(*host(0).as_bytes()),
            name: HostName::nearest("own"),
            mtu: Mtu::DEFAULT,
            seen: vec![],
            nat: NatMapping::Unknown,
            rotate: false,
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
    // Each member is in a section of its own: a bucket comes in several parts.
    let split = |((network, bucket), entries): ((NetworkId, u8), Vec<Entry>)| {
        let empty = entries.is_empty().then(|| pack([].iter()));
        let packed = entries.chunks(1).map(|entries| pack(entries.iter())).chain(empty);
        packed.map(|packed| Part { network, bucket: Some(bucket), packed }).collect::<Vec<_>>()
    };
    let parts: Vec<Part> = buckets.into_iter().flat_map(split).collect();
    let HostMap { generation, host, server, networks, peers: _ } = to.clone();
    let whole = networks.keys().filter(|network| !held.digests.contains_key(network)).copied().collect();
    let count = u32::try_from(parts.len()).unwrap();
    (PartsHead { generation, host, server, networks, whole, parts: count, records: BTreeMap::new() }, parts)
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
            bucket: part.bucket.unwrap(),
            numbers: self.book.numbers(part, &self.tracker).unwrap(),
        };
        let buckets: Vec<Bucket> = answer.1.iter().map(bucket).collect();
        self.map.adopt(answer.0.clone(), &buckets, &self.book, &self.tracker, &mut Marks::default());
        answer
    }

    fn compare(&self, wanted: &HostMap) -> Result<(), crate::swarm::Mismatch> {
        crate::swarm::whole::compare(wanted, &self.map, &self.book.open(), "agent")
    }

    /// What is held, as the wire's own type.
    fn peers(&self) -> BTreeMap<MemberId, Peer> {
        let pages = self.book.open();
        let mut peers: BTreeMap<MemberId, Peer> = BTreeMap::new();
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
            prop_assert_eq!(rig.compare(&to), Ok(()));
            if let Some(before) = before.filter(|before| before.peers != to.peers) {
                prop_assert!(rig.compare(&before).is_err(), "another map passes for this one");
            }
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
