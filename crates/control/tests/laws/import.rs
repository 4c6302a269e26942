//! Laws of importing: what was exported comes back, but for what is machines' own and what was spent.

use std::collections::BTreeSet;

use control::{Actor, Command, Intent, Record, RecordKey, apply};
use model::Host;
use proptest::prelude::*;

use crate::history::{Brain, full_history};

fn exported(intent: &Intent) -> Vec<Record> {
    intent.records().filter(|record| !matches!(record, Record::ApiToken(_))).collect()
}

/// What an import sets of a record: a host's keys are its own, and uses are counted on.
fn set_by_people(record: &Record) -> Record {
    match record.clone() {
        Record::Host(Host { id, name, mtu, static_endpoint, default, ephemeral, .. }) => {
            let nobody = || [0; 32];
            Record::Host(Host {
                wireguard_key: model::WgPublicKey::from_bytes(nobody()),
                signing_key: model::SigningPublicKey::from_bytes(nobody()),
                sealing: model::SealingIdentity {
                    key: model::SealingPublicKey::from_bytes(nobody()),
                    encapsulated: model::SealingPublicKey::from_bytes(nobody()),
                    server: None,
                },
                rotate: false,
                rotate_since: None,
                rekeyed: None,
                created: model::Timestamp::default(),
                id,
                name,
                mtu,
                static_endpoint,
                default,
                ephemeral,
            })
        }
        Record::EnrollmentKey(mut key) => {
            key.uses = model::Uses::Unlimited;
            Record::EnrollmentKey(key)
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_exported_comes_back(first in full_history(120), then in full_history(40), prune: bool) {
        let mut brain = Brain::settled();
        first.iter().for_each(|step| drop(brain.step(step)));
        let document = exported(&brain.intent);
        then.iter().for_each(|step| drop(brain.step(step)));
        let before = brain.intent.clone();
        let command = Command::Import { records: document.clone(), prune };
        let Ok(change) = brain.decide(&Actor::System, command.clone()) else {
            // What is there now and what was there then may be in each other's way: then nothing is done.
            prop_assert_eq!(&brain.intent, &before);
            return Ok(());
        };
        apply(&mut brain.intent, &change);
        prop_assert_eq!(brain.intent.check(), []);
        for record in &document {
            let now = brain.intent.record(record.key()).map(|now| set_by_people(&now));
            prop_assert_eq!(now, Some(set_by_people(record)));
        }
        let named: BTreeSet<RecordKey> = document.iter().map(Record::key).collect();
        for record in brain.intent.records() {
            let may_be_here = !prune || named.contains(&record.key()) || matches!(record, Record::ApiToken(_));
            prop_assert!(may_be_here, "{record:?}");
        }
        for host in brain.intent.hosts(None) {
            let key = before.host(host.id).map_or(host.wireguard_key, |before| before.wireguard_key);
            prop_assert_eq!(host.wireguard_key, key);
        }
        let again = brain.decide(&Actor::System, command).unwrap();
        prop_assert!(again.is_empty(), "{again:?}");
    }
}
