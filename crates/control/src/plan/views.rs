//! What changes of the peers, as it is seen from one place or from the way between two: worked out once for all hosts that
//! are there, and encoded once for all that are told the same.
//!
//! Not for what changes of the host itself. It keeps true that nobody hears of a member that it was never told of and is not
//! to be told of, nor of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{HostId, MemberId, NetworkId};
use wire::Entry;

use super::host_delta::Peers;
use super::roster::Told;
use super::section::{Place, SectionId};
use super::shift::{Otherwise, Shift};
use super::{Picture, Roster};

/// What changes of the peers of one host.
#[derive(Debug, Clone)]
pub(super) enum View {
    /// This; nothing, where it is empty.
    Part(Arc<Peers>),
    /// More than is told in a delta.
    TooMuch,
}

/// What changes of the peers, as seen from everywhere.
pub(super) struct Views<'a> {
    pictures: (Picture<'a>, Picture<'a>),
    rosters: (&'a Roster, &'a Roster),
    shifts: BTreeMap<NetworkId, Shift<'a>>,
    /// The most peers that a delta names.
    most: usize,
    /// What those hear who were at the one place and are at the other. None: more than is told in a delta, whoever hears it.
    heard: BTreeMap<(Place, Place), Option<Arc<Peers>>>,
    /// The last that was looked for: hosts mostly come in rows of the same.
    last: Option<(Place, Place, Option<Arc<Peers>>)>,
    /// What is the same from several places, by its hash: it is encoded once.
    alike: BTreeMap<u64, Vec<Arc<Peers>>>,
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
        let (heard, alike, merged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { pictures, rosters, shifts, most, heard, last: None, alike, merged }
    }

    /// As heard by this host.
    pub(super) fn of(&mut self, host: HostId, from: Place, to: Place) -> View {
        let heard = match &self.last {
            Some((old, new, heard)) if *old == from && *new == to => heard.clone(),
            Some(_) | None => self.heard(from, to),
        };
        let Some(peers) = heard else { return View::TooMuch };
        let own = peers.names(host.into());
        if peers.len() - usize::from(own) > self.most {
            return View::TooMuch;
        }
        View::Part(if own { Arc::new(peers.but(host.into())) } else { peers })
    }

    fn heard(&mut self, from: Place, to: Place) -> Option<Arc<Peers>> {
        let key = (from, to);
        let heard = match self.heard.get(&key) {
            Some(heard) => heard.clone(),
            None => {
                let heard = self.list(&key.0, &key.1).map(|peers| self.alike(peers));
                self.heard.insert(key.clone(), heard.clone());
                heard
            }
        };
        self.last = Some((key.0, key.1, heard.clone()));
        heard
    }

    fn alike(&mut self, peers: Peers) -> Arc<Peers> {
        let alike = self.alike.entry(peers.hash()).or_default();
        if let Some(same) = alike.iter().find(|other| ***other == peers) {
            return Arc::clone(same);
        }
        let peers = Arc::new(peers);
        alike.push(Arc::clone(&peers));
        peers
    }

    /// Who changes for those who were at the one place and are at the other; none if they are more than one more than most.
    fn list(&mut self, from: &Place, to: &Place) -> Option<Peers> {
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
        let mut list = Vec::new();
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
        Some(Peers::new(list.into_iter()))
    }

    /// In one network all whom somebody sees otherwise do change.
    fn list_in_one(
        &self,
        from: Option<(NetworkId, SectionId)>,
        to: Option<(NetworkId, SectionId)>,
        most: usize,
    ) -> Option<Peers> {
        let Some((network, _)) = from.or(to) else { return Some(Peers::default()) };
        let section = |place: Option<(NetworkId, SectionId)>| place.map(|(_, section)| section);
        let others = self.otherwise(network, (section(from), section(to)), most)?;
        Some(Peers::new(others.into_iter().map(|(member, seen)| (member, seen.cloned()))))
    }

    fn otherwise(
        &self,
        network: NetworkId,
        sections: (Option<SectionId>, Option<SectionId>),
        most: usize,
    ) -> Option<Vec<Otherwise<'a>>> {
        match self.shifts.get(&network) {
            Some(shift) => shift.otherwise(sections, most),
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
