//! The answer to a host that asks for its map: the buckets in which what it holds differs from what it is to hold.
//!
//! Not for packing or sending them: nothing is packed here, and what was packed before is packed no more. It keeps true that
//! nobody gets a bucket of a network in which it does not take part.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Generation, HostId, NetworkId};
use wire::{BUCKETS, BucketDigests, MapRequest, Membership, Part, PartsHead};

use super::own::own_host;
use super::roster::sums;
use super::selves::memberships;
use super::{Book, Bucket, Picture, Roster};

/// What a host is to be sent of a network.
#[derive(Debug, Clone)]
pub enum Differing {
    /// A bucket of its members, by number.
    Members(NetworkId, u8, Arc<Bucket>),
    /// All its records.
    Records(NetworkId, Arc<Book>),
}

impl Differing {
    /// As it travels. The first who asks waits until it is packed.
    pub fn to_part(&self) -> Part {
        match self {
            Self::Members(network, number, bucket) => {
                Part { network: *network, bucket: Some(*number), packed: bucket.packed() }
            }
            Self::Records(network, book) => Part { network: *network, bucket: None, packed: book.packed() },
        }
    }
}

impl Roster {
    /// The map of a host in parts, for one that holds what the request says; none for a host that does not exist.
    ///
    /// The picture is the one that this is the roster of. No parts say that nothing differs, whatever the host's generation.
    pub fn answer(
        &self,
        picture: &Picture<'_>,
        host: HostId,
        generation: Generation,
        request: &MapRequest,
    ) -> Option<(PartsHead, Vec<Differing>)> {
        let own = own_host(picture, host)?;
        let networks: BTreeMap<NetworkId, Membership> = memberships(picture, self, host).collect();
        let (mut whole, mut differing, mut records) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (network, _) in networks.iter().filter(|(_, membership)| membership.takes_part()) {
            let told = request.digests.get(network);
            if told.is_none() {
                whole.push(*network);
            }
            let buckets = self.differing(host, *network, told);
            let members = |(number, bucket)| Differing::Members(*network, number, bucket);
            differing.extend(buckets.into_iter().map(members));
            if let Some(book) = self.book(*network) {
                records.insert(*network, book.digest());
                let held = request.records.get(network) == Some(&book.digest());
                differing.extend((!held).then(|| Differing::Records(*network, Arc::clone(book))));
            }
        }
        let server = picture.links.clone();
        let parts = u32::try_from(differing.len()).expect("a host is in far fewer than 2^24 networks");
        Some((PartsHead { generation, host: own, server, networks, whole, parts, records }, differing))
    }

    /// The buckets of one network in which what the host holds differs from what it is to hold, by number: those of all
    /// sections of which it is told.
    fn differing(
        &self,
        host: HostId,
        network: NetworkId,
        told: Option<&BucketDigests>,
    ) -> Vec<(u8, Arc<Bucket>)> {
        let mut held = told.map(|told| told.0.clone()).unwrap_or_default();
        let roster = self.network(network);
        let Some((roster, section)) = roster.and_then(|it| Some((it, it.section(host.into())?))) else {
            return Vec::new();
        };
        let told = roster.told_to(section);
        let sums = sums(host, roster, section, &told);
        let differs: [bool; BUCKETS] = std::array::from_fn(|number| {
            let (count, digest) = sums[number];
            let held = u8::try_from(number).ok().and_then(|number| held.remove(&number));
            held != (count > 0).then_some(digest)
        });
        let worth = |(number, bucket): &(u8, &Arc<Bucket>)| {
            let only_itself = || bucket.entries().len() == 1 && bucket.entry(host.into()).is_some();
            differs[usize::from(*number)] && !only_itself()
        };
        let told = told.into_iter().filter(worth);
        let mut differing: Vec<(u8, Arc<Bucket>)> =
            told.map(|(number, bucket)| (number, Arc::clone(bucket))).collect();
        // What is held where nobody is any more.
        let empty =
            (0..=u8::MAX).filter(|number| differs[usize::from(*number)] && sums[usize::from(*number)].0 == 0);
        differing.extend(empty.map(|number| (number, Arc::default())));
        differing.sort_by_key(|(number, _)| *number);
        differing
    }
}
