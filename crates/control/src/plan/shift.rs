//! What changes in one network from one roster to another: whose section is another, whose entry, and which sections whose
//! nodes are told of.
//!
//! Not for who hears of it (`views`). It costs the members that were touched, and a network whose layout changes its sections.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{MemberId, NetworkId};

use super::bits::{Bits, ones};
use super::layout::{Layout, Row};
use super::section::{Form, SectionId};
use super::{Roster, Touched};

/// A member that moved, and whether it is seen differently in full and in bare form, where it has it before and after.
type Moved = (MemberId, bool, bool);

/// Members that went from one section to another, or came or left.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) old: Option<SectionId>,
    pub(super) new: Option<SectionId>,
    /// Those, ordered.
    pub(super) members: Vec<Moved>,
}

/// What changes in one network.
#[derive(Debug)]
pub(super) struct Shift<'a> {
    pub(super) network: NetworkId,
    before: Option<&'a Arc<Layout>>,
    after: Option<&'a Arc<Layout>>,
    pub(super) cells: Vec<Cell>,
    /// Who stays in a section and is seen differently, by section and form; ordered.
    pub(super) changed: BTreeMap<(SectionId, Form), Vec<MemberId>>,
    /// Sections that there are before and after, as runs of places: in the one layout, in the other, how many.
    runs: Vec<(usize, usize, usize)>,
    /// Sections that there are on one side only, by their places.
    gone: Bits,
    come: Bits,
    /// How many stay in a section, by the section's place after.
    staying: Vec<usize>,
}

/// Whom a host sees otherwise than before, and where it is to be found now.
pub(super) type Otherwise = (MemberId, Option<(SectionId, Form)>);

