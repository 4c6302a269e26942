//! The laws, one function each, for any backend.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Intent, Kind, Record};
use model::{HostId, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use store::{Commit, CommitError, Database, Followed, InventoryRow, Loaded, StoreError};

use super::decided::{decided, wishes as wishes_of_all_kinds};
use super::history::{Records, SECRET, history, plain, record, time_of, wishes};
use super::{Place, wait};

pub fn records_of(loaded: Loaded) -> Records {
    loaded.records.into_iter().map(|record| (record.key(), record)).collect()
}

pub fn commit_in_groups(database: &dyn Database, commits: &[Commit], size: usize) {
    for group in commits.chunks(size) {
        wait(database.commit(group.to_vec())).unwrap();
    }
}

fn cases(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

pub fn loading_gives_what_the_commits_made<P: Place>() {
    let inputs = (wishes(), 1usize..8);
    let law = |(wishes, size): (Vec<_>, usize)| {
        let place = P::empty();
        let (commits, states) = history(&wishes);
        let database = place.open();
        commit_in_groups(&*database, &commits, size);
        let server = wait(database.load()).unwrap().server;
        drop(database);
        let loaded = wait(place.open().load()).unwrap();
        prop_assert_eq!(loaded.seq, commits.len() as u64);
        prop_assert_eq!(&loaded.server, &server);
        prop_assert!(!server.is_empty());
        prop_assert_eq!(&records_of(loaded), states.last().unwrap());
        Ok(())
    };
    cases(24).run(&inputs, law).unwrap();
}

pub fn intent_that_was_decided_comes_back_as_it_was_applied<P: Place>() {
    let kinds = RefCell::new(BTreeSet::new());
    let law = |(wishes, size, from): (Vec<_>, usize, prop::sample::Index)| {
        let (commits, mut intents) = decided(&wishes);
        let place = P::empty();
        let database = place.open();
        commit_in_groups(&*database, &commits, size);
        let loaded = wait(database.load()).unwrap();
        let intent = Intent::from_records(loaded.seq, loaded.records).unwrap();
        prop_assert_eq!(Some(&intent), intents.last());
        kinds.borrow_mut().extend(commits.iter().map(|commit| commit.change.command.to_string()));

        // Another server that stopped following anywhere gets there too.
        let mut follower = intents.swap_remove(from.index(intents.len()));
        if let Followed::Changed { seq, records } = wait(database.follow(follower.seq())).unwrap() {
            let mut all: Records = follower.records().map(|record| (record.key(), record)).collect();
            records.iter().for_each(|current| drop(all.remove(&current.key)));
            let now = records.into_iter().filter_map(|current| current.record);
            follower = Intent::from_records(seq, all.into_values().chain(now)).unwrap();
        }
        prop_assert_eq!(follower, intent);
        Ok(())
    };
    let inputs = (wishes_of_all_kinds(), 1usize..8, any::<prop::sample::Index>());
    let wanted = ["create-network", "register", "create-token", "delete-network", "remove-host"];
    // Chance may leave one out: then there are more histories, until all were there.
    for _ in 0..20 {
        cases(32).run(&inputs, law).unwrap();
        if wanted.iter().all(|command| kinds.borrow().contains(*command)) {
            return;
        }
    }
    panic!("no history had all of {wanted:?}: {kinds:?}");
}

pub fn following_from_anywhere_leads_to_the_same_records<P: Place>() {
    let inputs = (wishes(), any::<prop::sample::Index>());
    let law = |(wishes, from): (Vec<_>, prop::sample::Index)| {
        let place = P::empty();
        let database = place.open();
        let (commits, states) = history(&wishes);
        commit_in_groups(&*database, &commits, 10);
        let after = from.index(states.len());
        let mut records = states[after].clone();
        let Followed::Changed { seq, records: changed } = wait(database.follow(after as u64)).unwrap() else {
            return Err(TestCaseError::fail("too far"));
        };
        prop_assert_eq!(seq, commits.len() as u64);
        for current in changed {
            match current.record {
                Some(record) => drop(records.insert(current.key, record)),
                None => drop(records.remove(&current.key)),
            }
        }
        prop_assert_eq!(&records, states.last().unwrap());
        Ok(())
    };
    cases(24).run(&inputs, law).unwrap();
}

pub fn a_number_that_is_not_the_next_is_a_conflict_and_changes_nothing<P: Place>() {
    let place = P::empty();
    let database = place.open();
    let commits = plain(9);
    wait(database.commit(commits[..3].to_vec())).unwrap();
    let before = wait(database.load()).unwrap();
    let refused: [&[usize]; 4] = [&[2], &[0], &[5], &[3, 4, 6]];
    for group in refused {
        let group: Vec<Commit> = group.iter().map(|index| commits[*index].clone()).collect();
        let error = wait(database.commit(group)).unwrap_err();
        assert!(matches!(error, CommitError::Conflict { given, next } if given != next), "{error}");
        assert_eq!(wait(database.load()).unwrap(), before);
    }
    wait(database.commit(commits[3..].to_vec())).unwrap();
    assert_eq!(wait(database.check()), Ok(9));
}

pub fn of_many_who_want_the_same_number_one_gets_it<P: Place>() {
    let place = P::empty();
    let database = place.open();
    let winners = wait(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (database, commit) = (Arc::clone(&database), plain(1));
            tasks.spawn(async move { database.commit(commit).await });
        }
        let results = tasks.join_all().await;
        let conflict = Err(CommitError::Conflict { given: 1, next: 2 });
        assert_eq!(results.iter().filter(|result| **result == conflict).count(), 19);
        results.iter().filter(|result| result.is_ok()).count()
    });
    assert_eq!(winners, 1);
}

