//! A database that is slow, full, read-only or gone: reads go on where they can, a write is refused in words that are true, and
//! when the trouble is over everything is as if it had never been asked.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use conformance::history::{expected, one, plain};
use conformance::laws::records_of;
use conformance::leading::host;
use conformance::wait;
use engines::cable::Cable;
use engines::postgres::Cluster;
use engines::rqlite::{StandIn, Trouble};
use engines::{disk, sqlite};
use store::{Access, Address, CommitError, Database, StoreError};

/// For troubles that befall one schema alone.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(None).unwrap());

fn open(url: &str) -> Arc<dyn Database> {
    wait(store::open(&Address::parse(url, Access::default()).unwrap())).unwrap()
}

fn is_there(database: &dyn Database, seq: u64) {
    let loaded = wait(database.load()).unwrap();
    assert_eq!((loaded.seq, records_of(loaded)), (seq, expected(seq)));
}

/// Whether the sentence says that nothing was changed, or at least nothing else.
fn refusal(database: &dyn Database, seq: u64) -> StoreError {
    match wait(database.commit(one(seq))).unwrap_err() {
        CommitError::Store(error) => error,
        other => panic!("it is known that nothing was done: {other:?}"),
    }
}

/// Nobody knows; and nobody claims to.
fn unknown(database: &dyn Database, seq: u64) {
    let error = wait(database.commit(one(seq))).unwrap_err();
    assert!(matches!(error, CommitError::Unknown { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("look before you try again") && !text.contains("nothing was changed"), "{text}");
}

/// After the trouble: the number is free, or was used by what nobody knew of. Either way what is there is whole.
fn goes_on(database: &dyn Database, seq: u64) {
    match wait(database.commit(one(seq))) {
        Ok(()) => {}
        Err(CommitError::Conflict { next, .. }) => assert_eq!(next, seq + 1),
        Err(error) => panic!("{error}"),
    }
    is_there(database, seq);
}

/// Opens one that is empty, and commits twice.
fn open_with_two(url: &str) -> Arc<dyn Database> {
    let database = open(url);
    wait(database.commit(plain(2))).unwrap();
    database
}

fn schema(name: &str) -> Arc<dyn Database> {
    CLUSTER.psql(&format!("CREATE SCHEMA {name}")).unwrap();
    open_with_two(&format!("{}?options=-c%20search_path%3D{name}", CLUSTER.url()))
}

#[test]
fn postgres_whose_disk_is_full_takes_no_writes_until_there_is_room() {
    let cluster = Cluster::start_with_room(24).unwrap();
    let database = open_with_two(&cluster.url());
    cluster.fill_disk().unwrap();
    let (more, error) = loop_until_refused(&*database, 2);
    let seq = 2 + more;
    assert!(matches!(error, StoreError::Full(_)) && error.to_string().contains("make room"), "{error:?}");
    is_there(&*database, seq);
    assert_eq!(wait(database.check()), Ok(seq));
    cluster.make_room().unwrap();
    goes_on(&*database, seq + 1);
}

/// Commits what there is still room for; how many, and what was said then.
fn loop_until_refused(database: &dyn Database, seq: u64) -> (u64, StoreError) {
    for more in 1.. {
        match wait(database.commit(one(seq + more))) {
            Ok(()) => {}
            Err(CommitError::Store(error)) => return (more - 1, error),
            Err(other) => panic!("it is known that nothing was done: {other:?}"),
        }
    }
    unreachable!("the disk is small")
}

#[test]
fn postgres_that_only_reads_says_so_and_writes_again_when_it_may() {
    let cluster = Cluster::start(None).unwrap();
    let database = open_with_two(&cluster.url());
    wait(database.identity("ours")).unwrap();
    cluster.read_only(true).unwrap();
    let error = refusal(&*database, 3);
    assert!(matches!(error, StoreError::Standby(_)) && error.to_string().contains("nothing was changed"));
    for error in [
        wait(database.put_inventory(vec![host(1, "{}")])).unwrap_err(),
        wait(database.lease("lead", "one", Duration::from_secs(4))).unwrap_err(),
        wait(database.next_epoch()).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Standby(_)), "{error:?}");
    }
    // Whatever is only read is answered, also to a server that starts now.
    for database in [&database, &open(&cluster.url())] {
        is_there(&**database, 2);
        assert_eq!(wait(database.held("", Duration::from_secs(4))), Ok(Vec::new()));
        assert_eq!(wait(database.identity("another's")).as_deref(), Ok("ours"));
        assert_eq!(wait(database.journal(None, 10)).unwrap().len(), 2);
        assert_eq!(wait(database.inventory()), Ok(Vec::new()));
    }
    cluster.read_only(false).unwrap();
    goes_on(&*database, 3);
}