impl<'a> Shift<'a> {
    pub(super) fn between(
        before: &'a Roster,
        after: &'a Roster,
        touched: &Touched,
        network: NetworkId,
    ) -> Self {
        let mut cells: BTreeMap<(Option<SectionId>, Option<SectionId>), Vec<Moved>> = BTreeMap::new();
        let mut changed: BTreeMap<(SectionId, Form), Vec<MemberId>> = BTreeMap::new();
        let differs = |old: Option<SectionId>, new: Option<SectionId>, member, form| {
            let entry = |roster: &'a Roster, section: Option<SectionId>| {
                roster.entry_in((network, section?, form), member)
            };
            entry(before, old).zip(entry(after, new)).is_some_and(|(old, new)| old != new)
        };
        let mut look = |member: MemberId| {
            let (old, new) = (before.section(network, member), after.section(network, member));
            let [full, bare] = [Form::Full, Form::Bare].map(|form| differs(old, new, member, form));
            match (old, new) {
                (Some(section), Some(same)) if section == same => {
                    for form in [full.then_some(Form::Full), bare.then_some(Form::Bare)].into_iter().flatten()
                    {
                        changed.entry((section, form)).or_default().push(member);
                    }
                }
                (None, None) => {}
                _ => cells.entry((old, new)).or_default().push((member, full, bare)),
            }
        };
        match touched.relaid.contains(&network) {
            true => relaid(before, after, touched, network).into_iter().for_each(&mut look),
            false => touched.seen_in(network).for_each(&mut look),
        }
        let cells = cells.into_iter().map(|((old, new), members)| Cell { old, new, members }).collect();
        let mut shift = Self {
            network,
            before: before.layout(network),
            after: after.layout(network),
            cells,
            changed,
            runs: Vec::new(),
            gone: Bits::none(0),
            come: Bits::none(0),
            staying: Vec::new(),
        };
        shift.align(after);
        shift
    }

    fn is_laid_out_as_before(&self) -> bool {
        match (self.before, self.after) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after) || before == after,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether nothing changes for anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.changed.is_empty() && self.is_laid_out_as_before()
    }

    /// Finds the places of each section on both sides.
    fn align(&mut self, roster: &Roster) {
        let ids = |layout: Option<&'a Arc<Layout>>| layout.map(|layout| layout.ids()).unwrap_or_default();
        let (before, after) = (ids(self.before), ids(self.after));
        (self.gone, self.come) = (Bits::none(before.len()), Bits::none(after.len()));
        let (mut old, mut new) = (0, 0);
        while old < before.len() || new < after.len() {
            let (one, other) = (before.get(old), after.get(new));
            if one == other {
                match self.runs.last_mut() {
                    Some((at, to, length)) if (*at + *length, *to + *length) == (old, new) => *length += 1,
                    Some(_) | None => self.runs.push((old, new, 1)),
                }
                (old, new) = (old + 1, new + 1);
            } else if other.is_none() || one.is_some_and(|one| Some(one) < other) {
                self.gone.insert(old);
                old += 1;
            } else {
                self.come.insert(new);
                new += 1;
            }
        }
        self.staying = after.iter().map(|section| roster.size(self.network, *section)).collect();
        for cell in &self.cells {
            let place = cell.new.and_then(|section| after.binary_search(&section).ok());
            if let Some(place) = place {
                self.staying[place] -= cell.members.len();
            }
        }
    }

    fn rows(&self, old: Option<SectionId>, new: Option<SectionId>) -> (Option<&'a Row>, Option<&'a Row>) {
        let row = |layout: Option<&'a Arc<Layout>>, section: Option<SectionId>| layout?.row(section?);
        (row(self.before, old), row(self.after, new))
    }

    fn form(layout: Option<&'a Arc<Layout>>, row: Option<&Row>, section: Option<SectionId>) -> Option<Form> {
        row?.form(layout?.at(section?)?)
    }

    /// Whether nodes that stay in this section are told of others than before, or in other forms: by sections.
    pub(super) fn is_told_otherwise(&self, section: SectionId) -> bool {
        let (Some(old), Some(new)) = self.rows(Some(section), Some(section)) else { return true };
        old.full.meets(&self.gone)
            || old.bare.meets(&self.gone)
            || new.full.meets(&self.come)
            || new.bare.meets(&self.come)
            || self.differing(old, new).next().is_some()
    }

    /// The sections of nodes after, when there are other rows than before.
    pub(super) fn sections_after(&self) -> impl Iterator<Item = SectionId> + '_ {
        let laid_out = self.after.filter(|_| !self.is_laid_out_as_before());
        let ids = laid_out.map(|layout| layout.ids()).unwrap_or_default().iter().copied();
        ids.filter(move |section| self.rows(None, Some(*section)).1.is_some())
    }

    /// The sections, by place after, that are there on both sides and told of otherwise by these rows.
    fn differing<'r>(&'r self, old: &'r Row, new: &'r Row) -> impl Iterator<Item = usize> + 'r {
        self.runs.iter().flat_map(move |(at, to, length)| {
            (0..*length).step_by(64).flat_map(move |step| {
                let left = *length - step;
                let mask = if left < 64 { (1 << left) - 1 } else { u64::MAX };
                let full = old.full.word_at(at + step) ^ new.full.word_at(to + step);
                let bare = old.bare.word_at(at + step) ^ new.bare.word_at(to + step);
                ones((full | bare) & mask).map(move |bit| to + step + bit)
            })
        })
    }

    /// Whom a host sees otherwise that is in the one section before and in the other after; it takes part on one side at least.
    /// None if they are more than `most`. The host itself may be among them.
    pub(super) fn otherwise(
        &self,
        (before, after): (&Roster, &Roster),
        (own_old, own_new): (Option<SectionId>, Option<SectionId>),
        most: usize,
    ) -> Option<Vec<Otherwise>> {
        let mut found = Found { most, others: Vec::new() };
        match self.rows(own_old, own_new) {
            (Some(old), Some(new)) => {
                self.stayers((before, after), old, new, &mut found)?;
                self.movers(old, new, &mut found)?;
            }
            (Some(row), None) => {
                for (section, form) in self.before.iter().flat_map(|layout| layout.told_by(row)) {
                    let members = before.told_members((self.network, section, form));
                    found.extend(members.map(|member| (member, None)))?;
                }
            }
            (None, Some(row)) => {
                for (section, form) in self.after.iter().flat_map(|layout| layout.told_by(row)) {
                    let members = after.told_members((self.network, section, form));
                    found.extend(members.map(|member| (member, Some((section, form)))))?;
                }
            }
            (None, None) => {}
        }
        Some(found.others)
    }

    /// Those who stay in sections of which the rows tell otherwise.
    fn stayers(
        &self,
        (before, after): (&Roster, &Roster),
        old: &Row,
        new: &Row,
        found: &mut Found,
    ) -> Option<()> {
        let (Some(was), Some(is)) = (self.before, self.after) else { return Some(()) };
        let places: Vec<usize> = self.differing(old, new).collect();
        let count: usize = places.iter().map(|place| self.staying[*place]).sum();
        if count > found.most {
            return None;
        }
        for place in places {
            let section = is.ids()[place];
            let stays = |member: &MemberId| {
                self.cells.is_empty()
                    || before.section(self.network, *member) == after.section(self.network, *member)
            };
            match (new.form(place), Self::form(Some(was), Some(old), Some(section))) {
                (Some(form), _) => {
                    let members = after.told_members((self.network, section, form)).filter(stays);
                    found.extend(members.map(|member| (member, Some((section, form)))))?;
                }
                (None, Some(form)) => {
                    let members = before.told_members((self.network, section, form)).filter(stays);
                    found.extend(members.map(|member| (member, None)))?;
                }
                (None, None) => {}
            }
        }
        Some(())
    }

    /// Those who moved, and those who stay and are seen differently.
    fn movers(&self, old: &Row, new: &Row, found: &mut Found) -> Option<()> {
        for cell in &self.cells {
            let was = Self::form(self.before, Some(old), cell.old);
            let is = Self::form(self.after, Some(new), cell.new);
            let differs = |(_, full, bare): &&Moved| match (was, is) {
                (None, None) => false,
                (Some(Form::Full), Some(Form::Full)) => *full,
                (Some(Form::Bare), Some(Form::Bare)) => *bare,
                (Some(_) | None, Some(_) | None) => true,
            };
            let there = cell.new.zip(is);
            found.extend(cell.members.iter().filter(differs).map(|(member, _, _)| (*member, there)))?;
        }
        for ((section, form), members) in &self.changed {
            let was = Self::form(self.before, Some(old), Some(*section));
            let is = Self::form(self.after, Some(new), Some(*section));
            if (was, is) == (Some(*form), Some(*form)) {
                found.extend(members.iter().map(|member| (*member, Some((*section, *form)))))?;
            }
        }
        Some(())
    }
}