/// The version that a plain history gave these records last: the same in all, or it is half a commit.
fn version(loaded: &Loaded) -> i64 {
    let created = |record: &Record| match record {
        Record::Network(value) => value.created,
        Record::User(value) => value.created,
        Record::ApiToken(value) => value.created,
        Record::Host(_)
        | Record::Node(_)
        | Record::EnrollmentKey(_)
        | Record::Client(_)
        | Record::Egress(_)
        | Record::Policy(_)
        | Record::PolicyTest(_)
        | Record::DnsRecord(_)
        | Record::Upstream(_) => panic!("not of a plain history"),
    };
    let versions: Vec<i64> = loaded.records.iter().map(|record| created(record).as_millis()).collect();
    assert_eq!(versions, [versions[0]; 3], "half a commit");
    versions[0] - 1_700_000_000_000
}

pub fn a_reader_never_sees_half_a_commit<P: Place>() {
    let place = P::empty();
    let database = place.open();
    let commits = plain(200);
    wait(database.commit(commits[..1].to_vec())).unwrap();
    wait(async {
        let writer = Arc::clone(&database);
        let writing = tokio::spawn(async move {
            for group in commits[1..].chunks(3) {
                writer.commit(group.to_vec()).await.unwrap();
            }
        });
        let mut last = 0;
        while !writing.is_finished() {
            let loaded = database.load().await.unwrap();
            assert_eq!(u64::try_from(version(&loaded)).unwrap(), loaded.seq);
            assert!(loaded.seq >= last, "went back from {last} to {}", loaded.seq);
            last = loaded.seq;
        }
        writing.await.unwrap();
    });
}

pub fn the_journal_is_paged_newest_first_and_holds_no_secret<P: Place>() {
    let place = P::empty();
    let database = place.open();
    wait(database.commit(plain(25))).unwrap();
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = wait(database.journal(before, 10)).unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        pages.extend(page);
    }
    assert!(pages.iter().map(|entry| entry.seq).eq((1..=25).rev()));
    assert_eq!((pages[0].time, pages[0].actor.as_str()), (time_of(25), "user anna"));
    let text = serde_json::to_string(&pages).unwrap();
    assert!(text.contains("name-1-7") && !text.contains(SECRET));
    for version in 1..=25 {
        let Record::ApiToken(token) = record(Kind::ApiToken, 1, version) else { panic!() };
        assert!(!text.contains(&token.digest.to_string()));
    }
}

pub fn pruning_takes_the_oldest_and_leaves_the_order<P: Place>() {
    let place = P::empty();
    let database = place.open();
    let commits = plain(31);
    wait(database.commit(commits[..30].to_vec())).unwrap();
    assert_eq!(wait(database.prune(time_of(11))), Ok(10));
    assert_eq!(wait(database.prune(time_of(11))), Ok(0));
    assert_eq!(wait(database.journal(None, 100)).unwrap().last().unwrap().seq, 11);

    let the_end_of_time = Timestamp::from_millis(i64::MAX);
    assert_eq!(wait(database.prune(the_end_of_time)), Ok(19));
    assert_eq!(wait(database.load()).unwrap().seq, 30, "the newest entry stays: it counts");
    wait(database.commit(commits[30..].to_vec())).unwrap();
}

