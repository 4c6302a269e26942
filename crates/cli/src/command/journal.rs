//! `netloom journal`: who changed what and when.

use api::{JournalEntry, RecordChange, path};
use clap::Args;

use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, joined, table};

/// Who changed what and when.
#[derive(Debug, Args)]
pub struct Journal {
    /// Show at most this many, the newest; 0 for all
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    limit: u64,
}

impl Journal {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let most = (self.limit > 0).then_some(self.limit);
        let answer = console.client()?.list(path::JOURNAL, &[], most).await?;
        console.show(&answer, |entries: &Vec<JournalEntry>, view| all(entries, view))
    }
}

fn all(entries: &[JournalEntry], view: &View) -> String {
    table(
        view,
        ["no.", "time", "who", "what", "records"],
        entries,
        |entry| {
            let time = view.moment(entry.time);
            let records = joined(entry.changes.iter().map(record));
            [entry.seq.to_string(), time, entry.actor.clone(), entry.command.clone(), records]
        },
        "Nothing was changed yet.",
    )
}

fn record(change: &RecordChange) -> String {
    let sign = match (&change.before, &change.after) {
        (None, _) => "+",
        (Some(_), Some(_)) => "",
        (Some(_), None) => "-",
    };
    let record = change.after.as_ref().or(change.before.as_ref());
    let name =
        record.and_then(|record| record.get("name").or(record.get("title"))).and_then(|name| name.as_str());
    format!("{sign}{} {}", change.kind, name.unwrap_or(&change.id))
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_names_what_was_made_changed_and_removed() {
        let change =
            |before, after| RecordChange { kind: "network".to_owned(), id: "7".to_owned(), before, after };
        let entry = JournalEntry {
            seq: 12,
            time: Timestamp::from_millis(1_800_000_000_000),
            actor: "user alice".to_owned(),
            command: "create-network".to_owned(),
            changes: vec![
                change(None, Some(json!({"name": "home"}))),
                change(Some(json!({})), Some(json!({"title": "t"}))),
                change(Some(json!({})), None),
            ],
        };
        let view = View { now: entry.time, width: None };
        assert_eq!(
            all(&[entry], &view),
            "NO.  TIME                      WHO         WHAT            RECORDS\n\
             12   2027-01-15T08:00:00.000Z  user alice  create-network  +network home, network t, -network 7"
        );
    }
}
