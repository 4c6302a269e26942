//! The roster: each network's members as its others see them, encoded once, in buckets that are packed once.
//!
//! Not for who may know whom (`may_talk`, and whoever asks for entries) and not for what a host knows of itself. It keeps
//! true that it follows from the picture alone, however it came about: updated change by change it is what it is from
//! scratch. Clones share all that they have in common.

use std::sync::{Arc, OnceLock};

use imbl::OrdMap;
use model::{HostId, NetworkId};
use wire::{BucketDigests, Entry, bucket_of, pack};

use super::{Picture, Touched, as_seen, peer_entry};

/// The members of one network whose ids end in the same byte, ordered.
#[derive(Debug, Default)]
pub struct Bucket {
    entries: Vec<Entry>,
    digest: u64,
    packed: OnceLock<Arc<[u8]>>,
}

/// What was packed follows from the entries.
impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.digest == other.digest
    }
}

impl Bucket {
    fn new(entries: Vec<Entry>) -> Self {
        let digest = entries.iter().map(Entry::digest).fold(0, u64::wrapping_add);
        Self { entries, digest, packed: OnceLock::new() }
    }

    /// Its entries, by host.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The sum of its entries' digests.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// As it travels. The first who asks waits until it is packed.
    pub fn packed(&self) -> Arc<[u8]> {
        Arc::clone(self.packed.get_or_init(|| pack(self.entries.iter())))
    }

    fn entry(&self, host: HostId) -> Option<&Entry> {
        self.entries.binary_search_by_key(&host.into(), Entry::member).ok().map(|at| &self.entries[at])
    }

    /// The bucket with these entries put in or taken out; none where that makes no difference.
    fn changed(&self, changes: &[(HostId, Option<Entry>)]) -> Option<Self> {
        if changes.iter().all(|(host, entry)| self.entry(*host) == entry.as_ref()) {
            return None;
        }
        let mut entries = self.entries.clone();
        for (host, entry) in changes {
            match (entries.binary_search_by_key(&(*host).into(), Entry::member), entry) {
                (Ok(at), Some(entry)) => entries[at] = entry.clone(),
                (Ok(at), None) => drop(entries.remove(at)),
                (Err(at), Some(entry)) => entries.insert(at, entry.clone()),
                (Err(_), None) => {}
            }
        }
        Some(Self::new(entries))
    }
}

/// Each network's members as its others see them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Roster {
    buckets: OrdMap<(NetworkId, u8), Arc<Bucket>>,
    members: OrdMap<NetworkId, usize>,
}

impl Roster {
    /// The roster of a picture, from scratch.
    pub fn of(picture: &Picture<'_>) -> Self {
        let nodes = picture.intent.nodes(None).filter(|node| node.connected);
        let everybody =
            Touched { seen: nodes.map(|node| (node.network, node.host)).collect(), ..Touched::default() };
        let mut roster = Self::default();
        roster.update(picture, &everybody);
        roster
    }

    /// Follows what was touched since the picture that this is the roster of. Costs the buckets in which it is.
    pub fn update(&mut self, after: &Picture<'_>, touched: &Touched) {
        let place = |(network, host): &(NetworkId, HostId)| (*network, bucket_of(*host), *host);
        let mut seen: Vec<_> = touched.seen.iter().map(place).collect();
        seen.sort_unstable();
        for bucket in seen.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let (network, number, _) = bucket[0];
            let now = |(network, _, host): &(NetworkId, u8, HostId)| (*host, entry(after, *network, *host));
            self.replace(network, number, &bucket.iter().map(now).collect::<Vec<_>>());
        }
    }

    fn replace(&mut self, network: NetworkId, number: u8, changes: &[(HostId, Option<Entry>)]) {
        let key = (network, number);
        let old = self.buckets.get(&key).map_or(0, |bucket| bucket.entries.len());
        let changed = match self.buckets.get(&key) {
            Some(bucket) => bucket.changed(changes),
            None => Bucket::default().changed(changes),
        };
        let Some(changed) = changed else { return };
        let members = self.members(network) - old + changed.entries.len();
        match changed.entries.is_empty() {
            true => drop(self.buckets.remove(&key)),
            false => drop(self.buckets.insert(key, Arc::new(changed))),
        }
        match members {
            0 => self.members.remove(&network),
            members => self.members.insert(network, members),
        };
    }

    /// How many take part in the network.
    pub fn members(&self, network: NetworkId) -> usize {
        self.members.get(&network).copied().unwrap_or_default()
    }

    /// A host as the others of the network see it; none if it does not take part.
    pub fn entry(&self, network: NetworkId, host: HostId) -> Option<&Entry> {
        self.buckets.get(&(network, bucket_of(host)))?.entry(host)
    }

    /// The network's buckets that are not empty, by number.
    pub(super) fn buckets(&self, network: NetworkId) -> impl Iterator<Item = (u8, &Arc<Bucket>)> {
        self.buckets.range((network, 0)..=(network, u8::MAX)).map(|((_, number), bucket)| (*number, bucket))
    }

    /// Who takes part in the network.
    pub(super) fn hosts(&self, network: NetworkId) -> impl Iterator<Item = HostId> {
        let host = |entry: &Entry| HostId::from_bytes(*entry.member().as_bytes());
        self.buckets(network).flat_map(move |(_, bucket)| bucket.entries.iter().map(host))
    }

    /// The digests of what this host may know of the network: of all its members but itself.
    pub fn digests_for(&self, host: HostId, network: NetworkId) -> BucketDigests {
        let digest = |(number, bucket): (u8, &Arc<Bucket>)| Some((number, digest_for(bucket, number, host)?));
        BucketDigests(self.buckets(network).filter_map(digest).collect())
    }

    /// In which of these networks the peer takes part.
    pub(super) fn shared(&self, networks: &[NetworkId], peer: HostId) -> Vec<NetworkId> {
        networks.iter().copied().filter(|network| self.entry(*network, peer).is_some()).collect()
    }

    /// A peer as somebody sees it who shares exactly these networks with it; none where they are none. The picture is the one
    /// that this is the roster of. In one network that is the network's entry, and encoded already.
    pub(super) fn seen_from(
        &self,
        picture: &Picture<'_>,
        shared: &[NetworkId],
        peer: HostId,
    ) -> Option<Entry> {
        if let [network] = shared {
            return self.entry(*network, peer).cloned();
        }
        let nodes = shared.iter().filter_map(|network| picture.intent.node_of(peer, *network));
        let nodes: Vec<_> = nodes.map(as_seen).collect();
        if nodes.is_empty() {
            return None;
        }
        Some(Entry::new(peer.into(), &peer_entry(picture, peer, nodes)?))
    }
}

fn entry(picture: &Picture<'_>, network: NetworkId, host: HostId) -> Option<Entry> {
    let node = picture.intent.node_of(host, network).filter(|node| node.connected)?;
    Some(Entry::new(host.into(), &peer_entry(picture, host, vec![as_seen(node)])?))
}

/// The digest of a bucket without this host; none if nobody else is in it.
pub(super) fn digest_for(bucket: &Bucket, number: u8, host: HostId) -> Option<u64> {
    if bucket_of(host) != number {
        return Some(bucket.digest);
    }
    match bucket.entry(host) {
        None => Some(bucket.digest),
        Some(_) if bucket.entries.len() == 1 => None,
        Some(own) => Some(bucket.digest.wrapping_sub(own.digest())),
    }
}
