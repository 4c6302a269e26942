//! rqlite against the conformance suite, and what is its own: leaders that change, answers that are lost, reads that are old.
//!
//! The suite runs against the one real cluster that is named, if there is one (`real`), and otherwise against the stand-in of the
//! test kit, which says so. Troubles are always played by the stand-in, which says so as well.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;
mod real;

use std::path::Path;
use std::process::{Command, Output};

use conformance::history::{expected, one, plain};
use conformance::laws::records_of;
use conformance::{Place, wait};
use engines::cable::{Cable, Way};
use engines::rqlite::{NAMED, StandIn, Trouble, as_address};
use real::{OnePlace, Turn, statements};
use store::{Access, Address, Existing, Password, StoreError};

enum Kind {
    Real(Turn),
    StandIn(StandIn),
}

struct Cluster {
    kind: Kind,
    _one: OnePlace,
}

impl Place for Cluster {
    fn empty() -> Self {
        let one = OnePlace::claim();
        let kind = match Turn::take() {
            Some(turn) => Kind::Real(turn),
            None => Kind::StandIn(StandIn::start(3).unwrap()),
        };
        Self { kind, _one: one }
    }

    fn address(&self) -> Address {
        match &self.kind {
            Kind::Real(turn) => address(turn.url()),
            Kind::StandIn(cluster) => of(cluster),
        }
    }

    fn engine() -> &'static str {
        "rqlite"
    }

    fn made_by(sql: &str) -> Self {
        let place = Self::empty();
        match &place.kind {
            Kind::Real(turn) => drop(turn.sql("db/execute?transaction", &statements(sql))),
            Kind::StandIn(cluster) => cluster.sql(sql).unwrap(),
        }
        place
    }

    fn is_for_several() -> bool {
        true
    }
}

conformance!(Cluster);

fn address(url: &str) -> Address {
    Address::parse(url, Access::default()).unwrap()
}

fn of(cluster: &StandIn) -> Address {
    let nodes: Vec<String> = cluster.nodes().iter().map(ToString::to_string).collect();
    address(&format!("rqlite://{}", nodes.join(",")))
}

#[test]
fn whatever_goes_wrong_with_a_commit_it_is_there_once() {
    use Trouble::{Elsewhere, LostAfter, LostBefore, NoLeader, SilentAfter, SilentAndLate};
    let cluster = StandIn::for_troubles(3).unwrap();
    let database = wait(store::open(&of(&cluster))).unwrap();
    let mut seq = 0;
    let all = [Elsewhere, NoLeader, LostBefore, LostAfter, SilentAfter, SilentAndLate];
    let pairs = all.iter().flat_map(|first| all.iter().map(move |second| vec![*first, *second]));
    for troubles in all.iter().map(|trouble| vec![*trouble]).chain(pairs) {
        seq += 1;
        cluster.play(&troubles);
        wait(database.commit(one(seq))).unwrap_or_else(|error| panic!("{troubles:?}: {error}"));
        // What was not played in the commit is played in something that may be done twice.
        while !cluster.has_played() {
            wait(database.put_inventory(Vec::new())).unwrap();
        }
        let loaded = wait(database.load()).unwrap();
        assert_eq!((loaded.seq, records_of(loaded)), (seq, expected(seq)), "{troubles:?}");
    }
}