/// Those who were found, as long as they are not too many.
struct Found {
    most: usize,
    others: Vec<Otherwise>,
}

impl Found {
    fn extend(&mut self, others: impl Iterator<Item = Otherwise>) -> Option<()> {
        let room = self.most + 1 - self.others.len();
        self.others.extend(others.take(room));
        (self.others.len() <= self.most).then_some(())
    }
}

/// All who are in the network on either side, but those who stay where they are and are not touched.
fn relaid(before: &Roster, after: &Roster, touched: &Touched, network: NetworkId) -> Vec<MemberId> {
    let mut looked_at: Vec<MemberId> = touched.seen_in(network).collect();
    let (mut old, mut new) = (before.members_of(network).peekable(), after.members_of(network).peekable());
    loop {
        match (old.peek().copied(), new.peek().copied()) {
            (Some(one), Some(other)) if one == other => {
                old.next();
                new.next();
            }
            (Some((member, _)), other) if other.is_none_or(|(other, _)| member <= other) => {
                looked_at.push(member);
                new.next_if(|(other, _)| *other == member);
                old.next();
            }
            (_, Some((member, _))) => {
                looked_at.push(member);
                new.next();
            }
            (_, None) => break,
        }
    }
    looked_at.sort_unstable();
    looked_at.dedup();
    looked_at
}
