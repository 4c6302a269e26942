//! The roster: each network's members as its others see them, by section and form, encoded once, in buckets that are packed
//! once; and who is told of which sections.
//!
//! Not for who may know whom (`sight`, and `layout` for all at once) and not for what a host knows of itself. It keeps true
//! that it follows from the picture alone, however it came about: updated change by change it is what it is from scratch.
//! Clones share all that they have in common.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use model::{HostId, MemberId, NetworkId};
use wire::{BUCKETS, BucketDigests, Entry, bucket_of};

use super::bucket::Bucket;
use super::layout::{Layout, Row};
use super::member::{as_seen, member_of, peer};
use super::section::{Form, Guard, Place, SectionId, Signature};
use super::{Picture, Touched, takes_part};

/// A section of a network in one form.
pub(super) type Told = (NetworkId, SectionId, Form);

/// Each network's members as its others see them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Roster {
    layouts: OrdMap<NetworkId, Arc<Layout>>,
    sections: OrdMap<(NetworkId, MemberId), SectionId>,
    sizes: OrdMap<(NetworkId, SectionId), (usize, Arc<Signature>)>,
    members: OrdMap<NetworkId, usize>,
    places: OrdMap<HostId, Place>,
    buckets: OrdMap<(Told, u8), Arc<Bucket>>,
}

const FIRST_MEMBER: MemberId = MemberId::from_bytes([0; 16]);
const LAST_MEMBER: MemberId = MemberId::from_bytes([0xff; 16]);

/// A member whose section is another than before, or none.
#[derive(Clone, Copy)]
struct Move {
    member: MemberId,
    old: Option<SectionId>,
    new: Option<SectionId>,
}

/// An entry of one bucket to put in or to take out.
struct Placed {
    told: Told,
    bucket: u8,
    member: MemberId,
    entry: Option<Entry>,
}

impl Roster {
    /// The roster of a picture, from scratch.
    pub fn of(picture: &Picture<'_>) -> Self {
        let mut everybody = Touched::default();
        everybody.relaid.extend(picture.intent.networks(None).map(|network| network.id));
        let mut roster = Self::default();
        roster.update(picture, &everybody);
        roster
    }

    /// Follows what was touched since the picture that this is the roster of. Costs the buckets in which it is, and for
    /// networks whose sections change, these.
    pub fn update(&mut self, after: &Picture<'_>, touched: &Touched) {
        let seen = touched.seen.iter().map(|(network, _)| *network);
        let networks: BTreeSet<NetworkId> = seen.chain(touched.relaid.iter().copied()).collect();
        let mut moved = BTreeSet::new();
        for network in networks {
            let seen = touched.seen_in(network).collect();
            let moves = self.update_network(after, network, seen, touched.relaid.contains(&network));
            let host = |it: &Move| HostId::from_bytes(*it.member.as_bytes());
            let is_host = |host: &HostId| after.intent.host(*host).is_some() || self.is_placed(*host);
            moved.extend(moves.iter().map(host).filter(is_host));
        }
        for host in moved {
            self.place_anew(after, host);
        }
    }

    fn place_anew(&mut self, picture: &Picture<'_>, host: HostId) {
        let section = |network| Some((network, *self.sections.get(&(network, host.into()))?));
        let place: Place = takes_part(picture.intent, host).filter_map(section).collect();
        match place.is_empty() {
            true => drop(self.places.remove(&host)),
            false => drop(self.places.insert(host, place)),
        }
    }

    /// Returns whose section is another now.
    fn update_network(
        &mut self,
        after: &Picture<'_>,
        network: NetworkId,
        seen: BTreeSet<MemberId>,
        relaid: bool,
    ) -> Vec<Move> {
        let old = self.layouts.get(&network).cloned();
        let guard = match &old {
            Some(layout) if !relaid => Arc::clone(&layout.guard),
            Some(_) | None => Arc::new(Guard::of(after.intent, network)),
        };
        let mut looked_at = seen.clone();
        if relaid {
            looked_at.extend(self.members_of(network).map(|(member, _)| member));
            let there = crate::policy::members(after.intent, network);
            looked_at.extend(there.filter_map(|member| member.id(after.intent)));
        }
        let (moves, rearranged) = self.move_members(after, network, &guard, &looked_at);
        if relaid || rearranged || old.is_none() {
            self.lay_out(network, guard);
        }
        self.enter(after, network, old.as_deref(), &seen, &moves);
        moves
    }