#[test]
fn a_connection_that_is_cut_anywhere_in_a_commit_loses_nothing_and_does_nothing_twice() {
    let cluster = StandIn::for_troubles(1).unwrap();
    let cable = Cable::lay(cluster.nodes()[0]).unwrap();
    let database = wait(store::open(&address(&format!("rqlite://{}", cable.address())))).unwrap();
    let (mut seq, mut cuts) = (0, 0);
    for way in [Way::Up, Way::Down] {
        for bytes in 0.. {
            seq += 1;
            cable.cut_after(way, bytes * 23);
            wait(database.commit(one(seq))).unwrap_or_else(|error| panic!("{way:?} after {bytes}: {error}"));
            let spared = cable.spare();
            let loaded = wait(database.load()).unwrap();
            assert_eq!((loaded.seq, records_of(loaded)), (seq, expected(seq)), "{way:?} after {bytes}");
            if spared {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 50, "{cuts}");
}

#[test]
fn a_cluster_that_is_gone_is_said_in_time() {
    let error = wait(store::open(&address("rqlite://127.0.0.1:1,127.0.0.1:2"))).err().unwrap();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
}

#[test]
fn whatever_goes_wrong_while_older_tables_move_forward_they_do_so_once() {
    use Trouble::{Elsewhere, LostAfter, LostBefore, NoLeader, SilentAfter, SilentAndLate};
    let older = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rqlite/v1.sql");
    let older = std::fs::read_to_string(older).unwrap();
    for trouble in [Elsewhere, LostAfter, LostBefore, NoLeader, SilentAfter, SilentAndLate] {
        let cluster = StandIn::for_troubles(2).unwrap();
        cluster.sql(&older).unwrap();
        cluster.play(&[trouble]);
        let database =
            wait(store::open(&of(&cluster))).unwrap_or_else(|error| panic!("{trouble:?}: {error}"));
        assert!(cluster.has_played());
        assert_eq!(wait(database.inventory_since(0)).unwrap().0, 1, "{trouble:?}");
        wait(database.commit(one(2))).unwrap();
    }
    let cluster = StandIn::for_troubles(1).unwrap();
    cluster.sql(&older).unwrap();
    cluster.play_on(Some(Trouble::Full));
    let error = wait(store::open(&of(&cluster))).err().unwrap();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    cluster.play_on(None);
    assert_eq!(wait(wait(store::open(&of(&cluster))).unwrap().check()), Ok(1));
}

#[test]
fn a_node_that_is_down_is_passed_over() {
    let cluster = StandIn::for_troubles(1).unwrap();
    let url = format!("rqlite://127.0.0.1:1,{}", cluster.nodes()[0]);
    let database = wait(store::open(&address(&url))).unwrap();
    wait(database.commit(one(1))).unwrap();
    assert_eq!(wait(database.load()).unwrap().seq, 1);
}

#[test]
fn user_and_password_are_told_to_the_nodes_and_shown_to_nobody() {
    let cluster = StandIn::for_troubles(1).unwrap();
    cluster.want_login("YW5uYTpodW50ZXIy");
    let url = |login: &str| format!("rqlite://{login}{}", cluster.nodes()[0]);
    drop(wait(store::open(&address(&url("anna:hunter2@")))).unwrap());
    let access = Access { password: Some(Password::new("hunter2".to_owned())), authority: None };
    drop(wait(store::open(&address(&url("anna@")).with(access))).unwrap());
    for wrong in [url(""), url("anna:hunter3@")] {
        let error = wait(store::open(&address(&wrong))).err().unwrap();
        assert!(matches!(error, StoreError::Credentials { .. }), "{error:?}");
        assert!(!error.to_string().contains("hunter"), "{error}");
    }
}

#[test]
fn what_is_too_old_is_refused() {
    let cluster = StandIn::for_troubles(1).unwrap();
    cluster.call_itself("v7.21.4");
    let error = wait(store::open(&of(&cluster))).err().unwrap();
    assert!(matches!(error, StoreError::Unsuitable { .. }), "{error:?}");
}

#[test]
fn a_restore_that_was_not_finished_is_not_taken_for_a_database() {
    let (source, cluster) = (StandIn::for_troubles(1).unwrap(), StandIn::for_troubles(1).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let database = wait(store::open(&of(&source))).unwrap();
    wait(database.commit(plain(3))).unwrap();
    wait(database.backup(&backup)).unwrap();
    drop(wait(store::open(&of(&cluster))).unwrap());
    // As it is after the first request of a restore.
    cluster
        .sql("INSERT INTO meta VALUES ('restoring', 'a backup'); INSERT INTO inventory (host, json) VALUES ('1', '{}')")
        .unwrap();
    let error = wait(store::open(&of(&cluster))).err().unwrap();
    assert!(matches!(error, StoreError::HalfRestored(_)), "{error:?}");
    wait(store::restore(&backup, &of(&cluster), Existing::Keep)).unwrap();
    assert_eq!(wait(wait(store::open(&of(&cluster))).unwrap().load()).unwrap().seq, 3);
}

/// A part of the suite, against what listens at this address: backups, older tables, many servers at once.
fn suite_against(url: &str) -> Output {
    let laws = ["backup", "restored", "older_tables", "of_many_servers", "left_alone"];
    let mut suite = Command::new(std::env::current_exe().unwrap());
    suite.args(laws).args(["--test-threads", "4"]).env(NAMED, url).output().unwrap()
}

/// What listens is a stand-in, as no rqlite is installed where this is tested.
#[test]
fn one_cluster_is_enough_whoever_runs_the_suite_against_it_at_the_same_time() {
    let cluster = StandIn::start(1).unwrap();
    let url = format!("http://{}", cluster.nodes()[0]);
    let runs = std::thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| suite_against(&url)));
        runs.map(|run| run.join().unwrap())
    });
    for run in runs {
        let [out, said] = [&run.stdout, &run.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(run.status.success(), "{out}{said}");
        assert!(out.contains("a_restored_database_goes_on_in_a_later_epoch ... ok"), "{out}");
        assert!(said.contains("STAND-IN") && said.contains("one test at a time"), "{said}");
        assert!(
            said.contains("a_restore_that_was_not_finished") || said.contains("plays troubles"),
            "{said}"
        );
    }
    cluster.sql("CREATE TABLE customers (name TEXT)").unwrap();
    let run = suite_against(&url);
    let out = String::from_utf8_lossy(&run.stdout);
    assert!(
        !run.status.success() && out.contains("customers") && out.contains("name an empty cluster"),
        "{out}"
    );
}

