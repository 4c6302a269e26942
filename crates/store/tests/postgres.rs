//! PostgreSQL against the conformance suite, and what is its own: lost connections, crashes, passwords, TLS, its schema.
//!
//! Each test binary starts a cluster of its own; never the machine's.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use conformance::history::{expected, one, plain};
use conformance::laws::records_of;
use conformance::{Place, spawn, wait};
use engines::cable::{Cable, Way};
use engines::postgres::{Certificate, Cluster};
use rcgen::{CertificateParams, KeyPair};
use store::{Access, Address, CommitError, Existing, Password, StoreError};
use tokio::task::JoinSet;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(None).unwrap());
static PLACES: AtomicU32 = AtomicU32::new(0);

/// A schema of its own.
struct Schema {
    name: String,
}

impl Schema {
    fn url(&self, host: &str) -> String {
        format!("postgres://netloom@{host}/postgres?options=-c%20search_path%3D{}", self.name)
    }

    fn sql(&self, sql: &str) -> String {
        CLUSTER.psql(&format!("SET search_path = {}; {sql}", self.name)).unwrap()
    }
}

impl Place for Schema {
    fn empty() -> Self {
        let name = format!("place_{}", PLACES.fetch_add(1, Ordering::Relaxed));
        CLUSTER.psql(&format!("CREATE SCHEMA {name}")).unwrap();
        Self { name }
    }

    fn address(&self) -> Address {
        address(&self.url(&CLUSTER.address().to_string()))
    }

    fn engine() -> &'static str {
        "postgres"
    }

    fn made_by(sql: &str) -> Self {
        let place = Self::empty();
        place.sql(sql);
        place
    }

    fn is_for_several() -> bool {
        true
    }
}

conformance!(Schema);

fn address(url: &str) -> Address {
    Address::parse(url, Access::default()).unwrap()
}

