//! A server that is killed, and a disk that is full: what was acknowledged is there, and nothing is there by half.
//!
//! Each test starts this same binary again as a child, which does what `CHILD` in its environment says.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conformance::history::{Records, change, expected, plain_wishes, time_of};
use conformance::wait;
use engines::disk;
use store::{Commit, CommitError, Database, Loaded, Sqlite, StoreError};

const CHILD: &str = "STORE_TEST_CHILD";

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(()) % below
}

fn records_of(loaded: Loaded) -> Records {
    loaded.records.into_iter().map(|record| (record.key(), record)).collect()
}

fn next_commit(records: &mut Records, seq: u64) -> Commit {
    Commit { seq, time: time_of(seq), change: change(records, &plain_wishes(seq - 1)) }
}

/// The child: commits in groups of random size until it is killed, and says which were acknowledged.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let database = Sqlite::open(Path::new(&path)).unwrap();
    let loaded = wait(database.load()).unwrap();
    let (mut seq, mut records) = (loaded.seq, records_of(loaded));
    loop {
        let last = seq + 1 + random(5);
        let group = (seq + 1..=last).map(|seq| next_commit(&mut records, seq)).collect();
        wait(database.commit(group)).unwrap();
        seq = last;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {seq}").unwrap();
        out.flush().unwrap();
    }
}

/// Lets the child commit for a random while, kills it, and says what was acknowledged last.
fn burst(path: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_commits_until_it_is_killed", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged =
        |line: String| line.strip_prefix("acknowledged ").map(|seq| seq.parse::<u64>().unwrap());
    let mut next = || lines.by_ref().map_while(Result::ok).find_map(acknowledged);
    let mut last = 0;
    for _ in 0..=random(40) {
        last = next().expect("the child commits until it is killed");
    }
    // Somewhere within the commits that follow.
    let instant = Instant::now() + Duration::from_micros(random(5_000));
    while Instant::now() < instant {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::iter::from_fn(next).last().unwrap_or(last)
}

#[test]
fn killed_at_any_instant_no_acknowledged_commit_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netloom.db");
    for round in 0..20 {
        let acknowledged = burst(&path);
        let loaded = wait(Sqlite::open(&path).unwrap().load()).unwrap();
        let seq = loaded.seq;
        assert!(seq >= acknowledged, "round {round}: {acknowledged} was acknowledged, {seq} is there");
        assert_eq!(records_of(loaded), expected(seq), "round {round}: half a commit");
    }
}

/// The child: fills a small disk, makes room, and goes on.
#[test]
fn child_that_fills_its_disk() {
    let Some(folder) = disk::folder() else {
        return;
    };
    let database = Sqlite::open(&folder.join("netloom.db")).unwrap();
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();

    let (mut seq, mut records) = (0, Records::new());
    let error = loop {
        let before = records.clone();
        let group = (seq + 1..=seq + 20).map(|seq| next_commit(&mut records, seq)).collect();
        match wait(database.commit(group)) {
            Ok(()) => seq += 20,
            Err(error) => {
                records = before;
                break error;
            }
        }
    };
    let full = CommitError::Store(StoreError::Full(store::Place::from(folder.join("netloom.db").as_path())));
    assert_eq!(error, full);
    assert!(error.to_string().contains("make room"), "{error}");
    let loaded = wait(database.load()).unwrap();
    assert_eq!((loaded.seq, records_of(loaded)), (seq, records.clone()), "nothing half done");

    std::fs::remove_file(ballast).unwrap();
    wait(database.commit(vec![next_commit(&mut records, seq + 1)])).unwrap();
    drop(database);
    let loaded = wait(Sqlite::open(&folder.join("netloom.db")).unwrap().load()).unwrap();
    assert_eq!((loaded.seq, records_of(loaded)), (seq + 1, records));
}

#[test]
fn on_a_full_disk_nothing_is_half_done_and_with_room_it_goes_on() {
    disk::run_on("size=3m", "child_that_fills_its_disk");
}

/// The child: cannot write at all.
#[test]
fn child_that_may_not_write() {
    let Some(folder) = disk::folder() else {
        return;
    };
    let error = Sqlite::open(&folder.join("netloom.db")).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)) && error.to_string().contains("netloom.db"), "{error}");
    let error = Sqlite::open(&folder.join("new/netloom.db")).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
}

#[test]
fn on_a_read_only_disk_the_sentence_says_so() {
    disk::run_on("ro", "child_that_may_not_write");
}
