//! A host map in parts: one packed bucket of one network each, or its DNS records, the same bytes for every host of that
//! network.
//!
//! A host says what it holds by digests ([`MapRequest`]), and gets the buckets that differ: all of them when it holds
//! nothing, none when nothing changed. Packing is the work of whoever makes a bucket, once for all hosts.
//!
//! Law: what is assembled from parts is the map that they were made of, whatever was held before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use model::{Generation, MemberId, NetworkId, ToldRecord};

use crate::entry::{BucketDigests, Entry, bucket_of, digests, is_direct};
use crate::{HostMap, MOST_BYTES, Membership, OwnHost, Peer, ServerLinks, append, decode, records_digest};

/// How hard packing tries, of 10: more gains little, for most of an entry is keys.
pub(crate) const LEVEL: u8 = 6;
/// Digests in one request, a network counting as four: what is above counts as not held. 5,000 have some 55 KB, and a request
/// may have 64 KiB.
const MOST_DIGESTS: usize = 5_000;

/// What a host holds, in its request for its map.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct MapRequest {
    /// The generation of its map; none: it has no map.
    #[n(0)]
    pub have: Generation,
    /// The digests of its buckets, by network. One that is missing is empty, or not told: then the network is not in it.
    #[cbor(n(1), default)]
    pub digests: BTreeMap<NetworkId, BucketDigests>,
    /// The digests of its records, by network. One that is missing: there are none, or it is not told.
    #[cbor(n(2), default, skip_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<NetworkId, u64>,
}

impl MapRequest {
    /// The request of a host with this map.
    pub fn of(map: &HostMap) -> Self {
        let mut room = MOST_DIGESTS;
        let fits = |(_, buckets): &(NetworkId, BucketDigests)| {
            let left = room.checked_sub(4 + buckets.0.len());
            room = left.unwrap_or(room);
            left.is_some()
        };
        let digests: BTreeMap<_, _> = digests(map).into_iter().filter(fits).collect();
        let with_records = map.networks.iter().filter(|(_, told)| !told.records.is_empty());
        let records = with_records.map(|(network, told)| (*network, records_digest(&told.records)));
        Self { have: map.generation, records: records.take(MOST_DIGESTS / 4).collect(), digests }
    }
}

/// The head of an answer in parts: everything of the map but its peers and its records.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PartsHead {
    /// The generation of the map that comes out.
    #[n(0)]
    pub generation: Generation,
    /// The host itself.
    #[n(1)]
    pub host: OwnHost,
    /// How to reach the server.
    #[n(2)]
    pub server: ServerLinks,
    /// The networks it is in.
    #[n(3)]
    pub networks: BTreeMap<NetworkId, Membership>,
    /// Networks of which all buckets come: what is held of their members goes.
    #[n(4)]
    pub whole: Vec<NetworkId>,
    /// How many parts follow.
    #[n(5)]
    pub parts: u32,
    /// The digests of the records of those networks that have some: what is held counts where it has the same one, and comes
    /// where not.
    #[cbor(n(6), default, skip_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<NetworkId, u64>,
}

/// A bucket, or what some of its members are: what is held of it is replaced by all parts of the same bucket together. Or all
/// the records of a network.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Part {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// The bucket; none: these are the network's records.
    #[n(1)]
    pub bucket: Option<u8>,
    /// Deflated (RFC 1951), a CBOR map from member id to [`Peer`], each with its node in this network; or a list of
    /// [`ToldRecord`].
    #[cbor(n(2), with = "packed")]
    pub packed: Arc<[u8]>,
}

mod packed {
    //! Shared bytes as a byte string.

    use std::sync::Arc;

    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};

    pub(super) fn encode<C, W: Write>(
        bytes: &Arc<[u8]>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(bytes)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<[u8]>, Error> {
        d.bytes().map(Arc::from)
    }
}

/// Why parts do not make a map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// Some are missing, or there are too many.
    #[error("{expected} parts of the map were announced, {came} came")]
    Count {
        /// What the head said.
        expected: u32,
        /// What there was.
        came: usize,
    },
    /// One cannot be read.
    #[error("a part of the map cannot be read: {0}")]
    Damaged(String),
    /// They unpack to more than a map may have.
    #[error("the parts of the map unpack to more than the {MOST_BYTES} bytes allowed")]
    TooLarge,
}

/// Packs the entries of one bucket. They must be ordered by host.
pub fn pack<'a>(entries: impl ExactSizeIterator<Item = &'a Entry>) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    append(&mut bytes, |encoder| encoder.map(entries.len() as u64)?.ok());
    entries.for_each(|entry| entry.append_to(&mut bytes));
    compress_to_vec(&bytes, LEVEL).into()
}

