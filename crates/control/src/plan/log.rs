//! What was touched of late: lets a host that was away catch up by one delta, as long as it is not worth fetching more.
//!
//! Not for what peers were or are: that is the picture's. It keeps true that whatever a host's map lacks since a generation
//! that the log reaches back to is named in it, and that what it remembers is bounded. Clones share what they remember.

use std::sync::Arc;

use imbl::OrdMap;
use model::{Generation, HostId, MemberId, NetworkId};

use super::deltas::shifts;
use super::host_delta::{Own, Peers};
use super::own::own_host;
use super::records::other;
use super::roster::Told;
use super::section::{Form, Place, SectionId};
use super::selves::parts;
use super::shift::Altered;
use super::{HostDelta, MOST_TOLD, Picture, Roster, Touched};

/// How many flushes are remembered. A busy server makes a handful each second: a quarter of an hour, in which a machine is
/// started anew or comes from one network into another.
const MOST_FLUSHES: usize = 4_096;
/// How many hosts are remembered in all: some 2 MB. More within that time is a large part of every host's peers.
const MOST_NAMED: usize = 65_536;
/// Catching up by fewer peers is always worth it; by more only while they are less than a quarter of all and no more than
/// `MOST_TOLD`, for a delta is not packed and made for one host alone.
const FEW: usize = 64;

/// What one flush touched; all ordered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Flush {
    /// Members that were seen differently from then on, by where they were and are seen.
    seen: Vec<(Told, MemberId)>,
    /// Hosts that came to another place, or into other networks.
    moved: Vec<HostId>,
    /// Sections whose nodes were told of other sections from then on.
    rearranged: Vec<(NetworkId, SectionId)>,
    /// Networks whose DNS records were others from then on. Of these whoever was away fetches what differs.
    retold: Vec<NetworkId>,
}

impl Flush {
    const fn named(&self) -> usize {
        self.seen.len() + self.moved.len() + self.rearranged.len() + self.retold.len()
    }

    /// What changed from one roster to another.
    fn between(before: &Roster, after: &Roster, touched: &Touched) -> Self {
        let retold = other(before, after, touched);
        let mut flush = Self { moved: touched.moved.iter().copied().collect(), retold, ..Self::default() };
        for (network, shift) in shifts((before, after), touched) {
            for cell in &shift.cells {
                for section in cell.old.into_iter().chain(cell.new) {
                    let everywhere = [Form::Full, Form::Bare].map(|form| (network, section, form));
                    let members = cell.members.iter().map(|moved| moved.member);
                    flush.seen.extend(members.flat_map(|member| everywhere.map(|told| (told, member))));
                }
                let hosts = cell.members.iter().map(|moved| HostId::from_bytes(*moved.member.as_bytes()));
                flush.moved.extend(hosts.filter(|host| before.is_placed(*host) || after.is_placed(*host)));
            }
            for Altered { section, form, members, .. } in &shift.altered {
                flush.seen.extend(members.iter().map(|(member, _)| ((network, *section, *form), *member)));
            }
            let told_otherwise = |section: &SectionId| shift.is_told_otherwise(*section);
            let sections = shift.sections_after().filter(told_otherwise);
            flush.rearranged.extend(sections.map(|section| (network, section)));
        }
        flush.ordered()
    }

    fn ordered(mut self) -> Self {
        self.seen.sort_unstable();
        self.seen.dedup();
        self.moved.sort_unstable();
        self.moved.dedup();
        self.rearranged.sort_unstable();
        self.rearranged.dedup();
        self.retold.sort_unstable();
        self.retold.dedup();
        self
    }

    /// Whether a host that is at this place is told of the same sections and records as before.
    fn leaves_alone(&self, host: HostId, place: &Place) -> bool {
        let rearranged = |section: &(NetworkId, SectionId)| self.rearranged.binary_search(section).is_ok();
        let retold = |(network, _): &(NetworkId, SectionId)| self.retold.binary_search(network).is_ok();
        self.moved.binary_search(&host).is_err() && !place.iter().any(|at| rearranged(at) || retold(at))
    }

    /// Who was seen differently by those who are told of these sections, which are ordered.
    fn seen_among<'a>(&'a self, told: &'a [Told]) -> impl Iterator<Item = MemberId> + 'a {
        let few = told.len() < self.seen.len();
        let by_section = few.then_some(told).into_iter().flatten().flat_map(|told| {
            let first = self.seen.partition_point(|(other, _)| other < told);
            self.seen[first..].iter().take_while(move |(other, _)| other == told)
        });
        let named = (!few).then_some(&self.seen).into_iter().flatten();
        let by_name = named.filter(|(seen, _)| told.binary_search(seen).is_ok());
        by_section.chain(by_name).map(|(_, member)| *member)
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
        let mut flush = Flush::between(before, after, touched);
        if flush.named() == 0 {
            return;
        }
        // A flush that changed nobody's map has no generation of its own.
        if let Some(same) = self.flushes.remove(&generation) {
            self.named -= same.named();
            flush.seen.extend_from_slice(&same.seen);
            flush.moved.extend_from_slice(&same.moved);
            flush.rearranged.extend_from_slice(&same.rearranged);
            flush.retold.extend_from_slice(&same.retold);
            flush = flush.ordered();
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

    /// Who is seen differently by a host that is at this place and told of these sections since this generation, ordered; none
    /// when that is not remembered, the host was told of others in between, or they are more than `most`.
    fn missed(
        &self,
        host: HostId,
        (place, told): (&Place, &[Told]),
        since: Generation,
        most: usize,
    ) -> Option<Vec<MemberId>> {
        if since < self.since || since > self.until {
            return None;
        }
        let mut peers: Vec<MemberId> = Vec::new();
        // Newest first: who moved lately has moved since.
        for (_, flush) in
            self.flushes.range((std::ops::Bound::Excluded(since), std::ops::Bound::Unbounded)).rev()
        {
            if !flush.leaves_alone(host, place) {
                return None;
            }
            peers.extend(flush.seen_among(told));
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

fn distinct(members: &mut Vec<MemberId>) {
    members.sort_unstable();
    members.dedup();
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
    let place = roster.place(host);
    let quarter = place.iter().map(|(network, _)| roster.members(*network)).sum::<usize>() / 4;
    let most = quarter.clamp(FEW, MOST_TOLD);
    let told = roster.told_at(&place);
    let peers = log.missed(host, (&place, &told), since, most)?;
    let seen = |peer: MemberId| (peer, roster.seen_by(now, &roster.ways_to(&place, peer), peer));
    let peers = Peers::new(peers.into_iter().map(seen));
    let own = Own {
        host: Some(own),
        server: Some(now.links.clone()),
        networks: parts(now, roster, host),
        networks_gone: Vec::new(),
    };
    Some(HostDelta { own: Some(Box::new(own)), peers: Arc::new(peers), records: Vec::new() })
}
