//! What changes for one host, as it is kept until it is sent: by what hosts share of it, and encoded by whoever sends it.
//!
//! Not for finding what changes (`selves`, `views`). It keeps true that nothing is copied for a host that other hosts are told
//! alike, and that nothing is encoded for a host that nobody can reach just now.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use model::{Generation, MemberId, NetworkId};
use wire::{
    Delta, Down, Entry, Grant, Membership, OwnHost, OwnPart, Party, PeersPart, RecordsPart, ServerLinks,
    encode_delta, encode_delta_reply,
};

use super::own::{Offer, Shared};

/// What changes for one host. What many hosts see alike they share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostDelta {
    /// None: nothing.
    pub(super) own: Option<Box<Own>>,
    pub(super) peers: Arc<Peers>,
    /// By network.
    pub(super) records: Vec<(NetworkId, RecordsPart)>,
}

impl HostDelta {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.own.is_none() && self.peers.len() == 0 && self.records.is_empty()
    }

    fn own_part(&self) -> OwnPart {
        self.own.as_deref().map(Own::to_part).unwrap_or_default()
    }

    /// The encoded `Down::Delta` that leads from one generation to another.
    pub fn encode(&self, base: Generation, generation: Generation) -> Vec<u8> {
        encode_delta(base, generation, &self.own_part(), self.peers.part(), &self.records)
    }

    /// The encoded `MapReply::Delta` that leads from one generation to another.
    pub fn encode_reply(&self, base: Generation, generation: Generation) -> Vec<u8> {
        encode_delta_reply(base, generation, &self.own_part(), self.peers.part(), &self.records)
    }

    /// The delta as it is read by whom it is sent to.
    pub fn to_wire(&self, base: Generation, generation: Generation) -> Delta {
        match wire::decode(&self.encode(base, generation)) {
            Ok(Down::Delta(delta)) => delta,
            read @ (Ok(Down::Fetch(_) | Down::Removed) | Err(_)) => {
                unreachable!("a delta was encoded, and read as {read:?}")
            }
        }
    }
}

/// What changes of peers: encoded once for all who are told the same.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Ordered by member.
    changed: Vec<Entry>,
    /// Ordered.
    gone: Vec<MemberId>,
    encoded: OnceLock<PeersPart>,
}

/// What is encoded follows from the rest.
impl PartialEq for Peers {
    fn eq(&self, other: &Self) -> bool {
        // Mostly entries that are the same are in the same place.
        let alike = |(one, other): (&Entry, &Entry)| std::ptr::eq(one.bytes(), other.bytes()) || one == other;
        self.gone == other.gone
            && self.changed.len() == other.changed.len()
            && self.changed.iter().zip(&other.changed).all(alike)
    }
}

impl Eq for Peers {}

impl Peers {
    pub(super) fn new(changes: impl Iterator<Item = (MemberId, Option<Entry>)>) -> Self {
        let mut peers = Self::default();
        for (member, entry) in changes {
            match entry {
                Some(entry) => peers.changed.push(entry),
                None => peers.gone.push(member),
            }
        }
        peers.changed.sort_unstable_by_key(Entry::member);
        peers.gone.sort_unstable();
        peers
    }

    /// How many peers it names.
    pub(super) const fn len(&self) -> usize {
        self.changed.len() + self.gone.len()
    }

    pub(super) fn names(&self, member: MemberId) -> bool {
        self.changed.binary_search_by_key(&member, Entry::member).is_ok()
            || self.gone.binary_search(&member).is_ok()
    }

    /// The same, but for this member.
    pub(super) fn but(&self, member: MemberId) -> Self {
        let changed = self.changed.iter().filter(|entry| entry.member() != member).cloned().collect();
        let gone = self.gone.iter().copied().filter(|gone| *gone != member).collect();
        Self { changed, gone, encoded: OnceLock::new() }
    }

    /// For finding what is the same: others may share it.
    pub(super) fn hash(&self) -> u64 {
        let gone = self.gone.iter().map(|member| {
            let [.., a, b, c, d, e, f, g, h] = *member.as_bytes();
            u64::from_le_bytes([a, b, c, d, e, f, g, h])
        });
        let numbers = self.changed.iter().map(Entry::digest).chain(gone);
        numbers
            .fold(0, |hash: u64, number| (hash.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn part(&self) -> &PeersPart {
        self.encoded.get_or_init(|| PeersPart::new(self.changed.iter(), &self.gone))
    }
}

/// What changes for a host itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Own {
    pub(super) host: Option<OwnHost>,
    pub(super) server: Option<ServerLinks>,
    /// By network.
    pub(super) networks: Vec<(NetworkId, Part)>,
    pub(super) networks_gone: Vec<NetworkId>,
}

impl Own {
    fn to_part(&self) -> OwnPart {
        let Self { host, server, networks, networks_gone } = self;
        let networks: BTreeMap<NetworkId, Membership> =
            networks.iter().map(|(network, part)| (*network, part.membership())).collect();
        OwnPart { host: host.clone(), server: server.clone(), networks, networks_gone: networks_gone.clone() }
    }
}

/// A host's part in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What it is told apart from the others.
    pub(super) apart: Membership,
    /// What all who take part are told alike.
    pub(super) shared: Arc<Shared>,
    /// What policies grant.
    pub(super) taken: Taken,
    /// What an internet gateway grants.
    pub(super) outside: Option<Grant>,
}

impl Part {
    /// All that the host is told of it.
    pub(super) fn membership(&self) -> Membership {
        let mut grants = self.taken.grants();
        grants.extend(self.outside.clone());
        grants.sort_unstable();
        self.shared.with(self.apart.clone(), grants)
    }
}

/// Offers, each with those to whom it is made, where these are not all whom it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken(pub(super) Vec<(Arc<Offer>, Option<Vec<Party>>)>);

impl Taken {
    /// Ordered, each once. What is made to nobody grants nothing.
    pub(super) fn grants(&self) -> Vec<Grant> {
        let grants = self.0.iter().map(|(offer, to)| offer.grant(to.clone()));
        let mut grants: Vec<Grant> = grants.filter(|grant| !grant.to.is_empty()).collect();
        grants.sort_unstable();
        grants.dedup();
        grants
    }
}
