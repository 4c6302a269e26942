//! Laws about what is kept: texts of every kind, large ones, and what is there already.

use control::{ActorName, Change};
use model::HostId;
use store::{Commit, CommitError, Existing, InventoryRow, StoreError};

use super::history::{Records, change, history, plain, time_of};
use super::laws::records_of;
use super::{Place, wait};

const HOSTILE: [&str; 8] = [
    "'; DROP TABLE records; --",
    "\"quoted\" and 'quoted' and `quoted` and \\ and \\n",
    "$1 ?1 :name @name %s {} $$",
    "line\nbreak\r\ttab",
    "zażółć gęślą jaźń 名前 🦀 \u{202e}right to left",
    "\\u0000 \u{1}\u{1f}\u{7f}\u{85}\u{2028}",
    "NULL",
    "<script>&amp;</script>",
];

fn named(seq: u64, actor: &str, command: &str) -> Commit {
    let actor = ActorName::from_text(actor.to_owned());
    let change = Change { actor, command: command.to_owned().into(), records: Vec::new() };
    Commit { seq, time: time_of(seq), change }
}

pub fn texts_of_every_kind_come_back_as_they_were<P: Place>() {
    let place = P::empty();
    let database = place.open();
    let commits = (1..).zip(HOSTILE).map(|(seq, text)| named(seq, text, text)).collect();
    wait(database.commit(commits)).unwrap();
    let entries = wait(database.journal(None, 100)).unwrap();
    let texts: Vec<_> =
        entries.iter().rev().map(|entry| (entry.actor.as_str(), entry.command.as_str())).collect();
    assert_eq!(texts, HOSTILE.map(|text| (text, text)));

    let large = "x'\"\\ü🦀".repeat(300_000);
    let row = |id: u8, text: &str| InventoryRow {
        host: HostId::from_bytes([id; 16]),
        json: Some(serde_json::to_string(text).unwrap()),
    };
    let mut hosts: Vec<InventoryRow> = (1..).zip(HOSTILE).map(|(id, text)| row(id, text)).collect();
    hosts.push(row(99, &large));
    wait(database.put_inventory(hosts.clone())).unwrap();
    assert_eq!(wait(database.inventory()).unwrap(), hosts);
}

pub fn a_character_that_cannot_be_kept_is_refused<P: Place>() {
    let place = P::empty();
    let database = place.open();
    for commit in [named(1, "a\0b", "test"), named(1, "anna", "te\0st")] {
        let error = wait(database.commit(vec![commit])).unwrap_err();
        assert!(matches!(error, CommitError::Store(StoreError::Text { .. })), "{error}");
    }
    let row = InventoryRow { host: HostId::from_bytes([1; 16]), json: Some("\0".to_owned()) };
    assert!(matches!(wait(database.put_inventory(vec![row])), Err(StoreError::Text { .. })));
    assert_eq!(wait(database.check()), Ok(0));
}

pub fn large_groups_and_none_are_committed<P: Place>() {
    let place = P::empty();
    let database = place.open();
    wait(database.commit(Vec::new())).unwrap();
    // In one group each record is made, changed and removed many times.
    let wishes: Vec<_> = (0..300u64)
        .map(|at| vec![(0, 1, (at % 3) as u8), (4, (at % 200) as u8, 1), (5, 3, (at % 5) as u8)])
        .collect();
    let (commits, states) = history(&wishes);
    wait(database.commit(commits)).unwrap();
    assert_eq!(&records_of(wait(database.load()).unwrap()), states.last().unwrap());
    assert_eq!(wait(database.check()), Ok(300));

    let mut records: Records = states.last().unwrap().clone();
    let next = Commit { seq: 301, time: time_of(301), change: change(&mut records, &[(0, 9, 1)]) };
    wait(database.commit(vec![next])).unwrap();
    assert_eq!(records_of(wait(database.load()).unwrap()), records);
}

pub fn a_database_that_holds_something_is_not_overwritten_by_a_backup_unasked<P: Place>() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("backup");
    let source = P::empty();
    let database = source.open();
    wait(database.commit(plain(7))).unwrap();
    wait(database.backup(&to)).unwrap();
    drop(database);
    drop(source);
    let target = P::empty();
    let database = target.open();
    wait(database.commit(plain(3))).unwrap();
    let before = wait(database.load()).unwrap();
    drop(database);

    let restore = |existing| wait(store::restore(&to, &target.address(), existing));
    let error = restore(Existing::Keep).unwrap_err();
    assert!(matches!(error, StoreError::Exists(_) | StoreError::NotEmpty(_)), "{error}");
    assert_eq!(wait(target.open().load()).unwrap(), before);

    restore(Existing::Replace).unwrap();
    let loaded = wait(target.open().load()).unwrap();
    assert_eq!((loaded.seq, loaded.server != before.server), (7, true));
    wait(target.open().commit(plain(8)[7..].to_vec())).unwrap();
}
