//! Laws of deciding and applying.

use std::collections::{BTreeMap, BTreeSet};

use control::{Change, Intent, Kind, Record, RecordKey};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::history::{Brain, Did, full_history};

/// What the database holds: kinds, ids and JSON.
struct Rows(BTreeMap<RecordKey, (Kind, String)>);

impl Rows {
    fn of(intent: &Intent) -> Self {
        let row =
            |record: Record| (record.key(), (record.key().kind, serde_json::to_string(&record).unwrap()));
        Self(intent.records().map(row).collect())
    }

    fn commit(&mut self, change: &Change) {
        for record in &change.records {
            let key = record.key().unwrap();
            match &record.after {
                None => drop(self.0.remove(&key)),
                Some(after) => drop(self.0.insert(key, (key.kind, serde_json::to_string(after).unwrap()))),
            }
        }
    }

    fn load(&self, seq: u64) -> Intent {
        let read = |(kind, json): &(Kind, String)| {
            Record::deserialize_as(*kind, &mut serde_json::Deserializer::from_str(json)).unwrap()
        };
        Intent::from_records(seq, self.0.values().map(read)).unwrap()
    }
}

/// Each record at most once, and as it was before.
fn is_specific(before: &Intent, change: &Change) -> bool {
    let records: BTreeMap<RecordKey, Record> =
        before.records().map(|record| (record.key(), record)).collect();
    let keys: BTreeSet<_> = change.records.iter().map(|record| record.key().unwrap()).collect();
    let as_before =
        |record: &control::RecordChange| records.get(&record.key().unwrap()) == record.before.as_ref();
    keys.len() == change.records.len()
        && change.records.iter().all(as_before)
        && change.records.iter().all(|record| record.before != record.after)
}

/// No network answers for what another one does, nor asks others for it: with the server's domain, too.
fn domains_are_apart(intent: &Intent) -> bool {
    let server = control::plan::default_domain();
    let domain = |network: &model::Network| network.domain_below(&server);
    let domains: Vec<_> = intent.networks(None).filter_map(domain).collect();
    let upstreams = intent.networks(None).flat_map(|network| intent.upstreams_in_network(network.id));
    let foreign = |upstream: &model::Upstream| domains.iter().all(|own| !upstream.domain.is_within(own));
    let holds = |own: &model::DnsName| domains.iter().filter(|other| other.is_within(own)).count();
    domains.iter().all(|own| holds(own) == 1) && upstreams.into_iter().all(foreign)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn intent_holds_together_after_every_change(steps in full_history(200), settled: bool) {
        let mut brain = if settled { Brain::settled() } else { Brain::new() };
        for step in &steps {
            let before = brain.intent.clone();
            let Did::Decided(decided) = brain.step(step) else { continue };
            let Ok(change) = decided else {
                prop_assert_eq!(&brain.intent, &before);
                continue;
            };
            prop_assert!(is_specific(&before, &change), "{change:?}");
            prop_assert_eq!(brain.intent.check(), []);
            prop_assert!(domains_are_apart(&brain.intent), "{change:?}");
            prop_assert_eq!(brain.intent.seq(), before.seq() + 1);
        }
    }

    #[test]
    fn no_address_belongs_to_two_members(steps in full_history(200), settled: bool) {
        let mut brain = if settled { Brain::settled() } else { Brain::new() };
        for step in &steps {
            brain.step(step);
        }
        let nodes = brain.intent.nodes(None).flat_map(|node| node.addresses.iter());
        let clients = brain.intent.clients().flat_map(|client| client.addresses.iter());
        let addresses: Vec<_> = nodes.chain(clients).collect();
        let distinct: BTreeSet<_> = addresses.iter().collect();
        prop_assert_eq!(distinct.len(), addresses.len());
    }

    #[test]
    fn what_the_database_holds_is_what_was_applied(steps in full_history(200), settled: bool) {
        let mut brain = if settled { Brain::settled() } else { Brain::new() };
        let mut rows = Rows::of(&brain.intent);
        for step in &steps {
            if let Did::Decided(Ok(change)) = brain.step(step) {
                rows.commit(&change);
            }
        }
        prop_assert_eq!(rows.load(brain.intent.seq()), brain.intent);
    }

    #[test]
    fn the_same_command_at_the_same_moment_is_decided_alike(steps in full_history(60)) {
        let (mut one, mut other) = (Brain::settled(), Brain::settled());
        for step in &steps {
            if let (Did::Decided(one), Did::Decided(other)) = (one.step(step), other.step(step)) {
                prop_assert_eq!(one, other);
            }
        }
    }
}

#[test]
fn histories_are_of_both_kinds() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut made, mut refused, mut hosts) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut left = BTreeMap::<Kind, usize>::new();
    for number in 0..64 {
        let steps = full_history(200).new_tree(&mut runner).unwrap().current();
        let mut brain = if number % 2 == 0 { Brain::settled() } else { Brain::new() };
        for step in &steps {
            match brain.step(step) {
                Did::Decided(Ok(change)) if !change.is_empty() => {
                    made.insert(change.command.into_owned());
                }
                Did::Decided(Err(rejection)) => {
                    refused.insert(rejection.code());
                }
                Did::Decided(Ok(_)) | Did::Observed(..) | Did::Waited => {}
            }
        }
        hosts += brain.intent.host_count();
        brain.intent.records().for_each(|record| *left.entry(record.key().kind).or_default() += 1);
    }
    // Laws over histories in which nothing happens would say nothing.
    assert_eq!(made.len(), 43, "{made:?}");
    assert!(hosts > 64 * 3, "{hosts}");
    assert!(Kind::ALL.iter().all(|kind| left.get(kind).is_some_and(|left| *left > 30)), "{left:?}");
    assert!(refused.len() > 60, "{refused:?}");
}
