//! The laws of maps in parts and of spliced deltas: what is put together of pieces that were encoded before is what would have
//! been encoded whole.

#![allow(clippy::unwrap_used, reason = "tests")]

mod maps;

use std::collections::{BTreeMap, BTreeSet};

use maps::{is_direct, map, planned};
use model::{MemberId, NetworkId, RecordData, ToldRecord};
use proptest::prelude::*;
use wire::{
    Delta, Down, Entry, HostMap, MapReply, MapRequest, Membership, OwnPart, Part, PartsError, PartsHead,
    Peer, PeersPart, RecordsPart, assemble, bucket_of, delta, digests, encode_delta, encode_delta_reply,
    pack, pack_records, records_digest,
};

/// Entries by network and bucket, with one of the host itself: a network's buckets are the same for all its members.
fn buckets(map: &HostMap) -> BTreeMap<(NetworkId, u8), Vec<Entry>> {
    let mut buckets: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for (member, peer) in &map.peers {
        for node in &peer.nodes {
            let direct = is_direct(&map.networks, *member, node);
            let entry = Entry::new(*member, &peer.by_nodes(vec![node.clone()], direct));
            buckets.entry((node.network, bucket_of(*member))).or_default().push(entry);
        }
    }
    let itself =
        map.peers.values().next().map(|peer| Peer { nodes: peer.nodes[..1].to_vec(), ..peer.clone() });
    if let Some(itself) = itself {
        let bucket = buckets.entry((itself.nodes[0].network, bucket_of(map.host.id))).or_default();
        bucket.push(Entry::new(map.host.id.into(), &itself));
        bucket.sort_by_key(Entry::member);
    }
    buckets
}

/// What a server with this map answers to the request.
fn answer(map: &HostMap, request: &MapRequest) -> (PartsHead, Vec<Part>) {
    let buckets = buckets(map);
    let wanted = digests(map);
    let held = |network, bucket| request.digests.get(network).and_then(|held| held.0.get(bucket)).copied();
    let mut differs: BTreeSet<(NetworkId, u8)> = BTreeSet::new();
    for (network, buckets) in wanted.iter().chain(&request.digests) {
        let now = |bucket| wanted.get(network).and_then(|buckets| buckets.0.get(bucket)).copied();
        let differ = buckets.0.keys().filter(|bucket| now(bucket) != held(network, bucket));
        differs.extend(differ.map(|bucket| (*network, *bucket)));
    }
    let connected = |network: &NetworkId| map.networks.get(network).is_some_and(Membership::takes_part);
    let none = Vec::new();
    let parts: Vec<Part> = differs
        .iter()
        .filter(|(network, _)| connected(network))
        .flat_map(|(network, bucket)| {
            let entries = buckets.get(&(*network, *bucket)).unwrap_or(&none);
            // In two parts, as a server does whose members are not all alike.
            let (some, others) = entries.split_at(entries.len() / 2);
            [others, some].map(|entries| Part {
                network: *network,
                bucket: Some(*bucket),
                packed: pack(entries.iter()),
            })
        })
        .collect();
    let HostMap { generation, host, server, networks, .. } = map.clone();
    let with = networks.iter().filter(|(_, told)| !told.records.is_empty());
    let records: BTreeMap<NetworkId, u64> =
        with.map(|(network, told)| (*network, records_digest(&told.records))).collect();
    let of_records = records.iter().filter(|(network, digest)| request.records.get(*network) != Some(digest));
    let pack = |network: &NetworkId| pack_records(networks[network].records.iter());
    let of_records =
        of_records.map(|(network, _)| Part { network: *network, bucket: None, packed: pack(network) });
    let parts: Vec<Part> = parts.into_iter().chain(of_records).collect();
    let networks: BTreeMap<_, _> = networks.iter().map(|(id, told)| (*id, told.without_records())).collect();
    let whole = networks.keys().filter(|network| !request.digests.contains_key(network)).copied().collect();
    let count = u32::try_from(parts.len()).unwrap();
    (PartsHead { generation, host, server, networks, whole, parts: count, records }, parts)
}

