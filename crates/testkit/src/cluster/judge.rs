//! What is: read from the database and its journal, and held against the ledger and against the journal's own laws.
//!
//! Not for agents' maps (`swarm::Truth`). It keeps true that nothing of what a server has in memory is believed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use control::{Intent, Kind, Record};
use serde_json::Value;
use store::{Database, JournalEntry, JournalRecord};

use super::conduct::Conduct;
use super::ledger::{Ledger, State};

/// How the marks of acts begin.
pub(super) const MARK: &str = "mark";
/// Entries of the journal that are read at once.
const PAGE: u32 = 1_000;

fn is_mark(state: &State) -> bool {
    state.as_ref().is_some_and(|state| state.starts_with(MARK))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The thing that a record is, and the state in which it is; none for kinds that nobody here acts upon.
fn thing_of(kind: Kind, value: &Value) -> Option<(String, String)> {
    let below = |kind: &str, name: &str| format!("{kind} {} {}", text(&value["network"]), text(&value[name]));
    Some(match kind {
        Kind::Network => {
            let domain = text(&value["domain"]);
            (network(&text(&value["name"])), domain.split('.').next().unwrap_or_default().to_owned())
        }
        Kind::Host => (format!("host {}", text(&value["id"])), text(&value["name"])),
        Kind::Node => (below("node", "host"), text(&value["tags"][0])),
        Kind::Client => (below("client", "name"), text(&value["tags"][0])),
        Kind::Policy => (below("policy", "name"), text(&value["from"][0]["tag"])),
        Kind::DnsRecord => (below("record", "name"), text(&value["data"]["text"])),
        Kind::EnrollmentKey
        | Kind::User
        | Kind::ApiToken
        | Kind::Egress
        | Kind::PolicyTest
        | Kind::Upstream => return None,
    })
}

/// The key of a network.
pub(super) fn network(name: &str) -> String {
    format!("network {name}")
}

/// The key of what is below a network.
pub(super) fn below(kind: &str, network: model::NetworkId, name: &str) -> String {
    format!("{kind} {network} {name}")
}

/// Every thing that is there, with all its states; of those that nobody acted upon only what acts left.
pub(super) fn things(intent: &Intent, ledger: &Ledger) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in intent.records() {
        let value = value_of(&record);
        if let Some((thing, state)) = thing_of(record.key().kind, &value) {
            found.entry(thing).or_default().push(state);
        }
    }
    found.retain(|thing, states| ledger.knows(thing) || states.iter().any(|state| state.starts_with(MARK)));
    found
}

fn value_of(record: &Record) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

/// The whole journal, oldest first.
pub(super) async fn journal(database: &dyn Database) -> Result<Vec<JournalEntry>> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = database.journal(before, PAGE).await.context("the journal cannot be read")?;
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        all.extend(page);
    }
    all.reverse();
    Ok(all)
}

/// Holds everything against everything.
pub(super) async fn judge(database: &dyn Database, conduct: &Conduct) -> Result<u64> {
    let ledger = &conduct.ledger;
    let loaded = database.load().await.context("intent cannot be read")?;
    let intent = Intent::from_records(loaded.seq, loaded.records)?;
    ledger.compare(&things(&intent, ledger));
    conduct.joins.judge(&intent).into_iter().for_each(|wrong| ledger.complain(wrong));
    let journal = journal(database).await?;
    let mut court = Court::default();
    for entry in &journal {
        court.hear(entry);
    }
    court.close(&intent);
    court.complaints.into_iter().for_each(|complaint| ledger.complain(complaint));
    ledger.compare_effects(&court.effects);
    Ok(intent.seq())
}

/// Goes through the journal, entry by entry.
#[derive(Default)]
struct Court {
    last: u64,
    /// Every record as the journal has it so far.
    records: BTreeMap<(String, String), Value>,
    /// Who has which address of which network.
    addresses: BTreeMap<(String, String), String>,
    effects: BTreeMap<(State, State), u32>,
    complaints: Vec<String>,
}

impl Court {
    fn hear(&mut self, entry: &JournalEntry) {
        if entry.seq != self.last + 1 {
            self.complaints.push(format!("the journal goes from {} to {}", self.last, entry.seq));
        }
        self.last = entry.seq;
        for record in &entry.records {
            self.chain(entry.seq, record);
            self.effect(record);
        }
        // First what is given back, then what is given out: both can be in one change.
        for record in &entry.records {
            for address in addresses(record, record.before.as_ref()) {
                self.addresses.remove(&address);
            }
        }
        for record in &entry.records {
            for address in addresses(record, record.after.as_ref()) {
                let owner = format!("{} {}", record.kind, record.id);
                if let Some(other) = self.addresses.insert(address.clone(), owner.clone()) {
                    let seq = entry.seq;
                    self.complaints
                        .push(format!("{address:?} was given to {owner} at {seq}; {other} had it"));
                }
            }
        }
    }

