//! What was touched of late: lets a host that was away catch up by one delta, as long as it is not worth fetching more.
//!
//! Not for what peers were or are: that is the picture's. It keeps true that whatever a host's map lacks since a generation
//! that the log reaches back to is named in it, and that what it remembers is bounded. Clones share what they remember.

use std::sync::Arc;

use imbl::OrdMap;
use model::{Generation, HostId, NetworkId};
use wire::{OwnPart, PeersPart};

use super::changes::Changes;
use super::{HostDelta, MOST_TOLD, Picture, Roster, Touched, memberships, own_host, takes_part};

/// How many flushes are remembered. A busy server makes a handful each second: a quarter of an hour, in which a machine is
/// started anew or comes from one network into another.
const MOST_FLUSHES: usize = 4_096;
/// How many hosts are remembered in all: some 2 MB. More within that time is a large part of every host's peers.
const MOST_NAMED: usize = 65_536;
/// Catching up by fewer peers is always worth it; by more only while they are less than a quarter of all and no more than
/// `MOST_TOLD`, for a delta is not packed and made for one host alone.
const FEW: usize = 64;

/// What one flush touched; both ordered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Flush {
    /// Hosts that were seen differently from then on, by network.
    seen: Vec<(NetworkId, HostId)>,
    /// Hosts that came into networks or left them, or began or ceased to take part.
    moved: Vec<HostId>,
}

impl Flush {
    const fn named(&self) -> usize {
        self.seen.len() + self.moved.len()
    }

    /// Who was seen differently in this network.
    fn seen_in(&self, network: NetworkId) -> impl Iterator<Item = HostId> {
        let first = self.seen.partition_point(|(other, _)| *other < network);
        self.seen[first..].iter().take_while(move |(other, _)| *other == network).map(|(_, host)| *host)
    }
}

/// What was touched of late.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// By the generation that it made.
    flushes: OrdMap<Generation, Arc<Flush>>,
    /// All that came after this one is remembered.
    since: Generation,
    /// The last that was recorded.
    until: Generation,
    named: usize,
    most_flushes: usize,
    most_named: usize,
}

impl Log {
    /// A log that begins with the maps of this generation.
    pub fn new(first: Generation) -> Self {
        Self::bounded(first, MOST_FLUSHES, MOST_NAMED)
    }

    /// A log that remembers at most so many flushes, and names so many hosts in all.
    pub fn bounded(first: Generation, most_flushes: usize, most_named: usize) -> Self {
        Self { flushes: OrdMap::new(), since: first, until: first, named: 0, most_flushes, most_named }
    }

    /// Remembers what made the maps of this generation of those before it. Every generation must be recorded.
    pub fn record(&mut self, generation: Generation, before: &Roster, after: &Roster, touched: &Touched) {
        self.until = generation;
        let seen = Changes::between(before, after, touched).into_pairs();
        let mut flush = Flush { seen, moved: touched.moved.iter().copied().collect() };
        if flush.named() == 0 {
            return;
        }
        // A flush that changed nobody's map has no generation of its own.
        if let Some(same) = self.flushes.remove(&generation) {
            self.named -= same.named();
            flush.seen.extend_from_slice(&same.seen);
            flush.seen.sort_unstable();
            flush.moved.extend_from_slice(&same.moved);
            flush.moved.sort_unstable();
        }
        self.named += flush.named();
        self.flushes.insert(generation, Arc::new(flush));
        self.forget();
    }

    /// Forgets the oldest until the rest is within bounds.
    fn forget(&mut self) {
        while self.flushes.len() > self.most_flushes || self.named > self.most_named {
            let Some((generation, flush)) =
                self.flushes.get_min().map(|(at, flush)| (*at, Arc::clone(flush)))
            else {
                return;
            };
            self.flushes.remove(&generation);
            self.named -= flush.named();
            self.since = generation;
        }
    }

    /// Who is seen differently in these networks since this generation, ordered; none when that is not remembered, the host
    /// moved since, or they are more than `most`.
    fn missed(
        &self,
        host: HostId,
        networks: &[NetworkId],
        since: Generation,
        most: usize,
    ) -> Option<Vec<HostId>> {
        if since < self.since || since > self.until {
            return None;
        }
        let mut peers: Vec<HostId> = Vec::new();
        // Newest first: who moved lately has moved since.
        for (_, flush) in
            self.flushes.range((std::ops::Bound::Excluded(since), std::ops::Bound::Unbounded)).rev()
        {
            if flush.moved.binary_search(&host).is_ok() {
                return None;
            }
            peers.extend(networks.iter().flat_map(|network| flush.seen_in(*network)));
            // One peer may have changed over and over. The host itself may be among them.
            if peers.len() > 2 * (most + 1) {
                distinct(&mut peers);
                if peers.len() > most + 1 {
                    return None;
                }
            }
        }
        distinct(&mut peers);
        peers.retain(|peer| *peer != host);
        (peers.len() <= most).then_some(peers)
    }
}

fn distinct(hosts: &mut Vec<HostId>) {
    hosts.sort_unstable();
    hosts.dedup();
}

/// What leads from the host's map at this generation to its map now; none when that is not known any more, or so much that
/// the map in parts is less. The roster is the one of the picture, and the log was recorded up to it.
pub fn catch_up(
    log: &Log,
    now: &Picture<'_>,
    roster: &Roster,
    host: HostId,
    since: Generation,
) -> Option<HostDelta> {
    let own = own_host(now, host)?;
    let networks: Vec<NetworkId> = takes_part(now.intent, host).collect();
    let quarter = networks.iter().map(|network| roster.members(*network)).sum::<usize>() / 4;
    let most = quarter.clamp(FEW, MOST_TOLD);
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    for peer in log.missed(host, &networks, since, most)? {
        match roster.seen_from(now, &roster.shared(&networks, peer), peer) {
            Some(entry) => changed.push(entry),
            None => gone.push(peer.into()),
        }
    }
    let own = OwnPart {
        host: Some(own),
        server: Some(now.links.clone()),
        networks: memberships(now.intent, host).collect(),
        networks_gone: Vec::new(),
    };
    Some(HostDelta { own, peers: PeersPart::new(changed.iter(), &gone) })
}