impl Part {
    /// What is in it.
    pub fn unpack(&self) -> Result<BTreeMap<MemberId, Peer>, PartsError> {
        self.unpack_within(MOST_BYTES).map(|(peers, _)| peers)
    }

    /// What is in it, with the bytes that has.
    fn unpack_within(&self, limit: usize) -> Result<(BTreeMap<MemberId, Peer>, usize), PartsError> {
        let (peers, size) = self.read_within::<BTreeMap<MemberId, Peer>>(limit)?;
        let fits = |(host, peer): (&MemberId, &Peer)| {
            Some(bucket_of(*host)) == self.bucket
                && peer.nodes.len() == 1
                && peer.nodes[0].network == self.network
        };
        if !peers.iter().all(fits) {
            return Err(PartsError::Damaged("there is a peer of another bucket or network in it".to_owned()));
        }
        Ok((peers, size))
    }

    fn read_within<T: for<'b> crate::Decode<'b>>(&self, limit: usize) -> Result<(T, usize), PartsError> {
        let bytes = decompress_to_vec_with_limit(&self.packed, limit).map_err(|error| {
            let too_large = error.status == miniz_oxide::inflate::TINFLStatus::HasMoreOutput;
            if too_large { PartsError::TooLarge } else { PartsError::Damaged(error.to_string()) }
        })?;
        let read = decode(&bytes).map_err(|error| PartsError::Damaged(error.to_string()))?;
        Ok((read, bytes.len()))
    }
}

/// The map that the parts make of what was held when they were asked for.
pub fn assemble(held: Option<&HostMap>, head: PartsHead, parts: &[Part]) -> Result<HostMap, PartsError> {
    let PartsHead { generation, host, server, mut networks, whole, parts: expected, records } = head;
    if expected as usize != parts.len() {
        return Err(PartsError::Count { expected, came: parts.len() });
    }
    let bucket = |part: &Part| Some((part.network, part.bucket?));
    let replaced: BTreeSet<(NetworkId, u8)> = parts.iter().filter_map(bucket).collect();
    let stays = |host: MemberId, network: NetworkId| {
        networks.get(&network).is_some_and(Membership::takes_part)
            && !whole.contains(&network)
            && !replaced.contains(&(network, bucket_of(host)))
    };
    let mut peers = BTreeMap::new();
    for (id, peer) in held.iter().flat_map(|map| &map.peers) {
        let nodes: Vec<_> = peer.nodes.iter().filter(|node| stays(*id, node.network)).cloned().collect();
        if !nodes.is_empty() {
            let direct = nodes.iter().any(|node| is_direct(&networks, host.id, *id, node));
            peers.insert(*id, peer.by_nodes(nodes, direct));
        }
    }
    let mut room = MOST_BYTES;
    for part in parts.iter().filter(|part| part.bucket.is_some()) {
        let (came, size) = part.unpack_within(room)?;
        room -= size;
        came.into_iter().filter(|(id, _)| *id != host.id).for_each(|(id, peer)| merge(&mut peers, id, peer));
    }
    for (network, digest) in records {
        if let Some(told) = networks.get_mut(&network) {
            told.records = records_of(held, network, digest, parts, &mut room)?;
        }
    }
    Ok(HostMap { generation, host, server, networks, peers })
}

/// A network's records: those that came, or those that were held, whichever have this digest.
fn records_of(
    held: Option<&HostMap>,
    network: NetworkId,
    digest: u64,
    parts: &[Part],
    room: &mut usize,
) -> Result<Vec<ToldRecord>, PartsError> {
    let records = match parts.iter().find(|part| part.network == network && part.bucket.is_none()) {
        Some(part) => {
            let (mut came, size) = part.read_within::<Vec<ToldRecord>>(*room)?;
            *room -= size;
            came.sort_unstable();
            came
        }
        None => {
            held.and_then(|held| held.networks.get(&network)).map(|it| it.records.clone()).unwrap_or_default()
        }
    };
    if records_digest(&records) != digest {
        return Err(PartsError::Damaged(
            "the DNS records of a network are not those that were announced".to_owned(),
        ));
    }
    Ok(records)
}

/// A peer that is known from another network already gets one more node; all else is as it came last, but for the session with
/// it: it may have one by one node and none by another.
fn merge(peers: &mut BTreeMap<MemberId, Peer>, id: MemberId, peer: Peer) {
    let Some(known) = peers.remove(&id) else {
        peers.insert(id, peer);
        return;
    };
    let mut nodes: Vec<_> = peer.nodes.iter().chain(&known.nodes).cloned().collect();
    nodes.sort_by_key(|node| node.network);
    let tells = if peer.key.is_some() { peer } else { known };
    peers.insert(id, Peer { nodes, ..tells });
}