pub fn who_follows_from_before_the_journal_is_told_to_load<P: Place>() {
    let place = P::empty();
    let database = place.open();
    wait(database.commit(plain(30))).unwrap();
    wait(database.prune(time_of(11))).unwrap();
    assert_eq!(wait(database.follow(9)), Ok(Followed::TooFar));
    assert!(matches!(wait(database.follow(10)), Ok(Followed::Changed { seq: 30, .. })));
    assert_eq!(wait(database.follow(30)), Ok(Followed::Changed { seq: 30, records: vec![] }));
    assert_eq!(wait(database.follow(31)), Ok(Followed::TooFar), "it comes from another database");
}

pub fn inventory_comes_back_as_it_was_put<P: Place>() {
    let place = P::empty();
    let database = place.open();
    let row = |id: u8, json: Option<&str>| InventoryRow {
        host: HostId::from_bytes([id; 16]),
        json: json.map(str::to_owned),
    };
    wait(database.put_inventory(vec![row(1, Some("{}")), row(2, Some(r#"{"a":1}"#)), row(3, Some("[]"))]))
        .unwrap();
    wait(database.put_inventory(vec![row(2, Some(r#"{"a":2}"#)), row(3, None), row(4, None)])).unwrap();
    drop(database);
    let expected = vec![row(1, Some("{}")), row(2, Some(r#"{"a":2}"#))];
    assert_eq!(wait(place.open().inventory()), Ok(expected));
}

pub fn epochs_only_grow<P: Place>() {
    let place = P::empty();
    let mut last = None;
    for _ in 0..5 {
        let epoch = wait(place.open().next_epoch()).unwrap();
        assert!(Some(epoch) > last && epoch.number() > 0);
        last = Some(epoch);
    }
}

pub fn a_backup_is_one_instant_of_a_running_database<P: Place>() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("backup");
    let place = P::empty();
    let database = place.open();
    let commits = plain(2_000);
    wait(database.commit(commits[..500].to_vec())).unwrap();
    let last = wait(async {
        let writer = Arc::clone(&database);
        let writing = tokio::spawn(async move {
            for group in commits[500..].chunks(20) {
                writer.commit(group.to_vec()).await.unwrap();
            }
        });
        database.backup(&to).await.unwrap();
        writing.await.unwrap();
        database.check().await.unwrap()
    });
    assert_eq!(last, 2_000);
    let server = wait(database.load()).unwrap().server;
    drop(database);
    drop(place);
    let loaded = wait(P::restored(&to).open().load()).unwrap();
    assert!((500..=2_000).contains(&loaded.seq), "{}", loaded.seq);
    assert_eq!(u64::try_from(version(&loaded)).unwrap(), 1 + (loaded.seq - 1) % 200);
    assert_eq!(loaded.server, server);
}

pub fn a_backup_overwrites_nothing<P: Place>() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("letters");
    std::fs::write(&to, "dear").unwrap();
    let place = P::empty();
    let database = place.open();
    assert_eq!(wait(database.backup(&to)), Err(StoreError::Exists(store::Place::from(to.as_path()))));
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "dear");
    let nowhere = folder.path().join("no/such/folder");
    let error = wait(database.backup(&nowhere)).unwrap_err().to_string();
    assert!(error.contains("no/such/folder"), "{error}");
}

pub fn a_restored_database_goes_on_in_a_later_epoch<P: Place>() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("backup");
    let place = P::empty();
    let database = place.open();
    wait(database.commit(plain(3))).unwrap();
    wait(database.backup(&to)).unwrap();
    drop(database);
    let started_since = Instant::now();
    let mut last = wait(place.open().next_epoch()).unwrap();
    for _ in 0..20 {
        last = wait(place.open().next_epoch()).unwrap();
    }
    assert!(started_since.elapsed() < Duration::from_secs(60));
    drop(place);
    let place = P::restored(&to);
    let restored = place.open();
    assert!(wait(restored.next_epoch()).unwrap() > last);
    wait(restored.commit(plain(4)[3..].to_vec())).unwrap();
}