    /// Puts members into their sections. Also returns whether there are other sections than before.
    fn move_members(
        &mut self,
        after: &Picture<'_>,
        network: NetworkId,
        guard: &Guard,
        looked_at: &BTreeSet<MemberId>,
    ) -> (Vec<Move>, bool) {
        let (mut moves, mut rearranged) = (Vec::new(), false);
        for member in looked_at.iter().copied() {
            let now = member_of(after.intent, network, member).map(|it| Signature::of(after, guard, it));
            let new = now.as_ref().map(|signature| signature.id(network));
            let key = (network, member);
            let old = match new {
                Some(new) => self.sections.insert(key, new),
                None => self.sections.remove(&key),
            };
            if old == new {
                continue;
            }
            if let Some((section, signature)) = new.zip(now) {
                rearranged |= self.grow(network, section, signature);
            }
            if let Some(section) = old {
                rearranged |= self.shrink(network, section);
            }
            self.count(network, usize::from(new.is_some()), usize::from(old.is_some()));
            moves.push(Move { member, old, new });
        }
        (moves, rearranged)
    }

    fn count(&mut self, network: NetworkId, more: usize, less: usize) {
        match self.members(network) + more - less {
            0 => self.members.remove(&network),
            members => self.members.insert(network, members),
        };
    }

    fn grow(&mut self, network: NetworkId, section: SectionId, signature: Signature) -> bool {
        let known = self.sizes.get_mut(&(network, section));
        if let Some((size, _)) = known {
            *size += 1;
            return false;
        }
        self.sizes.insert((network, section), (1, Arc::new(signature)));
        true
    }

    fn shrink(&mut self, network: NetworkId, section: SectionId) -> bool {
        if let Some((size @ 2.., _)) = self.sizes.get_mut(&(network, section)) {
            *size -= 1;
            return false;
        }
        self.sizes.remove(&(network, section));
        true
    }

    fn lay_out(&mut self, network: NetworkId, guard: Arc<Guard>) {
        let sections = self.sizes.range((network, SectionId::FIRST)..=(network, SectionId::LAST));
        let sections: Vec<(SectionId, Arc<Signature>)> =
            sections.map(|((_, section), (_, signature))| (*section, Arc::clone(signature))).collect();
        if sections.is_empty() {
            self.layouts.remove(&network);
            return;
        }
        let layout = Layout::new(guard, &sections);
        if self.layouts.get(&network).is_none_or(|old| **old != layout) {
            self.layouts.insert(network, Arc::new(layout));
        }
    }

    /// Puts entries where they belong now: of members that may be seen differently, that moved, or of whose sections somebody
    /// is told in another form than before.
    fn enter(
        &mut self,
        after: &Picture<'_>,
        network: NetworkId,
        old: Option<&Layout>,
        seen: &BTreeSet<MemberId>,
        moves: &[Move],
    ) {
        let new = self.layouts.get(&network).cloned();
        let forms = |layout: Option<&Layout>, section: Option<SectionId>| {
            layout.zip(section).map(|(layout, section)| layout.forms(section)).into_iter().flatten()
        };
        let before = |section| forms(old, section);
        let now = |section| forms(new.as_deref(), section);
        let mut entered: Vec<Move> = Vec::new();
        if old.is_some() && !same(old, new.as_deref()) {
            let differs = |section: &SectionId| !before(Some(*section)).eq(now(Some(*section)));
            let ids = new.iter().flat_map(|layout| layout.ids());
            let differing: BTreeSet<SectionId> = ids.copied().filter(differs).collect();
            if !differing.is_empty() {
                let stay = |(member, section)| Move { member, old: Some(section), new: Some(section) };
                let those = self.members_of(network).filter(|(_, section)| differing.contains(section));
                entered.extend(those.map(stay));
            }
        }
        let of = |member: &MemberId| {
            let section = self.sections.get(&(network, *member)).copied();
            Move { member: *member, old: section, new: section }
        };
        entered.extend(seen.iter().map(of));
        // Who moved does so here too: the last word counts.
        entered.extend(moves.iter().copied());
        entered.sort_by_key(|it| it.member);
        let mut placed = Vec::new();
        for (at, Move { member, old, new }) in entered.iter().enumerate() {
            if entered.get(at + 1).is_some_and(|next| next.member == *member) {
                continue;
            }
            let anew = seen.contains(member);
            for form in before(*old).filter(|form| old != new || !now(*new).any(|other| other == *form)) {
                let told = old.map(|section| (network, section, form));
                placed.extend(told.map(|told| Placed::new(told, *member, None)));
            }
            for form in now(*new) {
                let Some(section) = *new else { continue };
                let known =
                    old.filter(|_| !anew).and_then(|old| self.entry_in((network, old, form), *member));
                let entry = known.cloned().or_else(|| entry(after, network, *member, form));
                placed.push(Placed::new((network, section, form), *member, entry));
            }
        }
        placed.sort_by_key(|it| (it.told, it.bucket, it.member));
        for bucket in placed.chunk_by(|one, other| (one.told, one.bucket) == (other.told, other.bucket)) {
            self.replace((bucket[0].told, bucket[0].bucket), bucket);
        }
    }