#[test]
fn what_no_test_made_is_not_dropped() {
    let cluster = StandIn::start(1).unwrap();
    let database = wait(store::open(&of(&cluster))).unwrap();
    wait(database.commit(plain(3))).unwrap();
    for _again in 0..2 {
        let refused = real::empty(&cluster.url()).unwrap_err();
        let says = |words: &str| refused.contains(words);
        assert!(says("\"records\"") && says("netloom_test") && says("name an empty cluster"), "{refused}");
    }
    assert_eq!(wait(database.load()).unwrap().seq, 3);
}

#[test]
fn a_cluster_that_held_nothing_is_set_aside_and_is_still_empty_to_a_server() {
    let cluster = StandIn::start(1).unwrap();
    for _again in 0..2 {
        real::empty(&cluster.url()).unwrap();
        let database = wait(store::open(&of(&cluster))).unwrap();
        assert_eq!(wait(database.load()).unwrap().seq, 0);
        wait(database.commit(plain(3))).unwrap();
    }
    cluster.sql("CREATE VIEW customers AS SELECT 1").unwrap();
    let refused = real::empty(&cluster.url()).unwrap_err();
    assert!(refused.contains("customers"), "{refused}");
    assert_eq!(wait(wait(store::open(&of(&cluster))).unwrap().load()).unwrap().seq, 3);
}

#[test]
fn the_cluster_that_is_emptied_is_the_one_that_a_server_asks() {
    for (named, asked) in [
        ("http://db.example", "http://db.example:4001/"),
        ("http://db.example:80/", "http://db.example/"),
        ("https://db.example/", "https://db.example:4001/"),
        ("rqlite://db.example/", "http://db.example:4001/"),
        ("rqlites://anna:hunter2@one,two:4002", "https://anna:hunter2@one:4001/"),
        ("http://anna@[::1]", "http://anna@[::1]:4001/"),
    ] {
        let node = real::node(&as_address(named)).map(|node| node.to_string());
        assert_eq!(node.as_deref(), Ok(asked), "{named}");
    }
    for wrong in ["127.0.0.1:4001", "postgres://anna:hunter2@one/netloom", "rqlite://anna:hunter2@"] {
        let error = real::node(&as_address(wrong)).unwrap_err();
        assert!(error.contains(NAMED) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_lock_that_cannot_be_had_is_named() {
    let error = real::lock(Path::new("/nowhere/turns.lock")).unwrap_err();
    assert!(error.contains("/nowhere/turns.lock"), "{error}");
}

#[test]
fn a_test_that_takes_a_second_place_before_it_lets_the_first_go_is_told_so() {
    let first = OnePlace::claim();
    let second = std::panic::catch_unwind(OnePlace::claim).map(std::mem::forget);
    assert!(second.is_err());
    drop(first);
    drop(OnePlace::claim());
}
