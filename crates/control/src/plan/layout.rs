//! The layout of a network: which sections the nodes of each section are told of, and in which form. It says what `sight`
//! says, of all at once: by sets of sections, rule by rule.
//!
//! It keeps true that it follows from the sections that there are and the rules alone.

use std::collections::BTreeMap;

use model::{Access, HostId};

use super::section::{Form, Guard, Kind, SectionId, Signature};
use crate::bits::Bits;
use crate::policy::Sides;

/// What the nodes of one section are told of, by the sections' places in the layout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    pub(super) full: Bits,
    pub(super) bare: Bits,
}

/// The layout of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    ids: Vec<SectionId>,
    /// None where a section is of no nodes.
    rows: Vec<Option<Row>>,
    /// What some node is told of in this form.
    told: Row,
}

/// What carriers carry, of all sections.
struct Carriers<'a> {
    by_host: BTreeMap<HostId, usize>,
    /// For each list of carriers: the sections that have it, and those of the carriers.
    lists: BTreeMap<&'a [HostId], (Bits, Bits)>,
    free: Bits,
    egress: Bits,
}

impl<'a> Carriers<'a> {
    fn of(signatures: &[&'a Signature]) -> Self {
        let count = signatures.len();
        let by_host: BTreeMap<HostId, usize> =
            signatures.iter().enumerate().filter_map(|(at, it)| Some((it.duties?, at))).collect();
        let mut lists: BTreeMap<&[HostId], (Bits, Bits)> = BTreeMap::new();
        let (mut free, mut egress) = (Bits::none(count), Bits::none(count));
        for (at, signature) in signatures.iter().enumerate() {
            if signature.kind == Kind::Egress {
                egress.insert(at);
            }
            if signature.via.is_empty() {
                free.insert(at);
                continue;
            }
            let (carried, carriers) =
                lists.entry(&signature.via).or_insert_with(|| (Bits::none(count), Bits::none(count)));
            carried.insert(at);
            signature.via.iter().filter_map(|host| by_host.get(host)).for_each(|at| carriers.insert(*at));
        }
        Self { by_host, lists, free, egress }
    }

    /// The sections that this host carries.
    fn carried_by(&self, host: HostId) -> Bits {
        let mut carried = Bits::none(0);
        for (list, (sections, _)) in &self.lists {
            if list.contains(&host) {
                match carried == Bits::none(0) {
                    true => carried = sections.clone(),
                    false => carried.add(sections),
                }
            }
        }
        carried
    }

    /// Those who lead to some of these.
    fn leading_to(&self, these: &Bits) -> impl Iterator<Item = &Bits> {
        self.lists.values().filter(move |(carried, _)| carried.meets(these)).map(|(_, carriers)| carriers)
    }
}

/// For each section, those with which it has to do by policy or as a way to everything.
fn partners(guard: &Guard, signatures: &[&Signature], on: &[Sides], carriers: &Carriers<'_>) -> Vec<Bits> {
    let count = signatures.len();
    if guard.access == Access::Allow {
        return vec![Bits::all(count); count];
    }
    let mut partners = vec![Bits::none(count); count];
    let mut sides = vec![(Bits::none(count), Bits::none(count)); guard.rules.len()];
    for (at, on) in on.iter().enumerate() {
        on.from.iter().for_each(|rule| sides[*rule as usize].0.insert(at));
        on.to.iter().for_each(|rule| sides[*rule as usize].1.insert(at));
    }
    for (from, to) in &sides {
        from.iter().for_each(|at| partners[at].add(to));
        to.iter().for_each(|at| partners[at].add(from));
    }
    for (at, signature) in signatures.iter().enumerate() {
        if let Some(gateway) = signature.uses.and_then(|host| carriers.by_host.get(&host)) {
            partners[at].insert(*gateway);
            partners[*gateway].insert(at);
        }
    }
    partners
}

impl Layout {
    /// Of these sections, ordered; and the rules that lead to each.
    pub(super) fn new(guard: &Guard, sections: &[(SectionId, &Signature)]) -> (Self, Vec<Vec<u32>>) {
        let signatures: Vec<&Signature> = sections.iter().map(|(_, signature)| *signature).collect();
        let carriers = Carriers::of(&signatures);
        let on: Vec<Sides> = signatures.iter().map(|it| guard.rules.sides(&it.subjects)).collect();
        let partners = partners(guard, &signatures, &on, &carriers);
        let row = |(at, it): (usize, &&Signature)| {
            (it.kind == Kind::Node).then(|| row(at, it, &carriers, &partners))
        };
        let rows: Vec<Option<Row>> = signatures.iter().enumerate().map(row).collect();
        let count = sections.len();
        let mut told = Row { full: Bits::none(count), bare: Bits::none(count) };
        for row in rows.iter().flatten() {
            told.full.add(&row.full);
            told.bare.add(&row.bare);
        }
        let layout = Self { ids: sections.iter().map(|(id, _)| *id).collect(), rows, told };
        (layout, on.into_iter().map(|on| on.to).collect())
    }

    /// The sections, ordered.
    pub(super) fn ids(&self) -> &[SectionId] {
        &self.ids
    }

    /// A section's place.
    pub(super) fn at(&self, section: SectionId) -> Option<usize> {
        self.ids.binary_search(&section).ok()
    }

    /// What the nodes of a section are told of.
    pub(super) fn row(&self, section: SectionId) -> Option<&Row> {
        self.rows[self.at(section)?].as_ref()
    }

    /// Whether somebody is told of the section at this place in this form.
    pub(super) fn tells(&self, at: usize, form: Form) -> bool {
        self.told.tells(at, form)
    }
}

impl Row {
    /// The form in which this tells of the section at this place.
    pub(super) fn form(&self, at: usize) -> Option<Form> {
        let full = self.full.contains(at).then_some(Form::Full);
        full.or_else(|| self.bare.contains(at).then_some(Form::Bare))
    }

    /// Whether this tells of the section at this place in this form.
    fn tells(&self, at: usize, form: Form) -> bool {
        match form {
            Form::Full => self.full.contains(at),
            Form::Bare => self.bare.contains(at),
        }
    }

    /// The sections that it tells of, by place, with the form.
    pub(super) fn told(&self) -> impl Iterator<Item = (usize, Form)> + '_ {
        let full = self.full.iter().map(|at| (at, Form::Full));
        full.chain(self.bare.iter().map(|at| (at, Form::Bare)))
    }
}

/// What the nodes of the section at this place are told of.
fn row(at: usize, signature: &Signature, carriers: &Carriers<'_>, partners: &[Bits]) -> Row {
    let mut seen = partners[at].clone();
    let mut direct = carriers.free.clone();
    if let Some(host) = signature.duties {
        let carried = carriers.carried_by(host);
        carried.iter().for_each(|other| seen.add(&partners[other]));
        seen.add(&carried);
        direct.add(&carried);
    }
    let leading: Vec<&Bits> = carriers.leading_to(&seen).collect();
    leading.into_iter().for_each(|more| seen.add(more));
    let relay = signature.via.iter().filter_map(|host| carriers.by_host.get(host));
    if !signature.via.is_empty() {
        direct = Bits::none(partners.len());
    }
    for relay in relay {
        seen.insert(*relay);
        direct.insert(*relay);
    }
    if signature.duties.is_some() {
        // Alone in its section.
        seen.remove(at);
    }
    let direct = direct.but(&carriers.egress);
    Row { full: seen.and(&direct), bare: seen.but(&direct) }
}
