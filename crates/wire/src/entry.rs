//! A peer as the others of one network see it: encoded once for all of them, with a digest by which two sides find out
//! whether they hold the same.
//!
//! Not for what goes into it (that is the planner's) and not for sending. The digest says that two encodings are equal; it
//! proves nothing to somebody who is not trusted, and need not: what travels is sealed.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::encode::{self, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};
use model::{HostId, MemberId, NetworkId};
use sha2::{Digest as _, Sha256};

use crate::{HostMap, Membership, Peer, PeerNode, Way, append};

/// The parts of one network's members. A bucket is what is fetched when something in it differs.
///
/// Of ten thousand members one bucket has about forty; a host that is up to date but for one change fetches these.
pub const BUCKETS: usize = 256;

/// Digests of one network's buckets, by number; one that is empty is not in it. On the wire a list: number, digest, number …
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketDigests(pub BTreeMap<u8, u64>);

impl<C> Encode<C> for BucketDigests {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(2 * self.0.len() as u64)?;
        self.0.iter().try_for_each(|(bucket, digest)| e.u8(*bucket)?.u64(*digest)?.ok())
    }
}

impl<'b, C> Decode<'b, C> for BucketDigests {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let length = d.array()?.filter(|length| length.is_multiple_of(2) && *length <= 2 * BUCKETS as u64);
        let length = length.ok_or_else(|| decode::Error::message("digests come in pairs"))?;
        (0..length / 2).map(|_| Ok((d.u8()?, d.u64()?))).collect::<Result<_, _>>().map(Self)
    }
}

/// The bucket of a member: the last byte of its id, which is random (RFC 9562, version 7).
pub fn bucket_of(member: impl Into<MemberId>) -> u8 {
    member.into().as_bytes()[15]
}

/// A peer as the others of one network see it, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    member: MemberId,
    bytes: Arc<[u8]>,
    digest: u64,
}

impl Entry {
    /// Encodes a peer.
    pub fn new(member: MemberId, peer: &Peer) -> Self {
        let bytes: Arc<[u8]> = crate::encode(peer).into();
        let digest = digest(member, &bytes);
        Self { member, bytes, digest }
    }

    /// Whose it is.
    pub const fn member(&self) -> MemberId {
        self.member
    }

    /// The encoded [`Peer`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends it as an item of a CBOR map from member id to peer.
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) {
        append(bytes, |encoder| encoder.encode(self.member)?.ok());
        bytes.extend_from_slice(&self.bytes);
    }

    /// What it adds to the digest of its bucket. Digests of a bucket's entries are added, wrapping: one entry can change
    /// without a look at the others.
    pub const fn digest(&self) -> u64 {
        self.digest
    }
}

/// The first eight bytes, little endian, of SHA-256 over the member's id and the encoded entry.
fn digest(member: MemberId, bytes: &[u8]) -> u64 {
    let hash = Sha256::new().chain_update(member.as_bytes()).chain_update(bytes).finalize();
    hash.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Whether the host that is in these networks has a session with the peer by this node.
pub(crate) fn is_direct(
    networks: &BTreeMap<NetworkId, Membership>,
    own: HostId,
    member: MemberId,
    node: &PeerNode,
) -> bool {
    networks.get(&node.network).is_some_and(|membership| membership.way(own, member, node) == Way::Direct)
}

/// The digests of everything that a map says about peers, by network and bucket.
///
/// They cover the fields of [`Peer`] that this version knows. A version that adds one has to keep these as they are for
/// agents that do not know it, or such an agent fetches everything after each restart of the server.
pub fn digests(map: &HostMap) -> BTreeMap<NetworkId, BucketDigests> {
    let mut digests: BTreeMap<NetworkId, BucketDigests> = BTreeMap::new();
    for (member, peer) in &map.peers {
        for node in &peer.nodes {
            let direct = is_direct(&map.networks, map.host.id, *member, node);
            let entry = Entry::new(*member, &peer.by_nodes(vec![node.clone()], direct));
            let bucket = digests.entry(node.network).or_default().0.entry(bucket_of(*member)).or_default();
            *bucket = bucket.wrapping_add(entry.digest());
        }
    }
    digests
}