proptest! {
    #[test]
    fn a_map_in_parts_is_the_map_whatever_was_held(held in prop::option::of(planned()), map in planned()) {
        let request = held.as_ref().map(MapRequest::of).unwrap_or_default();
        let (head, parts) = answer(&map, &request);
        let parts: Vec<Part> = wire::decode(&wire::encode(&parts)).unwrap();
        prop_assert_eq!(assemble(held.as_ref(), head, &parts), Ok(map));
    }

    #[test]
    fn who_holds_the_map_is_sent_no_part_of_it(map in planned()) {
        let (head, parts) = answer(&map, &MapRequest::of(&map));
        prop_assert!(parts.is_empty());
        prop_assert_eq!(assemble(Some(&map), head, &parts), Ok(map));
    }

    #[test]
    fn maps_with_the_same_digests_have_the_same_peers(one in planned(), two in planned()) {
        let same = digests(&one) == digests(&two);
        prop_assert!(!same || one.peers == two.peers);
        prop_assert!(same || one.peers != two.peers || one.networks != two.networks);
    }

    #[test]
    fn a_delta_in_pieces_is_the_delta(from in map(), to in map()) {
        let whole = delta(&from, &to);
        let Delta { base, generation, host, server, networks, networks_gone, peers, peers_gone, records } =
            whole.clone();
        let own = OwnPart { host, server, networks, networks_gone };
        let entries: Vec<Entry> = peers.iter().map(|(host, peer)| Entry::new(*host, peer)).collect();
        let part = PeersPart::new(entries.iter(), &peers_gone);
        prop_assert_eq!(part.is_empty(), peers.is_empty() && peers_gone.is_empty());
        let records: Vec<_> = records.iter().map(|(network, it)| (*network, RecordsPart::new(it))).collect();
        let pushed = encode_delta(base, generation, &own, &part, &records);
        prop_assert_eq!(pushed, wire::encode(&Down::Delta(whole.clone())));
        let reply = encode_delta_reply(base, generation, &own, &part, &records);
        prop_assert_eq!(reply, wire::encode(&MapReply::Delta(whole)));
    }

    #[test]
    fn any_bytes_in_the_place_of_a_part_are_answered(bytes: Vec<u8>) {
        let part = Part { network: NetworkId::from_bytes([1; 16]), bucket: Some(0), packed: bytes.into() };
        let _ = part.unpack();
    }
}

#[test]
fn a_part_that_is_missing_is_missed() {
    let map: HostMap = some_map();
    let (head, mut parts) = answer(&map, &MapRequest::default());
    parts.pop();
    let error = assemble(None, head, &parts).unwrap_err();
    assert!(matches!(error, PartsError::Count { .. }), "{error}");
}

#[test]
fn a_peer_in_the_wrong_bucket_is_refused() {
    let map = some_map();
    let (head, mut parts) = answer(&map, &MapRequest::default());
    parts[0].bucket = parts[0].bucket.map(|bucket| bucket ^ 1);
    assert!(matches!(assemble(None, head, &parts), Err(PartsError::Damaged(_))));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let packed = miniz_oxide::deflate::compress_to_vec(&vec![0; wire::MOST_BYTES + 1], 9).into();
    let part = Part { network: NetworkId::from_bytes([1; 16]), bucket: Some(0), packed };
    assert_eq!(part.unpack(), Err(PartsError::TooLarge));
}

#[test]
fn records_that_are_neither_held_nor_came_are_missed() {
    let mut map = some_map();
    let record = ToldRecord { name: None, ttl: 60, data: RecordData::Txt { text: "hello".to_owned() } };
    let told = map.networks.values_mut().find(|told| told.takes_part()).unwrap();
    told.records = vec![record];
    let (mut head, mut parts) = answer(&map, &MapRequest::of(&map));
    assert_eq!(parts.len(), 0);
    assert!(matches!(assemble(None, head.clone(), &parts), Err(PartsError::Damaged(_))));
    (head, parts) = answer(&map, &MapRequest::default());
    let of_records = parts.iter().position(|part| part.bucket.is_none()).unwrap();
    parts[of_records].packed = pack_records([].iter());
    assert!(matches!(assemble(None, head, &parts), Err(PartsError::Damaged(_))));
}

fn some_map() -> HostMap {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    loop {
        let map = planned().new_tree(&mut runner).unwrap().current();
        if map.peers.keys().any(|host: &MemberId| *host != map.host.id) {
            return map;
        }
    }
}
