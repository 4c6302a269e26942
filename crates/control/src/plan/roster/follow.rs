//! How the roster of a network follows a change: who is in another section now, which sections there are, and whose entries
//! go where.
//!
//! It costs the members that were touched; where rules change, those of whom other rules speak by name than before, and the
//! layout. It keeps true that what comes out follows from the picture alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{MemberId, NetworkId};
use wire::{Entry, bucket_of};

use super::network::{NetworkRoster, Section};
use crate::plan::layout::Layout;
use crate::plan::member::{as_seen, member_of, peer};
use crate::plan::section::{Form, Guard, SectionId, Signature};
use crate::plan::{Picture, Touched};
use crate::policy::{members, speaks_of};

/// A member whose section is another than before, or none.
#[derive(Clone, Copy)]
struct Move {
    member: MemberId,
    old: Option<SectionId>,
    new: Option<SectionId>,
}

/// An entry of one bucket to put in or to take out.
struct Placed {
    at: usize,
    form: Form,
    bucket: u8,
    member: MemberId,
    entry: Option<Entry>,
}

/// By how much sections grow, and what is new of them.
type Sizes = BTreeMap<SectionId, (isize, Option<Signature>)>;

impl NetworkRoster {
    /// What this network's roster is after what was touched; none where it has no members. And whose section is another now.
    pub(super) fn follow(
        old: Option<&Arc<Self>>,
        after: &Picture<'_>,
        network: NetworkId,
        touched: &Touched,
    ) -> (Option<Arc<Self>>, Vec<MemberId>) {
        let known = old.map(|old| &old.guard);
        let guard = match known {
            Some(guard) if !touched.relaid.contains(&network) => Arc::clone(guard),
            Some(_) | None => Guard::of(after.intent, network, known),
        };
        let seen: BTreeSet<MemberId> = touched.seen_in(network).collect();
        let old = old.map(Arc::as_ref);
        let (moves, sizes) = moves(old, after, network, &guard, &seen);
        let mut next = Self::arranged(old, guard, &moves, sizes);
        if let Some(next) = &mut next {
            let placed = next.placed(after, network, old, &seen, &moves);
            next.put(placed);
        }
        (next.map(Arc::new), moves.into_iter().map(|it| it.member).collect())
    }

    /// With these members in these sections; entries are where they were.
    fn arranged(old: Option<&Self>, guard: Arc<Guard>, moves: &[Move], sizes: Sizes) -> Option<Self> {
        let mut members = old.map(|old| old.members.clone()).unwrap_or_default();
        for Move { member, new, .. } in moves {
            match new {
                Some(section) => drop(members.insert(*member, *section)),
                None => drop(members.remove(member)),
            }
        }
        if members.is_empty() {
            return None;
        }
        let there = old.map(|old| old.layout.ids().iter().copied().zip(old.sections.iter().cloned()));
        let mut sections: BTreeMap<SectionId, Arc<Section>> = there.into_iter().flatten().collect();
        let mut rearranged = false;
        for (section, (more, signature)) in sizes {
            rearranged |= resize(&mut sections, section, more, signature);
        }
        let old = old.filter(|_| !rearranged);
        let (layout, rules) = match old {
            Some(old) if Arc::ptr_eq(&old.guard, &guard) => (Arc::clone(&old.layout), Arc::clone(&old.rules)),
            Some(_) | None => {
                let signatures: Vec<(SectionId, &Signature)> =
                    sections.iter().map(|(id, section)| (*id, &*section.signature)).collect();
                let (layout, rules) = Layout::new(&guard, &signatures);
                let same = old.map(|old| &old.layout).filter(|old| ***old == layout);
                (same.cloned().unwrap_or_else(|| Arc::new(layout)), rules.into())
            }
        };
        Some(Self { guard, layout, rules, sections: sections.into_values().collect(), members })
    }

    /// Where entries belong now: of members that may be seen differently, that moved, or of whose sections somebody is told in
    /// another form than before.
    fn placed(
        &self,
        after: &Picture<'_>,
        network: NetworkId,
        old: Option<&Self>,
        seen: &BTreeSet<MemberId>,
        moves: &[Move],
    ) -> Vec<Placed> {
        let mut placed = Vec::new();
        let mut entered = self.told_otherwise(old);
        let of = |member: &MemberId| {
            let section = self.section(*member);
            Move { member: *member, old: section, new: section }
        };
        entered.extend(seen.iter().map(of));
        // Who moved does so here too: the last word counts.
        entered.extend(moves.iter().copied());
        entered.sort_by_key(|it| it.member);
        for (at, Move { member, old: from, new: to }) in entered.iter().enumerate() {
            if entered.get(at + 1).is_some_and(|next| next.member == *member) {
                continue;
            }
            let known = |at: (&Self, usize), form| at.0.entry(at.1, form, *member).cloned();
            let made = |form| entry(after, network, *member, form);
            let from_at = from.zip(old).and_then(|(from, old)| Some((old, old.layout.at(from)?)));
            let stays_same = !seen.contains(member);
            let now =
                |form| from_at.filter(|_| stays_same).and_then(|at| known(at, form)).or_else(|| made(form));
            self.place(&mut placed, *member, (*from, *to), from_at, now);
        }
        placed
    }