#[test]
fn postgres_that_others_keep_locked_is_given_up_in_time_and_leases_go_on() {
    let database = schema("locked");
    let lock = CLUSTER.hold_lock("locked.records, locked.inventory").unwrap();
    let writing = {
        let database = Arc::clone(&database);
        conformance::spawn(async move { database.put_inventory(vec![host(1, "{}")]).await })
    };
    let committing = {
        let database = Arc::clone(&database);
        conformance::spawn(async move { database.commit(one(3)).await })
    };
    // Whoever leads goes on leading, though everything else waits.
    let second = Duration::from_secs(1);
    for _ in 0..20 {
        let lease =
            wait(async { tokio::time::timeout(second, database.lease("lead", "one", 4 * second)).await });
        assert!(lease.expect("it need not wait for the lock").unwrap().granted().is_some());
    }
    let error = wait(committing).unwrap().unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Timeout(_))), "{error:?}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert!(matches!(wait(writing).unwrap(), Err(StoreError::Timeout(_))));
    is_there(&*database, 2);
    drop(lock);
    goes_on(&*database, 3);
}

#[test]
fn postgres_that_works_too_long_is_given_up_in_time() {
    let database = schema("slow");
    CLUSTER
        .psql(
            "CREATE FUNCTION slow.doze() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(60); RETURN new; END';
            CREATE TRIGGER doze BEFORE INSERT ON slow.journal FOR EACH ROW EXECUTE FUNCTION slow.doze()",
        )
        .unwrap();
    assert!(matches!(refusal(&*database, 3), StoreError::Timeout(_)));
    is_there(&*database, 2);
    CLUSTER.psql("DROP TRIGGER doze ON slow.journal").unwrap();
    goes_on(&*database, 3);
}

#[test]
fn postgres_that_stands_still_leaves_the_outcome_unknown_and_says_so() {
    let cluster = Cluster::start(None).unwrap();
    let database = open_with_two(&cluster.url());
    cluster.freeze().unwrap();
    unknown(&*database, 3);
    let error = wait(database.check()).unwrap_err();
    assert!(matches!(error, StoreError::NoAnswer(_)), "{error:?}");
    cluster.thaw().unwrap();
    goes_on(&*database, 3);
}

#[test]
fn postgres_that_was_stopped_is_gone_until_it_is_back() {
    let mut cluster = Cluster::start(None).unwrap();
    let database = open_with_two(&cluster.url());
    cluster.stop().unwrap();
    assert!(matches!(refusal(&*database, 3), StoreError::Unreachable { .. }));
    assert!(matches!(wait(database.load()).unwrap_err(), StoreError::Unreachable { .. }));
    cluster.start_again().unwrap();
    goes_on(&*database, 3);
}

#[test]
fn postgres_behind_a_network_that_is_down_is_gone_until_it_is_back() {
    let cluster = Cluster::start(None).unwrap();
    let cable = Cable::lay(cluster.address()).unwrap();
    let database = open_with_two(&format!("postgres://netloom@{}/postgres", cable.address()));
    cable.unplug();
    // Where it was sent before the end of the connection was noticed, nobody knows; and nobody claims to.
    let error = wait(database.commit(one(3))).unwrap_err();
    let is_honest =
        matches!(error, CommitError::Unknown { .. } | CommitError::Store(StoreError::Unreachable { .. }));
    assert!(is_honest, "{error:?}");
    cable.plug();
    goes_on(&*database, 3);
}