    fn replace(&mut self, key: (Told, u8), placed: &[Placed]) {
        let changes = placed.iter().map(|it| (it.member, &it.entry));
        let changed = match self.buckets.get(&key) {
            Some(bucket) => bucket.changed(changes),
            None => Bucket::default().changed(changes),
        };
        let Some(changed) = changed else { return };
        match changed.entries().is_empty() {
            true => drop(self.buckets.remove(&key)),
            false => drop(self.buckets.insert(key, Arc::new(changed))),
        }
    }

    /// How many members the network has.
    pub fn members(&self, network: NetworkId) -> usize {
        self.members.get(&network).copied().unwrap_or_default()
    }

    /// The members of a network and their sections, by member.
    pub(super) fn members_of(&self, network: NetworkId) -> impl Iterator<Item = (MemberId, SectionId)> {
        let members = self.sections.range((network, FIRST_MEMBER)..=(network, LAST_MEMBER));
        members.map(|((_, member), section)| (*member, *section))
    }

    /// The section of a member.
    pub(super) fn section(&self, network: NetworkId, member: MemberId) -> Option<SectionId> {
        self.sections.get(&(network, member)).copied()
    }

    /// How many members a section has.
    pub(super) fn size(&self, network: NetworkId, section: SectionId) -> usize {
        self.sizes.get(&(network, section)).map_or(0, |(size, _)| *size)
    }

    pub(super) fn layout(&self, network: NetworkId) -> Option<&Arc<Layout>> {
        self.layouts.get(&network)
    }

    /// Where a host is.
    pub(super) fn place(&self, host: HostId) -> Place {
        self.places.get(&host).cloned().unwrap_or_default()
    }

    /// Whether the host takes part somewhere.
    pub(super) fn is_placed(&self, host: HostId) -> bool {
        self.places.contains_key(&host)
    }

    /// The sections of which a host at this place is told, ordered.
    pub(super) fn told_at(&self, place: &Place) -> Vec<Told> {
        let rows = place.iter().filter_map(|(network, own)| Some((*network, self.row(*network, *own)?)));
        let told = rows.flat_map(|(network, (layout, row))| {
            layout.told_by(row).map(move |(section, form)| (network, section, form))
        });
        let mut told: Vec<Told> = told.collect();
        told.sort_unstable();
        told
    }

    /// What a host that is in this section of the network is told of.
    pub(super) fn row(&self, network: NetworkId, section: SectionId) -> Option<(&Layout, &Row)> {
        let layout = self.layouts.get(&network)?;
        Some((layout, layout.row(section)?))
    }

    /// A member in one form.
    pub(super) fn entry_in(&self, told: Told, member: MemberId) -> Option<&Entry> {
        self.buckets.get(&(told, bucket_of(member)))?.entry(member)
    }

    /// The buckets of a section that are not empty, by number.
    pub(super) fn buckets(&self, told: Told) -> impl Iterator<Item = (u8, &Arc<Bucket>)> {
        self.buckets.range((told, 0)..=(told, u8::MAX)).map(|((_, number), bucket)| (*number, bucket))
    }

    /// The members of a section, as far as somebody is told of them in this form.
    pub(super) fn told_members(&self, told: Told) -> impl Iterator<Item = MemberId> {
        self.buckets(told).flat_map(|(_, bucket)| bucket.entries().iter().map(Entry::member))
    }