    /// A record is before a change what it was after the last one.
    fn chain(&mut self, seq: u64, record: &JournalRecord) {
        let key = (record.kind.clone(), record.id.clone());
        let known = self.records.get(&key);
        if secretless(&record.kind) && known != record.before.as_ref() {
            self.complaints.push(format!(
                "{} {} was {known:?}, and the change {seq} took it for {:?}",
                record.kind, record.id, record.before
            ));
        }
        match &record.after {
            Some(after) => drop(self.records.insert(key, after.clone())),
            None => drop(self.records.remove(&key)),
        }
    }

    fn effect(&mut self, record: &JournalRecord) {
        let Ok(kind) = record.kind.parse::<Kind>() else {
            return;
        };
        let state = |value: &Option<Value>| Some(thing_of(kind, value.as_ref()?)?.1);
        let (before, after) = (state(&record.before), state(&record.after));
        if before != after && (is_mark(&before) || is_mark(&after)) {
            *self.effects.entry((before, after)).or_default() += 1;
        }
    }

    /// What the journal leads to is what the database holds.
    fn close(&mut self, intent: &Intent) {
        if self.last != intent.seq() {
            self.complaints.push(format!(
                "the journal ends with {}, and intent is at {}",
                self.last,
                intent.seq()
            ));
        }
        let mut seen = BTreeSet::new();
        for record in intent.records() {
            let key = (record.key().kind.to_string(), record.key().id_text());
            if secretless(&key.0) && self.records.get(&key) != Some(&value_of(&record)) {
                let known = self.records.get(&key);
                self.complaints.push(format!("{key:?} is not what the journal says it is: {known:?}"));
            }
            seen.insert(key);
        }
        let lost = self.records.keys().find(|key| !seen.contains(*key));
        self.complaints.extend(lost.map(|key| format!("{key:?} is in the journal, and not in the database")));
    }
}

/// Whether the journal has records of this kind whole.
fn secretless(kind: &str) -> bool {
    !matches!(kind.parse::<Kind>(), Ok(Kind::User | Kind::EnrollmentKey | Kind::ApiToken))
}

fn addresses(record: &JournalRecord, value: Option<&Value>) -> Vec<(String, String)> {
    if !matches!(record.kind.parse::<Kind>(), Ok(Kind::Node | Kind::Client)) {
        return Vec::new();
    }
    let Some(value) = value else {
        return Vec::new();
    };
    let given = ["v4", "v6"].map(|family| text(&value["addresses"][family]));
    let network = text(&value["network"]);
    given
        .into_iter()
        .filter(|address| !address.is_empty())
        .map(|address| (network.clone(), address))
        .collect()
}

#[cfg(test)]
mod tests {
    use control::ActorName;
    use model::Timestamp;
    use serde_json::json;

    use super::*;

    fn entry(seq: u64, records: Vec<(&str, Value, Value)>) -> JournalEntry {
        let some = |value: Value| (!value.is_null()).then_some(value);
        let record = |(id, before, after): (&str, Value, Value)| JournalRecord {
            kind: "client".to_owned(),
            id: id.to_owned(),
            before: some(before),
            after: some(after),
        };
        JournalEntry {
            seq,
            time: Timestamp::default(),
            actor: ActorName::from_text("user root".to_owned()),
            command: "create-client".to_owned(),
            records: records.into_iter().map(record).collect(),
        }
    }

    fn client(mark: &str, v4: &str) -> Value {
        json!({"network": "n", "name": "c1", "tags": [mark], "addresses": {"v4": v4}})
    }

    fn heard(entries: &[JournalEntry]) -> Court {
        let mut court = Court::default();
        entries.iter().for_each(|entry| court.hear(entry));
        court
    }

    #[test]
    fn a_journal_that_is_right_is_heard_without_a_complaint() {
        let (first, second) = (client("mark1", "10.0.0.1"), client("mark2", "10.0.0.1"));
        let entries = [
            entry(1, vec![("a", Value::Null, first.clone())]),
            entry(2, vec![("a", first, second.clone())]),
            // One gives its address back, and another gets it in the same change.
            entry(3, vec![("b", Value::Null, client("mark3", "10.0.0.1")), ("a", second, Value::Null)]),
        ];
        let court = heard(&entries);
        assert_eq!(court.complaints, Vec::<String>::new());
        assert_eq!(court.effects.len(), 4);
        assert!(court.effects.values().all(|times| *times == 1));
    }

    #[test]
    fn gaps_breaks_and_double_addresses_are_named() {
        let made = |id, mark| (id, Value::Null, client(mark, "10.0.0.1"));
        let complaint = |entries: &[JournalEntry]| heard(entries).complaints.remove(0);
        assert!(complaint(&[entry(2, vec![])]).contains("from 0 to 2"));
        let broken = [entry(1, vec![made("a", "mark1")]), entry(2, vec![made("a", "mark2")])];
        assert!(complaint(&broken).contains("took it for None"));
        let double = [entry(1, vec![made("a", "mark1")]), entry(2, vec![made("b", "mark2")])];
        assert!(complaint(&double).contains("client a had it"));
    }
}
