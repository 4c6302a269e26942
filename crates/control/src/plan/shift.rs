//! What changes in one network from one roster to another: whose section is another, whose entry, and which sections whose
//! nodes are told of.
//!
//! Not for who hears of it (`views`). It costs the members that were touched, and a network whose layout changes its sections.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{MemberId, NetworkId};
use wire::Entry;

use super::layout::{Layout, Row};
use super::roster::NetworkRoster;
use super::section::{Form, SectionId};
use super::{Roster, Touched};
use crate::bits::{Bits, ones};

/// A member that moved.
#[derive(Debug)]
pub(super) struct Moved<'a> {
    pub(super) member: MemberId,
    /// As it is seen now in each form, as far as somebody is told of it so.
    now: [Option<&'a Entry>; 2],
    /// Whether that is something else than before, where it has the form before and after.
    differs: [bool; 2],
}

/// Members that went from one section to another, or came or left.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    pub(super) old: Option<SectionId>,
    pub(super) new: Option<SectionId>,
    /// Those, ordered.
    pub(super) members: Vec<Moved<'a>>,
}

/// Where a cell's sections are before and after; beyond all places, where they are not.
#[derive(Debug)]
struct At {
    was: usize,
    is: usize,
    /// Whether somebody in it is seen differently where the form is the same.
    differs: bool,
}

/// Members who stay in a section and are seen differently in one form.
#[derive(Debug)]
pub(super) struct Altered<'a> {
    pub(super) section: SectionId,
    pub(super) form: Form,
    was_at: usize,
    is_at: usize,
    /// Those, ordered, as they are seen now.
    pub(super) members: Vec<Otherwise<'a>>,
}

/// What changes in one network.
#[derive(Debug)]
pub(super) struct Shift<'a> {
    before: Option<&'a NetworkRoster>,
    after: Option<&'a NetworkRoster>,
    pub(super) cells: Vec<Cell<'a>>,
    /// The places of the cells, close together: each host looks at all of them.
    places: Vec<At>,
    pub(super) altered: Vec<Altered<'a>>,
    /// Sections that there are before and after, as runs of places: in the one layout, in the other, how many.
    runs: Vec<(usize, usize, usize)>,
    /// Sections that there are on one side only, by their places.
    gone: Bits,
    come: Bits,
    /// How many stay in a section, by the section's place after.
    staying: Vec<usize>,
}

/// Whom a host sees otherwise than before, and how it sees it now.
pub(super) type Otherwise<'a> = (MemberId, Option<&'a Entry>);

fn laid_out(roster: Option<&NetworkRoster>) -> Option<&Arc<Layout>> {
    roster.map(NetworkRoster::layout)
}

fn place(roster: Option<&NetworkRoster>, section: Option<SectionId>) -> Option<usize> {
    roster?.layout().at(section?)
}

/// Who changes, by where they were and are.
#[derive(Default)]
struct Sorted<'a> {
    cells: BTreeMap<(Option<SectionId>, Option<SectionId>), Vec<Moved<'a>>>,
    altered: BTreeMap<(SectionId, Form), Vec<Otherwise<'a>>>,
}

impl<'a> Sorted<'a> {
    fn look(
        &mut self,
        (before, after): (Option<&'a NetworkRoster>, Option<&'a NetworkRoster>),
        member: MemberId,
    ) {
        let section = |roster: Option<&NetworkRoster>| roster?.section(member);
        let (old, new) = (section(before), section(after));
        let (was_at, is_at) = (place(before, old), place(after, new));
        let was = Form::BOTH.map(|form| before?.entry(was_at?, form, member));
        let now = Form::BOTH.map(|form| after?.entry(is_at?, form, member));
        let differs = Form::BOTH
            .map(|form| was[form as usize].zip(now[form as usize]).is_some_and(|(was, now)| was != now));
        match (old, new) {
            (Some(section), Some(same)) if section == same => {
                for form in Form::BOTH.into_iter().filter(|form| differs[*form as usize]) {
                    self.altered.entry((section, form)).or_default().push((member, now[form as usize]));
                }
            }
            (None, None) => {}
            _ => self.cells.entry((old, new)).or_default().push(Moved { member, now, differs }),
        }
    }
}

