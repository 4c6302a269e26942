//! The answer to a host that asks for its map: the buckets in which what it holds differs from what it is to hold.
//!
//! Not for packing or sending them: nothing is packed here, and what was packed before is packed no more. It keeps true that
//! nobody gets a bucket of a network in which it does not take part.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Generation, HostId, NetworkId};
use wire::{BucketDigests, MapRequest, Membership, PartsHead};

use super::roster::digest_for;
use super::{Bucket, Picture, Roster, memberships, own_host};

/// A bucket that a host is to be sent: of which network, its number, and what is in it.
pub type Differing = (NetworkId, u8, Arc<Bucket>);

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
        let networks: BTreeMap<NetworkId, Membership> = memberships(picture.intent, host).collect();
        let (mut whole, mut differing) = (Vec::new(), Vec::new());
        for (network, _) in networks.iter().filter(|(_, membership)| membership.connected) {
            let told = request.digests.get(network);
            if told.is_none() {
                whole.push(*network);
            }
            let buckets = self.differing(host, *network, told);
            differing.extend(buckets.into_iter().map(|(number, bucket)| (*network, number, bucket)));
        }
        let server = picture.links.clone();
        let parts = u32::try_from(differing.len()).expect("a host is in far fewer than 2^24 networks");
        Some((PartsHead { generation, host: own, server, networks, whole, parts }, differing))
    }

    /// The buckets of one network in which what the host holds differs from what it is to hold, by number.
    fn differing(
        &self,
        host: HostId,
        network: NetworkId,
        told: Option<&BucketDigests>,
    ) -> Vec<(u8, Arc<Bucket>)> {
        let mut held = told.map(|told| told.0.clone()).unwrap_or_default();
        let mut differing = Vec::new();
        for (number, bucket) in self.buckets(network) {
            let digest = digest_for(bucket, number, host);
            if held.remove(&number) != digest {
                differing.push((number, Arc::clone(bucket)));
            }
        }
        // What is left is held, and nobody is there any more.
        differing.extend(held.into_keys().map(|number| (number, Arc::default())));
        differing
    }
}