#[test]
fn rqlite_that_is_full_or_read_only_says_so_and_goes_on_when_it_may() {
    let cluster = StandIn::for_troubles(3).unwrap();
    let database = open_with_two(&cluster.url());
    cluster.play_on(Some(Trouble::Full));
    assert!(matches!(refusal(&*database, 3), StoreError::Full(_)));
    assert!(matches!(wait(database.next_epoch()).unwrap_err(), StoreError::Full(_)));
    is_there(&*database, 2);
    cluster.play_on(Some(Trouble::ReadOnly));
    assert!(matches!(refusal(&*database, 3), StoreError::Standby(_)));
    is_there(&*database, 2);
    cluster.play_on(None);
    goes_on(&*database, 3);
}

#[test]
fn rqlite_without_a_leader_did_nothing_and_says_so() {
    let cluster = StandIn::for_troubles(3).unwrap();
    let database = open_with_two(&cluster.url());
    cluster.play_on(Some(Trouble::NoLeader));
    let error = refusal(&*database, 3);
    assert!(matches!(error, StoreError::NoLeader(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("no leader") && text.contains("nothing was changed"), "{text}");
    cluster.play_on(None);
    goes_on(&*database, 3);
}

#[test]
fn rqlite_that_loses_its_leader_again_and_again_leaves_the_outcome_unknown() {
    let cluster = StandIn::for_troubles(3).unwrap();
    let database = open_with_two(&cluster.url());
    cluster.play_on(Some(Trouble::LostBefore));
    unknown(&*database, 3);
    cluster.play_on(None);
    goes_on(&*database, 3);
}

#[test]
fn rqlite_that_is_too_slow_leaves_the_outcome_unknown() {
    let cluster = StandIn::for_troubles(2).unwrap();
    let database = open_with_two(&cluster.url());
    cluster.delay(Duration::from_secs(60));
    unknown(&*database, 3);
    cluster.delay(Duration::ZERO);
    goes_on(&*database, 3);
}

#[test]
fn rqlite_that_is_gone_is_said_to_be_and_found_again() {
    let cluster = StandIn::for_troubles(2).unwrap();
    let cable = Cable::lay(cluster.nodes()[0]).unwrap();
    let database = open_with_two(&format!("rqlite://{}", cable.address()));
    cable.unplug();
    let error = wait(database.load()).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    cable.plug();
    cluster.be_gone(true);
    unknown(&*database, 3);
    cluster.be_gone(false);
    goes_on(&*database, 3);
}

#[test]
fn sqlite_that_another_program_has_locked_is_busy_and_then_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("netloom.db");
    let database = wait(store::open(&Address::file(&file))).unwrap();
    wait(database.commit(plain(2))).unwrap();
    let lock = sqlite::hold_lock(&file).unwrap();
    let error = refusal(&*database, 3);
    assert!(matches!(error, StoreError::Busy(_)), "{error:?}");
    assert!(error.to_string().contains("locked by another program"), "{error}");
    is_there(&*database, 2);
    drop(lock);
    goes_on(&*database, 3);
}

/// On a disk of its own: the file cannot be written, its folder can.
#[test]
fn child_whose_file_may_not_be_written() {
    let Some(folder) = disk::folder() else {
        return;
    };
    let database = match wait(store::open(&Address::file(&folder.join("netloom.db")))) {
        Ok(database) => database,
        Err(error) => {
            assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
            return;
        }
    };
    assert!(matches!(refusal(&*database, 3), StoreError::ReadOnly(_)));
    is_there(&*database, 2);
}

#[test]
fn sqlite_whose_file_may_not_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("netloom.db");
    let database = wait(store::open(&Address::file(&file))).unwrap();
    wait(database.commit(plain(2))).unwrap();
    drop(database);
    disk::run_with_read_only(&file, "child_whose_file_may_not_be_written");
}

/// On a disk of its own, which is full before there is a database.
#[test]
fn child_that_starts_on_a_full_disk() {
    let Some(folder) = disk::folder() else {
        return;
    };
    let ballast = folder.join("ballast");
    let full = std::fs::write(&ballast, vec![0; 4 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let address = Address::file(&folder.join("netloom.db"));
    let error = wait(store::open(&address)).err().unwrap();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    std::fs::remove_file(ballast).unwrap();
    let database = wait(store::open(&address)).unwrap();
    goes_on(&*database, 1);
}

#[test]
fn sqlite_that_starts_on_a_full_disk_says_so() {
    disk::run_on("size=1m", "child_that_starts_on_a_full_disk");
}
