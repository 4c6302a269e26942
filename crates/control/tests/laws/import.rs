//! Laws of importing: what was exported comes back, but for what is machines' own, what was spent, and what is secret.

use std::collections::BTreeSet;

use control::{Actor, Command, Intent, Record, RecordKey, apply};
use model::{Digest, Host, PasswordHash};
use proptest::prelude::*;

use crate::history::{Brain, full_history};

fn exported(intent: &Intent) -> Vec<Record> {
    let records = intent.records().filter(|record| !matches!(record, Record::ApiToken(_)));
    records.map(without_secrets).collect()
}

fn without_secrets(record: Record) -> Record {
    match record {
        Record::User(mut user) => {
            user.password = PasswordHash::from_phc("of no account".to_owned());
            user.into()
        }
        Record::EnrollmentKey(mut key) => {
            key.digest = Digest::from_bytes([0xdd; 32]);
            key.into()
        }
        other => other,
    }
}

/// What is secret of a record.
fn secret(intent: &Intent, key: RecordKey) -> Option<String> {
    match intent.record(key)? {
        Record::User(user) => Some(user.password.as_phc().to_owned()),
        Record::EnrollmentKey(key) => Some(key.digest.to_string()),
        _ => None,
    }
}

/// The record with the ids that the document's accounts have here: one that went and was made again is the same by its name.
fn as_here(here: &Intent, document: &[Record], record: &Record) -> Record {
    let mut text = serde_json::to_string(record).unwrap();
    let named: BTreeSet<RecordKey> = document.iter().map(Record::key).collect();
    for one in document {
        if let Record::User(user) = one
            && here.user(user.id).is_none()
            && let Some(other) = here.user_by_name(&user.name)
            && !named.contains(&other.id.into())
        {
            text = text.replace(&user.id.to_string(), &other.id.to_string());
        }
    }
    let mut here =
        Record::deserialize_as(record.key().kind, &mut serde_json::Deserializer::from_str(&text)).unwrap();
    // What somebody called something stays as it was written, whatever it looks like.
    if let (Record::Policy(here), Record::Policy(policy)) = (&mut here, record) {
        here.name.clone_from(&policy.name);
    }
    here
}

/// What an import sets of a record: a host's keys are its own, uses are counted on, and no secret is in a document.
fn set_by_people(record: &Record) -> Record {
    match without_secrets(record.clone()) {
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
        Record::Client(mut client) => {
            client.expired = None;
            Record::Client(client)
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
        let command = Command::Import { records: document.clone(), prune, seen: Some(before.seq()) };
        let Ok(change) = brain.decide(&Actor::System, command.clone()) else {
            // What is there now and what was there then may be in each other's way: then nothing is done.
            prop_assert_eq!(&brain.intent, &before);
            return Ok(());
        };
        apply(&mut brain.intent, &change);
        prop_assert_eq!(brain.intent.check(), []);
        let meant: Vec<Record> = document.iter().map(|record| as_here(&before, &document, record)).collect();
        for record in &meant {
            let now = brain.intent.record(record.key()).map(|now| set_by_people(&now));
            // A key that is not here has no secret to let anybody in by.
            let stays_out =
                matches!(record, Record::EnrollmentKey(_)) && before.record(record.key()).is_none();
            prop_assert_eq!(now, (!stays_out).then(|| set_by_people(record)));
            if before.record(record.key()).is_some() {
                let secrets = [&before, &brain.intent].map(|intent| secret(intent, record.key()));
                prop_assert_eq!(&secrets[0], &secrets[1], "what is secret is what it was");
            }
        }
        let named: BTreeSet<RecordKey> = meant.iter().map(Record::key).collect();
        for record in brain.intent.records() {
            let may_be_here = !prune || named.contains(&record.key()) || matches!(record, Record::ApiToken(_));
            prop_assert!(may_be_here, "{record:?}");
        }
        for host in brain.intent.hosts(None) {
            let key = before.host(host.id).map_or(host.wireguard_key, |before| before.wireguard_key);
            prop_assert_eq!(host.wireguard_key, key);
        }
        let command = Command::Import { records: document, prune, seen: None };
        let again = brain.decide(&Actor::System, command).unwrap();
        prop_assert!(again.is_empty(), "{again:?}");
    }
}
