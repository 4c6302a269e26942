//! What holds for all names and all changes: answers agree with a slow and simple model, however the names came to be
//! what they are.

#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use dns::{Answer, Data, Names, Record, Text, coredns};
use domain::base::iana::{Rcode, Rtype};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{CLOSED, name, read, record, request, zone};

const ZONES: [&str; 4] = ["z.test", "b.z.test", "c.b.z.test", "other"];
const KINDS: [Rtype; 4] = [Rtype::A, Rtype::CNAME, Rtype::TXT, Rtype::SRV];

#[derive(Debug, Clone)]
enum Change {
    Insert(Record),
    Remove(Record),
    Clear(String),
    PutZone(&'static str),
    RemoveZone(&'static str),
}

/// Names in and around the zones.
fn owner() -> impl Strategy<Value = String> {
    let labels = vec(prop::sample::select(vec!["a", "b", "c"]), 0..4);
    let origin = prop::sample::select(vec!["z.test", "other", "test"]);
    (labels, origin)
        .prop_map(|(labels, origin)| labels.into_iter().chain([origin]).collect::<Vec<_>>().join("."))
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        3 => (1..4_u8).prop_map(|last| Data::A([10, 0, 0, last].into())),
        2 => owner().prop_map(|owner| Data::Cname(name(&owner))),
        1 => "[xy]".prop_map(|text| Data::Txt(Text::of_value(&text).unwrap())),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let any_record = || (owner(), data()).prop_map(|(owner, data)| record(&owner, data));
    prop_oneof![
        6 => any_record().prop_map(Change::Insert),
        2 => any_record().prop_map(Change::Remove),
        1 => owner().prop_map(Change::Clear),
        2 => prop::sample::select(ZONES.to_vec()).prop_map(Change::PutZone),
        1 => prop::sample::select(ZONES.to_vec()).prop_map(Change::RemoveZone),
    ]
}

/// Everything said slowly: lists, and names as text.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    zones: BTreeSet<&'static str>,
    records: BTreeMap<String, Vec<Data>>,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Outside,
    Answer { rcode: Rcode, answers: usize, soa_of: Option<&'static str> },
}

fn lies_in(owner: &str, origin: &str) -> bool {
    owner == origin || owner.ends_with(&format!(".{origin}"))
}

impl Model {
    fn zone_of(&self, owner: &str) -> Option<&'static str> {
        self.zones.iter().copied().filter(|origin| lies_in(owner, origin)).max_by_key(|origin| origin.len())
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Insert(record) => self.insert(record),
            Change::Remove(record) => {
                if let Some(there) = self.records.get_mut(&record.name.to_string()) {
                    there.retain(|data| *data != record.data);
                }
            }
            Change::Clear(owner) => drop(self.records.remove(owner)),
            Change::PutZone(origin) => {
                let is_new = self.zones.insert(origin);
                let is_alias = |data: &Data| matches!(data, Data::Cname(_));
                if is_new && self.records.get(*origin).is_some_and(|there| there.iter().any(is_alias)) {
                    self.records.remove(*origin);
                }
            }
            Change::RemoveZone(origin) => drop(self.zones.remove(origin)),
        }
        let zones = self.clone();
        self.records.retain(|owner, there| !there.is_empty() && zones.zone_of(owner).is_some());
    }

    fn insert(&mut self, Record { name, ttl: _, data }: &Record) {
        let owner = name.to_string();
        let is_alias = matches!(data, Data::Cname(_));
        let Some(zone) = self.zone_of(&owner) else { return };
        let there = self.records.entry(owner.clone()).or_default();
        let others = if is_alias { !there.is_empty() || zone == owner } else { has_alias(there) };
        if !others && !there.contains(data) {
            there.push(data.clone());
        }
    }

    fn ask(&self, asked: &str, rtype: Rtype) -> Expected {
        let mut owner = asked.to_owned();
        for step in 0..=8 {
            let there = self.records.get(&owner).map_or(&[][..], Vec::as_slice);
            let fitting = there.iter().filter(|data| kind(data) == rtype).count();
            if fitting > 0 {
                return Expected::Answer { rcode: Rcode::NOERROR, answers: step + fitting, soa_of: None };
            }
            if let [Data::Cname(target)] = there {
                owner = target.to_string();
                continue;
            }
            let Some(zone) = self.zone_of(&owner) else {
                let rest = Expected::Answer { rcode: Rcode::NOERROR, answers: step, soa_of: None };
                return if step == 0 { Expected::Outside } else { rest };
            };
            let known = self.records.keys().map(String::as_str).chain(self.zones.iter().copied());
            let exists = known.into_iter().any(|known| lies_in(known, &owner));
            let rcode = if exists { Rcode::NOERROR } else { Rcode::NXDOMAIN };
            return Expected::Answer { rcode, answers: step, soa_of: Some(zone) };
        }
        Expected::Answer { rcode: Rcode::SERVFAIL, answers: 0, soa_of: None }
    }
}