impl<'a> Shift<'a> {
    pub(super) fn between(
        before: &'a Roster,
        after: &'a Roster,
        touched: &Touched,
        network: NetworkId,
    ) -> Self {
        let (before, after) = (before.network(network), after.network(network));
        let mut sorted = Sorted::default();
        let look = |member| sorted.look((before, after), member);
        match touched.relaid.contains(&network) {
            true => relaid(before, after, touched, network).into_iter().for_each(look),
            false => touched.seen_in(network).for_each(look),
        }
        let Sorted { cells, altered } = sorted;
        let nowhere = |place: Option<usize>| place.unwrap_or(usize::MAX);
        let at = |((old, new), members): (&(_, _), &Vec<Moved<'_>>)| At {
            was: nowhere(place(before, *old)),
            is: nowhere(place(after, *new)),
            differs: members.iter().any(|moved| moved.differs.contains(&true)),
        };
        let places = cells.iter().map(at).collect();
        let cell = |((old, new), members)| Cell { old, new, members };
        let alter = |((section, form), members)| {
            let (was_at, is_at) = place(before, Some(section)).zip(place(after, Some(section)))?;
            Some(Altered { section, form, was_at, is_at, members })
        };
        let cells = cells.into_iter().map(cell).collect();
        let altered = altered.into_iter().filter_map(alter).collect();
        let (runs, staying, gone, come) = (Vec::new(), Vec::new(), Bits::none(0), Bits::none(0));
        let mut shift = Self { before, after, cells, places, altered, runs, gone, come, staying };
        shift.align();
        shift
    }

