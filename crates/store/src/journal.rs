//! The journal's rows: who changed what, when, and how the records were before and after, for people to read.
//!
//! Not for rebuilding records: it keeps true that nothing secret is in it, not even as a hash.

use control::{ActorName, Change, Kind, Record};
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StoreError;

/// How many entries one transaction removes, so that commits need not wait for long.
pub(crate) const PRUNED_AT_ONCE: u64 = 5_000;

const SECRET: &str = "(secret)";
const NEW_SECRET: &str = "(secret, changed)";

/// A record in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// Its kind. Text: the journal outlives kinds.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// As it was, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// As it became, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Its place in the order of all changes.
    pub seq: u64,
    /// When it was decided.
    pub time: Timestamp,
    /// Who wanted it.
    pub actor: ActorName,
    /// The command's name.
    pub command: String,
    /// What it did.
    pub records: Vec<JournalRecord>,
}

fn value_of(record: &Record) -> Value {
    serde_json::to_value(record).expect("records have text keys and no maps that JSON cannot hold")
}

fn replace(value: Option<&mut Value>, field: &str, by: &str) {
    if let Some(secret) = value.and_then(|value| value.get_mut(field)) {
        *secret = Value::from(by);
    }
}

fn without_secrets(kind: Kind, before: &mut Option<Value>, after: &mut Option<Value>) {
    for field in kind.secret_fields() {
        let of = |value: &Option<Value>| value.as_ref().and_then(|value| value.get(*field)).cloned();
        let changed = before.is_some() && after.is_some() && of(before) != of(after);
        replace(before.as_mut(), field, SECRET);
        replace(after.as_mut(), field, if changed { NEW_SECRET } else { SECRET });
    }
}

/// What of a change the journal keeps.
pub(crate) fn records_of(change: &Change) -> Vec<JournalRecord> {
    let records = change.records.iter().filter_map(|change| {
        let key = change.key()?;
        let (mut before, mut after) =
            (change.before.as_ref().map(value_of), change.after.as_ref().map(value_of));
        without_secrets(key.kind, &mut before, &mut after);
        Some(JournalRecord { kind: key.kind.to_string(), id: key.id_text(), before, after })
    });
    records.collect()
}

/// Has the oldest entries removed, `PRUNED_AT_ONCE` by each call, and says how many that were.
pub(crate) async fn prune_in_pieces<F>(mut prune: impl FnMut() -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut total = 0;
    loop {
        let removed = prune().await?;
        total += removed;
        if removed < PRUNED_AT_ONCE {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use control::RecordChange;
    use model::{ApiToken, ApiTokenId, Digest, PasswordHash, Role, TokenPurpose, User, UserId};

    use super::*;

    fn user(password: &str) -> User {
        User {
            id: UserId::from_bytes([1; 16]),
            name: "anna".parse().unwrap(),
            password: PasswordHash::from_phc(password.to_owned()),
            role: Role::Administrator,
            groups: Default::default(),
            created: Timestamp::default(),
        }
    }

    fn journal(records: Vec<RecordChange>) -> String {
        let change =
            Change { actor: ActorName::from_text("system".to_owned()), command: "test".into(), records };
        serde_json::to_string(&records_of(&change)).unwrap()
    }

    #[test]
    fn a_changed_password_shows_as_changed_and_not_as_what_it_is() {
        let text = journal(vec![RecordChange::changed(user("$argon2id$old"), user("$argon2id$new"))]);
        assert!(!text.contains("argon2") && text.contains(NEW_SECRET) && text.contains("anna"), "{text}");
        let text = journal(vec![RecordChange::changed(user("$argon2id$old"), user("$argon2id$old"))]);
        assert!(!text.contains("argon2") && !text.contains(NEW_SECRET), "{text}");
    }

    #[test]
    fn digests_stay_out_of_the_journal() {
        let digest = Digest::from_bytes([0x5a; 32]);
        let token = ApiToken {
            id: ApiTokenId::from_bytes([2; 16]),
            user: UserId::from_bytes([1; 16]),
            title: "backup".parse().unwrap(),
            purpose: TokenPurpose::Program,
            digest,
            expires: None,
            created: Timestamp::default(),
        };
        for change in [RecordChange::made(token.clone()), RecordChange::removed(token)] {
            let text = journal(vec![change]);
            assert!(!text.contains(&digest.to_string()) && text.contains("backup"), "{text}");
        }
    }
}