fn has_alias(there: &[Data]) -> bool {
    there.iter().any(|data| matches!(data, Data::Cname(_)))
}

fn kind(data: &Data) -> Rtype {
    match data {
        Data::A(_) => Rtype::A,
        Data::Aaaa(_) => Rtype::AAAA,
        Data::Cname(_) => Rtype::CNAME,
        Data::Txt(_) => Rtype::TXT,
        Data::Srv(_) => Rtype::SRV,
        Data::Ptr(_) => Rtype::PTR,
    }
}

fn apply(names: &Names, change: &Change) {
    names.edit(|edit| match change {
        Change::Insert(record) => drop(edit.insert(record.clone())),
        Change::Remove(record) => drop(edit.remove(&record.name, &record.data)),
        Change::Clear(owner) => drop(edit.clear(&name(owner))),
        Change::PutZone(origin) => edit.put_zone(zone(origin)),
        Change::RemoveZone(origin) => drop(edit.remove_zone(&name(origin))),
    });
}

fn ask(names: &Names, owner: &str, rtype: Rtype) -> Expected {
    let mut reply = Vec::new();
    let outcome = dns::answer(&names.snapshot(), &request(owner, rtype), CLOSED, &mut reply);
    assert!(matches!(outcome, Answer::Reply), "{outcome:?}");
    let reply = read(&reply);
    if reply.rcode == Rcode::REFUSED {
        return Expected::Outside;
    }
    // A name that the question ends with is not repeated, so it has the question's case.
    let soa_of = reply.authority.first().map(|soa| soa.split(' ').next().unwrap().to_ascii_lowercase());
    let soa_of = soa_of.map(|origin| *ZONES.iter().find(|zone| **zone == origin).unwrap());
    Expected::Answer { rcode: reply.rcode, answers: reply.answers.len(), soa_of }
}

/// Every name that could matter.
fn universe() -> Vec<String> {
    let mut names: Vec<String> = ["z.test", "other", "test"].map(str::to_owned).to_vec();
    let mut last = names.clone();
    for _ in 0..4 {
        last =
            last.iter().flat_map(|below| ["a", "b", "c"].map(|label| format!("{label}.{below}"))).collect();
        names.extend(last.clone());
    }
    names
}

fn serials(names: &Names) -> BTreeMap<String, u32> {
    names.snapshot().zones().map(|(zone, serial)| (zone.origin.to_string(), serial)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn answers_agree_with_the_model(changes in vec(change(), 1..40)) {
        let names = Names::new();
        let mut model = Model::default();
        for change in &changes {
            apply(&names, change);
            model.apply(change);
        }
        for owner in universe() {
            for rtype in KINDS {
                prop_assert_eq!(ask(&names, &owner, rtype), model.ask(&owner, rtype), "{} {}", owner, rtype);
            }
        }
    }

    #[test]
    fn names_changed_one_by_one_equal_names_made_at_once(changes in vec(change(), 1..40)) {
        let changed = Names::new();
        changes.iter().for_each(|change| apply(&changed, change));
        let made = Names::new();
        let snapshot = changed.snapshot();
        let zones: Vec<_> = snapshot.zones().map(|(zone, _)| zone.clone()).collect();
        let errors = made.edit(|edit| edit.replace(zones, snapshot.records()));
        prop_assert_eq!(errors, vec![]);
        prop_assert_eq!(coredns::hosts(&made.snapshot()), coredns::hosts(&snapshot));
        for owner in universe() {
            prop_assert_eq!(ask(&made, &owner, Rtype::A), ask(&changed, &owner, Rtype::A));
        }
    }

    #[test]
    fn serial_numbers_grow_with_every_change_of_a_zone(changes in vec(change(), 1..40)) {
        let names = Names::new();
        for change in &changes {
            let before = (serials(&names), names.snapshot());
            apply(&names, change);
            let after = (serials(&names), names.snapshot());
            for (origin, serial) in &after.0 {
                let of = |snapshot: &dns::Snapshot| snapshot.records_of(&name(origin)).collect::<Vec<_>>();
                let Some(old) = before.0.get(origin) else { continue };
                prop_assert!(serial >= old);
                prop_assert!(serial > old || of(&before.1) == of(&after.1), "{:?}", change);
            }
        }
    }

    #[test]
    fn the_way_a_name_is_written_changes_nothing(upper in vec(any::<bool>(), 40), owner in owner()) {
        let names = Names::new();
        let records = ["a.z.test", "b.a.z.test", "c.other"].map(|owner| record(owner, Data::A([10, 0, 0, 1].into())));
        names.edit(|edit| edit.replace([zone("z.test"), zone("other")], records));
        let mixed: String = owner.chars().zip(upper.iter().cycle())
            .map(|(letter, upper)| if *upper { letter.to_ascii_uppercase() } else { letter }).collect();
        prop_assert_eq!(ask(&names, &mixed, Rtype::A), ask(&names, &owner, Rtype::A));
    }
}
