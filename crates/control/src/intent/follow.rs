//! Intent brought to where another server has brought the records.
//!
//! Not for deciding. It keeps true that what comes of it is what loading anew would give, with the change that leads there.

use std::collections::BTreeMap;

use super::Intent;
use crate::{ActorName, Change, Record, RecordChange, RecordKey};

impl Intent {
    /// Makes these records what they are now; whoever has none is gone. Says what that changed.
    pub fn follow(
        &mut self,
        seq: u64,
        current: impl IntoIterator<Item = (RecordKey, Option<Record>)>,
    ) -> Change {
        // All out, then all in: two records may have swapped a name.
        let current: Vec<_> = current
            .into_iter()
            .map(|(key, after)| RecordChange { before: self.remove(key), after })
            .collect();
        for record in current.iter().filter_map(|change| change.after.as_ref()) {
            self.insert(record.clone());
        }
        self.seq = seq;
        let changed = |change: &RecordChange| change.before != change.after;
        Change {
            actor: ActorName::from_text("another server".to_owned()),
            command: "follow".into(),
            records: current.into_iter().filter(changed).collect(),
        }
    }

    /// The same where all records are known, and not which of them changed.
    pub fn follow_all(&mut self, seq: u64, records: Vec<Record>) -> Change {
        let mut current: BTreeMap<RecordKey, Option<Record>> =
            self.records().map(|record| (record.key(), None)).collect();
        current.extend(records.into_iter().map(|record| (record.key(), Some(record))));
        self.follow(seq, current)
    }
}

#[cfg(test)]
mod tests {
    use model::{Keepalive, Network, NetworkId, Ranges, Timestamp};

    use super::*;

    fn network(id: u8, name: &str) -> Record {
        Network {
            id: NetworkId::from_bytes([id; 16]),
            name: name.parse().unwrap(),
            ranges: Ranges::new(Some(format!("10.{id}.0.0/16").parse().unwrap()), None).unwrap(),
            keepalive: Keepalive::DEFAULT,
            access: model::Access::Allow,
            approval: false,
            hub: None,
            domain: None,
            created: Timestamp::default(),
        }
        .into()
    }

    #[test]
    fn following_leads_to_what_loading_gives_and_says_what_changed() {
        let before = vec![network(1, "office"), network(2, "lab"), network(3, "old"), network(4, "same")];
        // Two swap their names, one goes, one comes, one stays.
        let after = vec![network(1, "lab"), network(2, "office"), network(4, "same"), network(5, "new")];
        let loaded = Intent::from_records(9, after.clone()).unwrap();

        let mut intent = Intent::from_records(3, before.clone()).unwrap();
        let change = intent.follow_all(9, after.clone());
        assert_eq!((&intent, change.records.len()), (&loaded, 4));

        let mut intent = Intent::from_records(3, before.clone()).unwrap();
        let gone = (before[2].key(), None);
        let current = after.into_iter().map(|record| (record.key(), Some(record)));
        let change = intent.follow(9, current.chain([gone]));
        assert_eq!((&intent, change.records.len()), (&loaded, 4));
        assert!(change.records.iter().all(|one| one.before != one.after));
    }
}
