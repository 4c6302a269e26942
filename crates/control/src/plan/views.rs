//! What changes of the peers, as it is seen from one place or from the way between two: worked out once for all hosts that
//! are there, and encoded once for all that are told the same.
//!
//! Not for what changes of the host itself. It keeps true that nobody hears of a member that it was never told of and is not
//! to be told of, nor of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{HostId, MemberId, NetworkId};
use wire::{Entry, PeersPart};

use super::roster::Told;
use super::section::{Place, SectionId};
use super::shift::Shift;
use super::{Picture, Roster};

/// What changes of the peers of one host.
#[derive(Debug, Clone)]
pub(super) enum View {
    /// This; nothing, where it is empty.
    Part(PeersPart),
    /// More than is told in a delta.
    TooMuch,
}

/// Who changes, ordered, and how they are seen now; none who are seen no more.
type List = Vec<(MemberId, Option<Entry>)>;

/// What those hear who were at the one place and are at the other.
#[derive(Debug, Clone)]
struct Heard {
    /// None: more than is told in a delta, whoever hears it.
    list: Option<Arc<List>>,
    part: Option<PeersPart>,
}

/// What changes of the peers, as seen from everywhere.
pub(super) struct Views<'a> {
    pictures: (Picture<'a>, Picture<'a>),
    rosters: (&'a Roster, &'a Roster),
    shifts: BTreeMap<NetworkId, Shift<'a>>,
    /// The most peers that a delta names.
    most: usize,
    heard: BTreeMap<(Place, Place), Heard>,
    /// The last that was looked for: hosts mostly come in rows of the same.
    last: Option<(Place, Place, Heard)>,
    /// What was encoded, by whom it names and their digests.
    parts: BTreeMap<Vec<(MemberId, Option<u64>)>, PeersPart>,
    /// Members that somebody shares several networks with, encoded: the same for all who are told of them in the same ways.
    merged: BTreeMap<(MemberId, Vec<Told>), Option<Entry>>,
}