    /// The buckets of which a host in this section is told, by section and number.
    pub(super) fn told_to(
        &self,
        network: NetworkId,
        section: SectionId,
    ) -> impl Iterator<Item = (u8, &Arc<Bucket>)> {
        let row = self.row(network, section).into_iter();
        let told = row.flat_map(|(layout, row)| layout.told_by(row));
        told.flat_map(move |(section, form)| self.buckets((network, section, form)))
    }

    /// The digests of what this host may know of the network.
    pub fn digests_for(&self, host: HostId, network: NetworkId) -> BucketDigests {
        let place = self.place(host);
        let section = place.iter().find(|(other, _)| *other == network).map(|(_, section)| *section);
        let sums = section.map(|section| self.sums(host, network, section, self.told_to(network, section)));
        let sums = sums.iter().flat_map(|sums| sums.iter().enumerate()).filter(|(_, (count, _))| *count > 0);
        let digest =
            |(number, (_, digest)): (usize, &(usize, u64))| u8::try_from(number).ok().map(|it| (it, *digest));
        BucketDigests(sums.filter_map(digest).collect())
    }

    /// For each bucket, how many others this host, which is told of these, is told of, and the sum of their digests.
    pub(super) fn sums<'a>(
        &self,
        host: HostId,
        network: NetworkId,
        section: SectionId,
        told: impl Iterator<Item = (u8, &'a Arc<Bucket>)>,
    ) -> Box<[(usize, u64); BUCKETS]> {
        let mut sums = Box::new([(0, 0); BUCKETS]);
        for (number, bucket) in told {
            let (count, digest): &mut (usize, u64) = &mut sums[usize::from(number)];
            *count += bucket.entries().len();
            *digest = digest.wrapping_add(bucket.digest());
        }
        let own = self.form_of(network, section, section);
        let own = own.and_then(|form| self.entry_in((network, section, form), host.into()));
        if let Some(own) = own {
            let (count, digest) = &mut sums[usize::from(bucket_of(host))];
            *count -= 1;
            *digest = digest.wrapping_sub(own.digest());
        }
        sums
    }

    /// The form in which a host in the first section is told of the second.
    pub(super) fn form_of(&self, network: NetworkId, own: SectionId, section: SectionId) -> Option<Form> {
        let (layout, row) = self.row(network, own)?;
        row.form(layout.at(section)?)
    }

    /// In which networks, and how, a host at this place is told of a member.
    pub(super) fn ways_to(&self, place: &Place, member: MemberId) -> Vec<Told> {
        let way = |(network, own): &(NetworkId, SectionId)| {
            let section = self.section(*network, member)?;
            Some((*network, section, self.form_of(*network, *own, section)?))
        };
        place.iter().filter_map(way).collect()
    }

    /// A member as somebody sees it who is told of it in these ways; none where they are none. The picture is the one that
    /// this is the roster of. In one network that is what is encoded already.
    pub(super) fn seen_by(&self, picture: &Picture<'_>, ways: &[Told], member: MemberId) -> Option<Entry> {
        if let [told] = ways {
            return self.entry_in(*told, member).cloned();
        }
        let direct = ways.iter().any(|(_, _, form)| *form == Form::Full);
        let members = ways
            .iter()
            .filter_map(|(network, _, _)| Some((*network, member_of(picture.intent, *network, member)?)));
        let members: Vec<_> = members.collect();
        let nodes = members.iter().filter_map(|(network, it)| as_seen(picture, *network, *it)).collect();
        let (_, first) = members.first()?;
        Some(Entry::new(member, &peer(picture, *first, nodes, direct)?))
    }
}

impl Placed {
    fn new(told: Told, member: MemberId, entry: Option<Entry>) -> Self {
        Self { told, bucket: bucket_of(member), member, entry }
    }
}

fn same(one: Option<&Layout>, other: Option<&Layout>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => std::ptr::eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn entry(picture: &Picture<'_>, network: NetworkId, member: MemberId, form: Form) -> Option<Entry> {
    let it = member_of(picture.intent, network, member)?;
    let node = as_seen(picture, network, it)?;
    Some(Entry::new(member, &peer(picture, it, vec![node], form == Form::Full)?))
}
