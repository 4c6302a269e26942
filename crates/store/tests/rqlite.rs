//! rqlite against the conformance suite, and what is its own: leaders that change, answers that are lost, reads that are old.
//!
//! Against the cluster at `NETLOOM_TEST_RQLITE` (addresses like `rqlite://host:4001`, at least two clusters separated by
//! blanks, and `--test-threads=1`: each is emptied again and again), and otherwise against the stand-in of the test kit,
//! which says so. The errors are always played by the stand-in.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::io::{Read as _, Write as _};
use std::sync::{LazyLock, Mutex};

use conformance::history::{expected, one, plain};
use conformance::laws::records_of;
use conformance::{Place, wait};
use engines::cable::{Cable, Way};
use engines::rqlite::{StandIn, Trouble};
use store::{Access, Address, Existing, Password, StoreError};

/// The real clusters that nobody uses just now; none where only the stand-in is there.
static REAL: LazyLock<Option<Mutex<Vec<String>>>> = LazyLock::new(|| {
    let named = std::env::var("NETLOOM_TEST_RQLITE").ok();
    let words = match &named {
        Some(urls) => format!("rqlite: the suite runs against the real one at {urls}"),
        None => {
            "rqlite: the suite runs against the stand-in of testkit (set NETLOOM_TEST_RQLITE for a real one)"
                .to_owned()
        }
    };
    // Past the test harness, which would keep it to itself.
    std::io::stderr().write_all(format!("{words}\n").as_bytes()).unwrap();
    named.map(|urls| Mutex::new(urls.split_whitespace().map(str::to_owned).collect()))
});

enum Cluster {
    Real(String),
    StandIn(StandIn),
}

impl Place for Cluster {
    fn empty() -> Self {
        let Some(real) = &*REAL else {
            return Self::StandIn(StandIn::start(3).unwrap());
        };
        let url = real.lock().unwrap().pop().expect("two clusters, and --test-threads=1");
        drop_tables(&url);
        Self::Real(url)
    }

    fn address(&self) -> Address {
        match self {
            Self::Real(url) => address(url),
            Self::StandIn(cluster) => of(cluster),
        }
    }

    fn engine() -> &'static str {
        "rqlite"
    }

    /// Always the stand-in: what is made so cannot be taken away from a real one again.
    fn made_by(sql: &str) -> Self {
        let cluster = StandIn::start(3).unwrap();
        cluster.sql(sql).unwrap();
        Self::StandIn(cluster)
    }

    fn is_for_several() -> bool {
        true
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let (Self::Real(url), Some(real)) = (self, &*REAL) {
            real.lock().unwrap().push(std::mem::take(url));
        }
    }
}

conformance!(Cluster);

fn drop_tables(url: &str) {
    let node = url.split("://").nth(1).unwrap().split(',').next().unwrap();
    let tables = ["meta", "records", "journal", "inventory", "leases"];
    let drops = tables.map(|table| vec![format!("DROP TABLE IF EXISTS {table}")]);
    let body = serde_json::to_string(&drops).unwrap();
    let mut stream = std::net::TcpStream::connect(node).unwrap();
    let head = format!(
        "POST /db/execute HTTP/1.1\r\nHost: {node}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

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
    let cluster = StandIn::start(3).unwrap();
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
    let cluster = StandIn::start(1).unwrap();
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
    let older = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rqlite/v1.sql");
    let older = std::fs::read_to_string(older).unwrap();
    for trouble in [Elsewhere, LostAfter, LostBefore, NoLeader, SilentAfter, SilentAndLate] {
        let cluster = StandIn::start(2).unwrap();
        cluster.sql(&older).unwrap();
        cluster.play(&[trouble]);
        let database =
            wait(store::open(&of(&cluster))).unwrap_or_else(|error| panic!("{trouble:?}: {error}"));
        assert!(cluster.has_played());
        assert_eq!(wait(database.inventory_since(0)).unwrap().0, 1, "{trouble:?}");
        wait(database.commit(one(2))).unwrap();
    }
    let cluster = StandIn::start(1).unwrap();
    cluster.sql(&older).unwrap();
    cluster.play_on(Some(Trouble::Full));
    let error = wait(store::open(&of(&cluster))).err().unwrap();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    cluster.play_on(None);
    assert_eq!(wait(wait(store::open(&of(&cluster))).unwrap().check()), Ok(1));
}

#[test]
fn a_node_that_is_down_is_passed_over() {
    let cluster = StandIn::start(1).unwrap();
    let url = format!("rqlite://127.0.0.1:1,{}", cluster.nodes()[0]);
    let database = wait(store::open(&address(&url))).unwrap();
    wait(database.commit(one(1))).unwrap();
    assert_eq!(wait(database.load()).unwrap().seq, 1);
}

#[test]
fn user_and_password_are_told_to_the_nodes_and_shown_to_nobody() {
    let cluster = StandIn::start(1).unwrap();
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
    let cluster = StandIn::start(1).unwrap();
    cluster.call_itself("v7.21.4");
    let error = wait(store::open(&of(&cluster))).err().unwrap();
    assert!(matches!(error, StoreError::Unsuitable { .. }), "{error:?}");
}

#[test]
fn a_restore_that_was_not_finished_is_not_taken_for_a_database() {
    let (source, cluster) = (StandIn::start(1).unwrap(), StandIn::start(1).unwrap());
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