#[test]
fn a_connection_that_is_cut_anywhere_in_a_commit_loses_nothing_and_does_nothing_twice() {
    let place = Schema::empty();
    let cable = Cable::lay(CLUSTER.address()).unwrap();
    let database = wait(store::open(&address(&place.url(&cable.address().to_string())))).unwrap();
    let judge = place.open();
    let (mut seq, mut cuts) = (0, 0);
    for way in [Way::Up, Way::Down] {
        // The statement is known on the connection, so that what follows is the commit alone.
        for bytes in 0.. {
            seq += 1;
            wait(database.commit(one(seq))).unwrap();
            seq += 1;
            cable.cut_after(way, bytes * 13);
            wait(database.commit(one(seq))).unwrap_or_else(|error| panic!("{way:?} after {bytes}: {error}"));
            let loaded = wait(judge.load()).unwrap();
            assert_eq!((loaded.seq, records_of(loaded)), (seq, expected(seq)), "{way:?} after {bytes}");
            if cable.spare() {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 50, "{cuts}");
    let marks = place.sql("SELECT count(*), count(DISTINCT seq), count(DISTINCT mark) FROM journal");
    assert_eq!(marks, format!("{seq}|{seq}|{seq}"));
}

#[test]
fn killed_at_any_instant_no_acknowledged_commit_is_lost() {
    let mut cluster = Cluster::start(None).unwrap();
    let url = format!("postgres://netloom@{}/postgres", cluster.address());
    let database = wait(store::open(&address(&url))).unwrap();
    let mut seq = 0;
    for round in 0..6u64 {
        let (committed, outcome) = wait(async {
            let database = Arc::clone(&database);
            let writing = tokio::spawn(async move {
                loop {
                    seq += 1;
                    match database.commit(one(seq)).await {
                        Ok(()) => {}
                        Err(error) => return (seq - 1, error),
                    }
                }
            });
            tokio::time::sleep(Duration::from_millis(150 + 37 * round)).await;
            cluster.kill().unwrap();
            writing.await.unwrap()
        });
        let is_honest = matches!(
            outcome,
            CommitError::Unknown { .. }
                | CommitError::Store(StoreError::Unreachable { .. } | StoreError::NoAnswer(_))
        );
        assert!(is_honest, "{outcome:?}");
        cluster.start_again().unwrap();
        let loaded = wait(database.load()).unwrap();
        let there = loaded.seq;
        let most = committed + u64::from(matches!(outcome, CommitError::Unknown { .. }));
        assert!(
            (committed..=most).contains(&there),
            "round {round}: {committed} acknowledged, {there} there"
        );
        assert_eq!(records_of(loaded), expected(there), "round {round}: half a commit");
        seq = there;
    }
}

#[test]
fn a_database_that_restarts_within_the_time_of_a_commit_is_not_noticed() {
    let mut cluster = Cluster::start(None).unwrap();
    let url = format!("postgres://netloom@{}/postgres", cluster.address());
    let database = wait(store::open(&address(&url))).unwrap();
    wait(database.commit(plain(1))).unwrap();
    let waiting = {
        let database = Arc::clone(&database);
        spawn(async move { database.changed(2).await })
    };
    cluster.kill().unwrap();
    let committing = {
        let database = Arc::clone(&database);
        spawn(async move { database.commit(one(2)).await })
    };
    cluster.start_again().unwrap();
    wait(committing).unwrap().unwrap();
    wait(database.commit(one(3))).unwrap();
    assert_eq!(wait(waiting).unwrap(), Ok(3));
}

#[test]
fn a_password_is_needed_where_the_server_wants_one_and_never_shown() {
    CLUSTER.psql("CREATE ROLE anna LOGIN PASSWORD 'hunter2'; CREATE SCHEMA anna AUTHORIZATION anna").unwrap();
    let url = format!("postgres://anna@{}/postgres", CLUSTER.address());
    let with = |password: Option<&str>| {
        let password = password.map(|password| Password::new(password.to_owned()));
        wait(store::open(&address(&url).with(Access { password, authority: None }))).map(drop)
    };
    with(Some("hunter2")).unwrap();
    for wrong in [None, Some("hunter3")] {
        let error = with(wrong).unwrap_err();
        assert!(matches!(error, StoreError::Credentials { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("database_password_file") && !text.contains("hunter"), "{text}");
    }
}

#[test]
fn what_the_server_refuses_is_said_with_what_to_do() {
    let host = CLUSTER.address();
    let refusal = |url: &str| wait(store::open(&address(url))).err().unwrap();
    let error = refusal(&format!("postgres://netloom@{host}/nothing"));
    assert!(error.to_string().contains("must be made first"), "{error}");
    let error = refusal("postgres://netloom@127.0.0.1:1/postgres");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");

    CLUSTER.psql("CREATE ROLE guest LOGIN; CREATE SCHEMA guarded").unwrap();
    let error =
        refusal(&format!("postgres://guest@{host}/postgres?options=-c%20search_path%3Dguarded,public"));
    assert!(matches!(error, StoreError::Rights { .. }), "{error:?}");

    CLUSTER.psql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").unwrap();
    let error = refusal(&format!("postgres://netloom@{host}/latin"));
    assert!(error.to_string().contains("ENCODING 'UTF8'"), "{error}");
}

#[test]
fn a_standby_answers_reads_and_refuses_writes_in_so_many_words() {
    let place = Schema::empty();
    wait(place.open().commit(plain(2))).unwrap();
    let read_only =
        format!("{}%20-c%20default_transaction_read_only%3Don", place.url(&CLUSTER.address().to_string()));
    let database = wait(store::open(&address(&read_only))).unwrap();
    let error = wait(database.commit(one(3))).unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Standby(_))), "{error:?}");
    assert_eq!(wait(database.load()).unwrap().seq, 2);
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let place = Schema::empty();
    let database = place.open();
    place.sql("INSERT INTO records VALUES ('spaceship', '1', '{}')");
    let error = wait(database.load()).unwrap_err().to_string();
    assert!(error.contains("spaceship/1") && error.contains("postgres://127.0.0.1"), "{error}");
}

#[test]
fn who_stops_waiting_for_a_commit_does_not_stop_it() {
    let place = Schema::empty();
    let database = place.open();
    wait(async {
        let mut tasks = JoinSet::new();
        let there = Arc::clone(&database);
        tasks.spawn(async move { there.commit(plain(5)).await });
        // The task is dropped at whatever point it has reached; a commit that was begun is finished.
        tokio::task::yield_now().await;
        tasks.shutdown().await;
    });
    let seq = wait(database.check()).unwrap();
    assert!(seq == 0 || seq == 5, "{seq}");
    wait(database.commit(one(seq + 1)))
        .or_else(|error| match error {
            // It was begun, and ended after we looked.
            CommitError::Conflict { next: 6, .. } => Ok(()),
            error => Err(error),
        })
        .unwrap();
}

#[test]
fn over_a_network_the_server_is_proved_by_its_certificate() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let cluster = Cluster::start(Some(Certificate { chain: &chain, key: &key })).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, &chain).unwrap();
    let open = |host: &str, authority: Option<&std::path::Path>| {
        let url =
            format!("postgres://netloom@{host}:{}/postgres?sslmode=verify-full", cluster.address().port());
        let access = Access { password: None, authority: authority.map(Into::into) };
        wait(store::open(&address(&url).with(access)))
    };
    let database = open("localhost", Some(&authority)).unwrap();
    wait(database.commit(plain(2))).unwrap();
    let encrypted = cluster
        .psql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'netloom-server'")
        .unwrap();
    assert_eq!(encrypted, "t");
    for error in [open("127.0.0.1", Some(&authority)).err().unwrap(), open("localhost", None).err().unwrap()]
    {
        assert!(matches!(error, StoreError::Tls { .. }), "{error:?}");
    }
    // A server that does no TLS gets nothing.
    let url = format!("postgres://netloom@{}/postgres?sslmode=verify-full", CLUSTER.address());
    let access = Access { password: None, authority: Some(authority.clone()) };
    let error = wait(store::open(&address(&url).with(access))).err().unwrap();
    assert!(matches!(error, StoreError::Tls { .. } | StoreError::Unreachable { .. }), "{error:?}");
}

#[test]
fn its_socket_is_an_address_too() {
    let url = format!(
        "postgres:///postgres?host={}&port={}&options=-c%20search_path%3Dpublic",
        CLUSTER.folder().display(),
        CLUSTER.address().port()
    );
    let database = wait(store::open(&address(&url))).unwrap();
    assert_eq!(wait(database.check()), Ok(0));
}

#[test]
fn restoring_over_data_makes_commits_that_are_on_their_way_void() {
    let (source, target) = (Schema::empty(), Schema::empty());
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let database = source.open();
    wait(database.commit(plain(5))).unwrap();
    wait(database.backup(&backup)).unwrap();
    let server = target.open();
    wait(server.commit(plain(5))).unwrap();
    let fence = || target.sql("SELECT value FROM meta WHERE key = 'fence'");
    let before = fence();
    wait(store::restore(&backup, &target.address(), Existing::Replace)).unwrap();
    assert_ne!(fence(), before);
}
