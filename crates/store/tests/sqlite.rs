//! SQLite against the conformance suite, and what is its own: one file, its lock, its damages, its older versions.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use conformance::history::{one, plain};
use conformance::{Place, wait};
use store::{Address, CommitError, Database as _, Existing, Sqlite, StoreError};
use tempfile::TempDir;

struct Folder {
    folder: TempDir,
}

impl Folder {
    fn file(&self) -> PathBuf {
        self.folder.path().join("netloom.db")
    }
}

impl Place for Folder {
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn address(&self) -> Address {
        Address::file(&self.file())
    }

    fn engine() -> &'static str {
        "sqlite"
    }

    fn made_by(sql: &str) -> Self {
        let place = Self::empty();
        rusqlite::Connection::open(place.file()).unwrap().execute_batch(sql).unwrap();
        place
    }

    fn is_for_several() -> bool {
        false
    }
}

conformance!(Folder);

fn refusal(path: &Path) -> StoreError {
    Sqlite::open(path).unwrap_err()
}

fn restore(backup: &Path, to: &Path) -> Result<(), StoreError> {
    wait(store::restore(backup, &Address::file(to), Existing::Keep)).map(drop)
}

fn at(path: &Path) -> store::Place {
    store::Place::from(path)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_second_server_is_refused_and_told_who_has_the_file() {
    let place = Folder::empty();
    let first = place.open();
    let error = refusal(&place.file()).to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    place.open();
}

#[test]
fn every_file_is_for_its_owner_alone() {
    let place = Folder::empty();
    let database = place.open();
    wait(database.commit(plain(1))).unwrap();
    let backup = place.folder.path().join("backup");
    wait(database.backup(&backup)).unwrap();
    let files: Vec<PathBuf> =
        std::fs::read_dir(&place.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "database, log, lock, backup: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let place = Folder::empty();
    std::fs::write(place.file(), "To whom it may concern: this is a letter, and a long one. ".repeat(40))
        .unwrap();
    let before = std::fs::read(place.file()).unwrap();
    assert!(matches!(refusal(&place.file()), StoreError::Damaged { .. }));
    assert_eq!(std::fs::read(place.file()).unwrap(), before);

    let other = place.folder.path().join("songs.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let before = std::fs::read(&other).unwrap();
    assert_eq!(refusal(&other), StoreError::Foreign(at(&other)));
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn a_damaged_file_is_named_with_what_to_do() {
    let place = Folder::empty();
    let database = place.open();
    wait(database.commit(plain(300))).unwrap();
    drop(database);
    let mut bytes = std::fs::read(place.file()).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(place.file(), bytes).unwrap();
    let error = match Sqlite::open(&place.file()) {
        Ok(database) => wait(database.load()).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("netloom.db") && error.to_string().contains("restore"), "{error}");
}

#[test]
fn a_file_that_is_gone_under_the_server_takes_no_changes() {
    let place = Folder::empty();
    let database = place.open();
    wait(database.commit(plain(2))).unwrap();
    let aside = place.folder.path().join("aside.db");
    std::fs::rename(place.file(), &aside).unwrap();
    let moved = StoreError::Moved(at(&place.file()));
    assert_eq!(wait(database.commit(one(3))), Err(CommitError::Store(moved.clone())));
    assert_eq!(wait(database.check()), Err(moved.clone()));
    std::fs::write(place.file(), "another").unwrap();
    assert_eq!(wait(database.check()), Err(moved));
    std::fs::rename(&aside, place.file()).unwrap();
    wait(database.commit(one(3))).unwrap();
    assert_eq!(wait(database.check()), Ok(3));
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let place = Folder::empty();
    drop(place.open());
    let raw = rusqlite::Connection::open(place.file()).unwrap();
    raw.execute("INSERT INTO records VALUES ('spaceship', '1', '{}')", []).unwrap();
    drop(raw);
    let error = wait(place.open().load()).unwrap_err().to_string();
    assert!(error.contains("spaceship/1"), "{error}");
}

#[test]
fn restoring_overwrites_nothing_and_leaves_nothing_behind() {
    let place = Folder::empty();
    let backup = place.folder.path().join("backup");
    let database = place.open();
    wait(database.backup(&backup)).unwrap();
    drop(database);
    assert_eq!(restore(&backup, &place.file()), Err(StoreError::Exists(at(&place.file()))));

    let log = place.folder.path().join("netloom.db-wal");
    std::fs::remove_file(place.file()).unwrap();
    std::fs::write(&log, "left behind").unwrap();
    assert_eq!(restore(&backup, &place.file()), Err(StoreError::Exists(at(&log))));

    let letter = place.folder.path().join("letter");
    std::fs::write(&letter, "dear".repeat(1_000)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("netloom.db");
    assert!(matches!(restore(&letter, &to), Err(StoreError::Damaged { place, .. }) if place == at(&letter)));
    let missing = place.folder.path().join("nothing");
    assert!(matches!(restore(&missing, &to), Err(StoreError::Open { place, .. }) if place == at(&missing)));
    let other = place.folder.path().join("songs.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    assert_eq!(restore(&other, &to), Err(StoreError::Foreign(at(&other))));
    let nothing = place.folder.path().join("empty");
    std::fs::write(&nothing, "").unwrap();
    assert_eq!(restore(&nothing, &to), Err(StoreError::Foreign(at(&nothing))));
    let left: Vec<_> =
        std::fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "netloom.db.lock"), "{left:?}");
}