impl<'a> Views<'a> {
    pub(super) fn new(
        pictures: (Picture<'a>, Picture<'a>),
        rosters: (&'a Roster, &'a Roster),
        shifts: BTreeMap<NetworkId, Shift<'a>>,
        most: usize,
    ) -> Self {
        let (heard, parts, merged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { pictures, rosters, shifts, most, heard, last: None, parts, merged }
    }

    /// As heard by this host.
    pub(super) fn of(&mut self, host: HostId, from: Place, to: Place) -> View {
        let heard = match &self.last {
            Some((old, new, heard)) if *old == from && *new == to => heard.clone(),
            Some(_) | None => self.heard(from, to),
        };
        let Some(list) = &heard.list else { return View::TooMuch };
        let own = list.binary_search_by_key(&host.into(), |(member, _)| *member);
        if list.len() - usize::from(own.is_ok()) > self.most {
            return View::TooMuch;
        }
        match (own, heard.part) {
            (Err(_), Some(part)) => View::Part(part),
            (Err(_), None) => View::Part(encode(list, None)),
            (Ok(_), _) => View::Part(encode(list, Some(host.into()))),
        }
    }

    fn heard(&mut self, from: Place, to: Place) -> Heard {
        let key = (from, to);
        let heard = match self.heard.get(&key) {
            Some(heard) => heard.clone(),
            None => {
                let list = self.list(&key.0, &key.1).map(Arc::new);
                // One more than most are in it where whoever hears it is among them.
                let part = list.as_ref().filter(|list| list.len() <= self.most).map(|list| self.part(list));
                let heard = Heard { list, part };
                self.heard.insert(key.clone(), heard.clone());
                heard
            }
        };
        self.last = Some((key.0, key.1, heard.clone()));
        heard
    }

    fn part(&mut self, list: &List) -> PeersPart {
        let key = list.iter().map(|(member, entry)| (*member, entry.as_ref().map(Entry::digest))).collect();
        self.parts.entry(key).or_insert_with(|| encode(list, None)).clone()
    }

    /// Who changes for those who were at the one place and are at the other; none if they are more than one more than most.
    fn list(&mut self, from: &Place, to: &Place) -> Option<List> {
        let most = self.most.saturating_add(1);
        if let ([] | [_], [] | [_]) = (&**from, &**to)
            && from.iter().zip(to.iter()).all(|((old, _), (new, _))| old == new)
        {
            return self.list_in_one(from.first().copied(), to.first().copied(), most);
        }
        let mut members: Vec<MemberId> = Vec::new();
        for (network, old, new) in side_by_side(from, to) {
            let certain = old.is_none() || new.is_none();
            let most = if certain { most } else { usize::MAX - 1 };
            let others = self.otherwise(network, (old, new), most)?;
            members.extend(others.into_iter().map(|(member, _)| member));
        }
        members.sort_unstable();
        members.dedup();
        let mut list = List::new();
        for member in members {
            let (before, after) = self.rosters;
            let (old, new) = (before.ways_to(from, member), after.ways_to(to, member));
            let is = self.entry(member, new);
            let was = before.seen_by(&self.pictures.0, &old, member);
            if was != is {
                list.push((member, is));
            }
            if list.len() > most {
                return None;
            }
        }
        Some(list)
    }

    /// In one network all whom somebody sees otherwise do change.
    fn list_in_one(
        &self,
        from: Option<(NetworkId, SectionId)>,
        to: Option<(NetworkId, SectionId)>,
        most: usize,
    ) -> Option<List> {
        let Some((network, _)) = from.or(to) else { return Some(List::new()) };
        let section = |place: Option<(NetworkId, SectionId)>| place.map(|(_, section)| section);
        let others = self.otherwise(network, (section(from), section(to)), most)?;
        let (_, after) = self.rosters;
        let entry = |(member, there): (MemberId, Option<_>)| {
            let there = there.and_then(|(section, form)| after.entry_in((network, section, form), member));
            (member, there.cloned())
        };
        let mut list: List = others.into_iter().map(entry).collect();
        list.sort_unstable_by_key(|(member, _)| *member);
        Some(list)
    }

    fn otherwise(
        &self,
        network: NetworkId,
        sections: (Option<SectionId>, Option<SectionId>),
        most: usize,
    ) -> Option<Vec<super::shift::Otherwise>> {
        match self.shifts.get(&network) {
            Some(shift) => shift.otherwise(self.rosters, sections, most),
            None => Some(Vec::new()),
        }
    }

    fn entry(&mut self, member: MemberId, ways: Vec<Told>) -> Option<Entry> {
        let (_, after) = self.rosters;
        if ways.len() < 2 {
            return after.seen_by(&self.pictures.1, &ways, member);
        }
        let key = (member, ways);
        if let Some(entry) = self.merged.get(&key) {
            return entry.clone();
        }
        let entry = after.seen_by(&self.pictures.1, &key.1, member);
        self.merged.insert(key, entry.clone());
        entry
    }
}

/// The networks of both places, with the sections.
fn side_by_side(
    from: &Place,
    to: &Place,
) -> impl Iterator<Item = (NetworkId, Option<SectionId>, Option<SectionId>)> {
    let mut networks: BTreeMap<NetworkId, (Option<SectionId>, Option<SectionId>)> = BTreeMap::new();
    for (network, section) in from.iter() {
        networks.entry(*network).or_default().0 = Some(*section);
    }
    for (network, section) in to.iter() {
        networks.entry(*network).or_default().1 = Some(*section);
    }
    networks.into_iter().map(|(network, (old, new))| (network, old, new))
}

fn encode(list: &List, but: Option<MemberId>) -> PeersPart {
    let others = || list.iter().filter(|(member, _)| Some(*member) != but);
    let changed: Vec<&Entry> = others().filter_map(|(_, entry)| entry.as_ref()).collect();
    let gone: Vec<MemberId> =
        others().filter(|(_, entry)| entry.is_none()).map(|(member, _)| *member).collect();
    PeersPart::new(changed.into_iter(), &gone)
}
