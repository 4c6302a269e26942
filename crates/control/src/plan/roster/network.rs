//! The roster of one network: its sections by place, each with its members as others see them.
//!
//! It keeps true that its sections are those of its layout, in the same order: what is told of a row is found without a search.

use std::sync::Arc;

use imbl::OrdMap;
use model::MemberId;
use wire::{Entry, bucket_of};

use crate::plan::bucket::Bucket;
use crate::plan::layout::{Layout, Row};
use crate::plan::section::{Form, Guard, SectionId, Signature};

/// One network's members as its others see them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct NetworkRoster {
    pub(super) guard: Arc<Guard>,
    pub(super) layout: Arc<Layout>,
    /// The rules that lead to the members of each section, by place in the layout; each ordered.
    pub(super) rules: Arc<[Vec<u32>]>,
    /// By place in the layout.
    pub(super) sections: Vec<Arc<Section>>,
    pub(super) members: OrdMap<MemberId, SectionId>,
}

/// The members of one section.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    pub(super) signature: Arc<Signature>,
    pub(super) size: usize,
    full: Buckets,
    bare: Buckets,
}

/// Buckets that are not empty, by number.
type Buckets = Vec<(u8, Arc<Bucket>)>;

impl Section {
    pub(super) const fn new(signature: Arc<Signature>, size: usize) -> Self {
        Self { signature, size, full: Vec::new(), bare: Vec::new() }
    }

    const fn buckets(&self, form: Form) -> &Buckets {
        match form {
            Form::Full => &self.full,
            Form::Bare => &self.bare,
        }
    }

    pub(super) fn entry(&self, form: Form, member: MemberId) -> Option<&Entry> {
        let buckets = self.buckets(form);
        let at = buckets.binary_search_by_key(&bucket_of(member), |(number, _)| *number).ok()?;
        buckets[at].1.entry(member)
    }

    /// Puts entries into one bucket, or takes them out.
    pub(super) fn change<'a>(
        &mut self,
        form: Form,
        number: u8,
        changes: impl Iterator<Item = (MemberId, &'a Option<Entry>)> + Clone,
    ) {
        let buckets = match form {
            Form::Full => &mut self.full,
            Form::Bare => &mut self.bare,
        };
        let found = buckets.binary_search_by_key(&number, |(number, _)| *number);
        let changed = match found {
            Ok(at) => buckets[at].1.changed(changes),
            Err(_) => Bucket::default().changed(changes),
        };
        let Some(changed) = changed else { return };
        match (found, changed.entries().is_empty()) {
            (Ok(at), true) => drop(buckets.remove(at)),
            (Ok(at), false) => buckets[at].1 = Arc::new(changed),
            (Err(at), false) => buckets.insert(at, (number, Arc::new(changed))),
            (Err(_), true) => {}
        }
    }
}

impl NetworkRoster {
    /// What decides about who is told of whom.
    pub(in crate::plan) const fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Which sections there are, and who is told of which.
    pub(in crate::plan) const fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The rules that lead to the members of this section, ordered.
    pub(in crate::plan) fn rules_to(&self, section: SectionId) -> &[u32] {
        self.layout.at(section).map_or(&[], |at| &self.rules[at])
    }

    /// Whether the one node of this section does something for others.
    pub(in crate::plan) fn has_duties(&self, section: SectionId) -> bool {
        self.layout.at(section).is_some_and(|at| self.sections[at].signature.duties.is_some())
    }

    /// How many members it has.
    pub(in crate::plan) fn count(&self) -> usize {
        self.members.len()
    }

    /// The members and their sections, by member.
    pub(in crate::plan) fn members(&self) -> impl Iterator<Item = (MemberId, SectionId)> {
        self.members.iter().map(|(member, section)| (*member, *section))
    }

    /// The section of a member.
    pub(in crate::plan) fn section(&self, member: MemberId) -> Option<SectionId> {
        self.members.get(&member).copied()
    }

    /// What tells a member apart from others.
    pub(super) fn signature(&self, member: MemberId) -> Option<&Signature> {
        let at = self.layout.at(self.section(member)?)?;
        Some(&self.sections[at].signature)
    }

    /// How many members the section at this place has.
    pub(in crate::plan) fn size(&self, at: usize) -> usize {
        self.sections[at].size
    }

    /// A member of the section at this place, if somebody is told of it in this form.
    pub(in crate::plan) fn entry(&self, at: usize, form: Form, member: MemberId) -> Option<&Entry> {
        self.sections[at].entry(form, member)
    }

    /// The members of the section at this place, if somebody is told of them in this form.
    pub(in crate::plan) fn entries(&self, at: usize, form: Form) -> impl Iterator<Item = &Entry> {
        self.sections[at].buckets(form).iter().flat_map(|(_, bucket)| bucket.entries())
    }

    /// The buckets of which a host in this section is told, with their numbers.
    pub(in crate::plan) fn told_to(&self, section: SectionId) -> Vec<(u8, &Arc<Bucket>)> {
        let mut told = Vec::new();
        for (at, form) in self.layout.row(section).into_iter().flat_map(Row::told) {
            told.extend(self.sections[at].buckets(form).iter().map(|(number, bucket)| (*number, bucket)));
        }
        told
    }

    /// The form in which a host in the first section is told of the second.
    pub(in crate::plan) fn form_of(&self, own: SectionId, section: SectionId) -> Option<Form> {
        self.layout.row(own)?.form(self.layout.at(section)?)
    }
}