    fn is_laid_out_as_before(&self) -> bool {
        match (laid_out(self.before), laid_out(self.after)) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after) || before == after,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether nothing changes for anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.altered.is_empty() && self.is_laid_out_as_before()
    }

    /// Finds the places of each section on both sides.
    fn align(&mut self) {
        let ids = |roster: Option<&'a NetworkRoster>| roster.map(|it| it.layout().ids()).unwrap_or_default();
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
        self.staying = self.after.iter().flat_map(|it| (0..after.len()).map(|at| it.size(at))).collect();
        for (cell, at) in self.cells.iter().zip(&self.places) {
            if let Some(staying) = self.staying.get_mut(at.is) {
                *staying -= cell.members.len();
            }
        }
    }

    fn rows(&self, old: Option<SectionId>, new: Option<SectionId>) -> (Option<&'a Row>, Option<&'a Row>) {
        let row =
            |roster: Option<&'a NetworkRoster>, section: Option<SectionId>| roster?.layout().row(section?);
        (row(self.before, old), row(self.after, new))
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
        let laid_out = laid_out(self.after).filter(|_| !self.is_laid_out_as_before());
        let ids = laid_out.map(|layout| layout.ids()).unwrap_or_default().iter().copied();
        ids.filter(move |section| self.rows(None, Some(*section)).1.is_some())
    }

    /// The sections, by place before and after, that are there on both sides and told of otherwise by these rows.
    fn differing<'r>(&'r self, old: &'r Row, new: &'r Row) -> impl Iterator<Item = (usize, usize)> + 'r {
        self.runs.iter().flat_map(move |(at, to, length)| {
            (0..*length).step_by(64).flat_map(move |step| {
                let left = *length - step;
                let mask = if left < 64 { (1 << left) - 1 } else { u64::MAX };
                let full = old.full.word_at(at + step) ^ new.full.word_at(to + step);
                let bare = old.bare.word_at(at + step) ^ new.bare.word_at(to + step);
                ones((full | bare) & mask).map(move |bit| (at + step + bit, to + step + bit))
            })
        })
    }

    /// Whom a host sees otherwise that is in the one section before and in the other after; it takes part on one side at least.
    /// None if they are more than `most`. The host itself may be among them.
    pub(super) fn otherwise(
        &self,
        (own_old, own_new): (Option<SectionId>, Option<SectionId>),
        most: usize,
    ) -> Option<Vec<Otherwise<'a>>> {
        let mut found = Found { most, others: Vec::new() };
        match self.rows(own_old, own_new) {
            (Some(old), Some(new)) => {
                self.stayers(old, new, &mut found)?;
                self.movers(old, new, &mut found)?;
            }
            (Some(row), None) => {
                for (at, form) in row.told() {
                    let members = self.before.into_iter().flat_map(|it| it.entries(at, form));
                    found.extend(members.map(|entry| (entry.member(), None)))?;
                }
            }
            (None, Some(row)) => {
                for (at, form) in row.told() {
                    let members = self.after.into_iter().flat_map(|it| it.entries(at, form));
                    found.extend(members.map(|entry| (entry.member(), Some(entry))))?;
                }
            }
            (None, None) => {}
        }
        Some(found.others)
    }

    /// Those who stay in sections of which the rows tell otherwise.
    fn stayers(&self, old: &Row, new: &Row, found: &mut Found<'a>) -> Option<()> {
        let (Some(before), Some(after)) = (self.before, self.after) else { return Some(()) };
        let mut room = found.most;
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (was, is) in self.differing(old, new) {
            room = room.checked_sub(self.staying[is])?;
            places.push((was, is));
        }
        for (was, is) in places {
            let all_stay = [before.size(was), after.size(is)] == [self.staying[is]; 2];
            let stays =
                |entry: &&Entry| all_stay || before.section(entry.member()) == after.section(entry.member());
            if let Some(form) = new.form(is) {
                let members = after.entries(is, form).filter(stays);
                found.extend(members.map(|entry| (entry.member(), Some(entry))))?;
            } else if let Some(form) = old.form(was) {
                let members = before.entries(was, form).filter(stays);
                found.extend(members.map(|entry| (entry.member(), None)))?;
            }
        }
        Some(())
    }

    /// Those who moved, and those who stay and are seen differently.
    fn movers(&self, old: &Row, new: &Row, found: &mut Found<'a>) -> Option<()> {
        for (number, at) in self.places.iter().enumerate() {
            let forms = (old.form(at.was), new.form(at.is));
            if forms.0 == forms.1 && !at.differs {
                continue;
            }
            let cell = &self.cells[number];
            match forms {
                (None, None) => {}
                (Some(form), Some(same)) if form == same => {
                    let differ = cell.members.iter().filter(|moved| moved.differs[form as usize]);
                    found.extend(differ.map(|moved| (moved.member, moved.now[form as usize])))?;
                }
                (Some(_), None) => found.extend(cell.members.iter().map(|moved| (moved.member, None)))?,
                (_, Some(form)) => {
                    found
                        .extend(cell.members.iter().map(|moved| (moved.member, moved.now[form as usize])))?;
                }
            }
        }
        for Altered { form, was_at, is_at, members, .. } in &self.altered {
            if old.form(*was_at) == Some(*form) && new.form(*is_at) == Some(*form) {
                found.extend(members.iter().copied())?;
            }
        }
        Some(())
    }
}

/// Those who were found, as long as they are not too many.
struct Found<'a> {
    most: usize,
    others: Vec<Otherwise<'a>>,
}

impl<'a> Found<'a> {
    fn extend(&mut self, others: impl Iterator<Item = Otherwise<'a>>) -> Option<()> {
        let room = self.most + 1 - self.others.len();
        self.others.extend(others.take(room));
        (self.others.len() <= self.most).then_some(())
    }
}

/// All who are in the network on either side, but those who stay where they are and are not touched.
fn relaid(
    before: Option<&NetworkRoster>,
    after: Option<&NetworkRoster>,
    touched: &Touched,
    network: NetworkId,
) -> Vec<MemberId> {
    let mut looked_at: Vec<MemberId> = touched.seen_in(network).collect();
    let [mut old, mut new] =
        [before, after].map(|it| it.into_iter().flat_map(NetworkRoster::members).peekable());
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