    /// Where the entries of one member that was in the one section and is in the other belong. `now`: as it is seen.
    fn place(
        &self,
        placed: &mut Vec<Placed>,
        member: MemberId,
        (from, to): (Option<SectionId>, Option<SectionId>),
        from_at: Option<(&Self, usize)>,
        now: impl Fn(Form) -> Option<Entry>,
    ) {
        let [left, there] = [from, to].map(|section| section.and_then(|section| self.layout.at(section)));
        let bucket = bucket_of(member);
        for form in Form::BOTH {
            let was_told = from_at.is_some_and(|(old, at)| old.layout.tells(at, form));
            let there = there.filter(|at| self.layout.tells(*at, form));
            let stays = from == to && there.is_some();
            if let Some(at) = left.filter(|_| was_told && !stays) {
                placed.push(Placed { at, form, bucket, member, entry: None });
            }
            if let Some(at) = there {
                placed.push(Placed { at, form, bucket, member, entry: now(form) });
            }
        }
    }

    /// The members of sections of which somebody is told in other forms than before.
    fn told_otherwise(&self, old: Option<&Self>) -> Vec<Move> {
        let Some(old) = old.filter(|old| !Arc::ptr_eq(&old.layout, &self.layout)) else { return Vec::new() };
        let told = |layout: &Layout, at: Option<usize>| {
            Form::BOTH.map(|form| at.is_some_and(|at| layout.tells(at, form)))
        };
        let differs = |(at, section): (usize, &SectionId)| {
            told(&old.layout, old.layout.at(*section)) != told(&self.layout, Some(at))
        };
        let differing: Vec<bool> = self.layout.ids().iter().enumerate().map(differs).collect();
        if !differing.contains(&true) {
            return Vec::new();
        }
        let those =
            self.members().filter(|(_, section)| self.layout.at(*section).is_some_and(|at| differing[at]));
        those.map(|(member, section)| Move { member, old: Some(section), new: Some(section) }).collect()
    }

    fn put(&mut self, mut placed: Vec<Placed>) {
        let key = |it: &Placed| (it.at, it.form, it.bucket);
        placed.sort_by_key(|it| (key(it), it.member));
        for bucket in placed.chunk_by(|one, other| key(one) == key(other)) {
            let (at, form, number) = key(&bucket[0]);
            let changes = bucket.iter().map(|it| (it.member, &it.entry));
            if changes.clone().any(|(member, entry)| self.entry(at, form, member) != entry.as_ref()) {
                Arc::make_mut(&mut self.sections[at]).change(form, number, changes);
            }
        }
    }
}

/// The members whose section may be another: those that were touched; where the rules are others, those as well of whom rules
/// speak now that did not, or the other way round.
fn looked_at(
    old: Option<&NetworkRoster>,
    after: &Picture<'_>,
    network: NetworkId,
    guard: &Arc<Guard>,
    seen: &BTreeSet<MemberId>,
) -> BTreeSet<MemberId> {
    let mut looked_at = seen.clone();
    let intent = after.intent;
    let there = || members(intent, network);
    match old {
        Some(old) if Arc::ptr_eq(&old.guard, guard) => {}
        Some(old) if old.guard.access == guard.access => {
            let named = old.guard.rules.named_differently(&guard.rules);
            let spoken_of = there().filter(|it| named.iter().any(|subject| speaks_of(intent, subject, *it)));
            if !named.is_empty() {
                looked_at.extend(spoken_of.filter_map(|member| member.id(intent)));
            }
        }
        Some(_) | None => {
            looked_at.extend(old.into_iter().flat_map(NetworkRoster::members).map(|(member, _)| member));
            looked_at.extend(there().filter_map(|member| member.id(intent)));
        }
    }
    looked_at
}

fn moves(
    old: Option<&NetworkRoster>,
    after: &Picture<'_>,
    network: NetworkId,
    guard: &Arc<Guard>,
    seen: &BTreeSet<MemberId>,
) -> (Vec<Move>, Sizes) {
    let (mut moves, mut sizes) = (Vec::new(), Sizes::new());
    // By whom those are carried who were not touched themselves, and whom they carry, is as it was.
    let as_it_was = old.filter(|old| old.guard.access == guard.access);
    for member in looked_at(old, after, network, guard, seen) {
        let known = as_it_was.filter(|_| !seen.contains(&member)).and_then(|old| old.signature(member));
        let now = member_of(after.intent, network, member).map(|it| match known {
            Some(known) => known.renamed(after.intent, guard, it),
            None => Signature::of(after, guard, it),
        });
        let new = now.as_ref().map(|signature| signature.id(network));
        let old = old.and_then(|old| old.section(member));
        if old == new {
            continue;
        }
        if let Some((section, signature)) = new.zip(now) {
            let (more, known) = sizes.entry(section).or_default();
            *more += 1;
            known.get_or_insert(signature);
        }
        if let Some(section) = old {
            sizes.entry(section).or_default().0 -= 1;
        }
        moves.push(Move { member, old, new });
    }
    (moves, sizes)
}

/// Returns whether that makes a section or ends one.
fn resize(
    sections: &mut BTreeMap<SectionId, Arc<Section>>,
    id: SectionId,
    more: isize,
    signature: Option<Signature>,
) -> bool {
    let Some(section) = sections.get_mut(&id) else {
        let made = signature.map(|signature| Section::new(Arc::new(signature), more.unsigned_abs()));
        return made.is_some_and(|made| sections.insert(id, Arc::new(made)).is_none());
    };
    let size = section.size.saturating_add_signed(more);
    if size == 0 {
        sections.remove(&id);
    } else if more != 0 {
        Arc::make_mut(section).size = size;
    }
    size == 0
}

fn entry(picture: &Picture<'_>, network: NetworkId, member: MemberId, form: Form) -> Option<Entry> {
    let it = member_of(picture.intent, network, member)?;
    let node = as_seen(picture, network, it)?;
    Some(Entry::new(member, &peer(picture, it, vec![node], form == Form::Full)?))
}
