//! PostgreSQL while much is read: nobody who asks for little waits for it, nothing is left of a read that failed half way, and
//! only backups and restores may leave the server waiting in the middle.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use conformance::history::{expected, plain};
use conformance::laws::records_of;
use conformance::leading::host;
use conformance::{spawn, wait};
use engines::postgres::Cluster;
use store::{Access, Address, Existing};
use tokio::time::timeout;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(None).unwrap());

/// Long enough for a busy machine, and much shorter than the read that is waited beside.
const SOON: Duration = Duration::from_secs(30);

/// A new schema, at this host.
fn schema(name: &str, host: SocketAddr) -> Address {
    CLUSTER.psql(&format!("CREATE SCHEMA {name}")).unwrap();
    let url = format!("postgres://netloom@{host}/postgres?options=-c%20search_path%3D{name}");
    Address::parse(&url, Access::default()).unwrap()
}

#[test]
fn who_asks_for_little_does_not_wait_for_a_long_read() {
    let database = wait(store::open(&schema("slow", CLUSTER.address()))).unwrap();
    wait(database.commit(plain(2))).unwrap();
    CLUSTER
        .psql(
            "SET search_path = slow; ALTER TABLE records RENAME TO kept;
            CREATE VIEW records AS SELECT kept.* FROM pg_sleep(100) AS nap, kept",
        )
        .unwrap();
    let reading = Arc::clone(&database);
    let reading = spawn(async move { reading.load().await });
    let end = Instant::now() + SOON;
    while CLUSTER.psql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'").unwrap().is_empty() {
        assert!(Instant::now() < end, "it is not read");
        thread::sleep(Duration::from_millis(20));
    }
    let little = async {
        let epoch = database.next_epoch().await.unwrap();
        database.put_inventory_in(vec![host(1, "{}")], Some(epoch)).await.unwrap();
        assert_eq!(database.identity("ours").await.unwrap(), "ours");
        assert_eq!(database.check().await.unwrap(), 2);
    };
    wait(async { timeout(SOON, little).await }).expect("nobody waits for it");
    assert!(!reading.is_finished());
    reading.abort();
}

#[test]
fn a_read_whose_transaction_fails_half_way_leaves_nothing_behind() {
    let wire = Wire::lay(CLUSTER.address());
    let database = wait(store::open(&schema("half", wire.address))).unwrap();
    wait(database.commit(plain(3))).unwrap();
    for (right, wrong) in [("SET LOCAL statement", "SET LOCAL stutement"), ("COMMIT", "COMMUT")] {
        wire.misspell(right, wrong);
        for _ in 0..2 {
            let loaded = wait(database.load()).unwrap();
            assert_eq!((loaded.seq, records_of(loaded)), (3, expected(3)), "{wrong}");
            assert!(wait(database.follow(1)).is_ok(), "{wrong}");
        }
        assert!(wire.heard().contains(wrong));
    }
}

#[test]
fn only_backups_and_restores_may_pause_for_long() {
    let (wire, folder) = (Wire::lay(CLUSTER.address()), tempfile::tempdir().unwrap());
    let (address, backup) = (schema("pauses", wire.address), folder.path().join("backup"));
    let pause = "idle_in_transaction_session_timeout = '10min'";
    let database = wait(store::open(&address)).unwrap();
    wait(database.commit(plain(3))).unwrap();
    wait(async { tokio::try_join!(database.load(), database.follow(1), database.inventory()) }).unwrap();
    let heard = wire.heard();
    assert!(heard.contains("statement_timeout = '2min'") && heard.contains("statement_timeout = '30min'"));
    assert!(heard.contains("idle_in_transaction_session_timeout = '60s'") && !heard.contains(pause));

    wait(database.backup(&backup)).unwrap();
    assert!(wire.heard().contains(pause));
    wait(store::restore(&backup, &address, Existing::Replace)).unwrap();
    assert!(wire.heard().contains(pause));
}

/// A wire to the cluster that keeps what clients say, and misspells something once.
struct Wire {
    address: SocketAddr,
    ear: Arc<Mutex<Ear>>,
}

#[derive(Default)]
struct Ear {
    heard: Vec<u8>,
    misspelt: Option<(&'static str, &'static str)>,
}

impl Wire {
    fn lay(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, ear) = (listener.local_addr().unwrap(), Arc::<Mutex<Ear>>::default());
        let theirs = Arc::clone(&ear);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(to).unwrap();
                let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let ear = Arc::clone(&theirs);
                thread::spawn(move || carry(client, server, &ear));
                thread::spawn(move || {
                    // However that ends, the connection does. Closed already is as good.
                    drop(io::copy(&mut from, &mut to));
                    [&from, &to].into_iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
                });
            }
        });
        Self { address, ear }
    }

    /// The next time somebody says this, that is said.
    fn misspell(&self, right: &'static str, wrong: &'static str) {
        assert_eq!(right.len(), wrong.len());
        self.ear.lock().unwrap().misspelt = Some((right, wrong));
    }

    /// What was handed on since this was asked last.
    fn heard(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.ear.lock().unwrap().heard)).into_owned()
    }
}

fn carry(mut client: TcpStream, mut server: TcpStream, ear: &Mutex<Ear>) {
    let mut buffer = [0; 65536];
    loop {
        let count = client.read(&mut buffer).unwrap_or(0);
        let said = &mut buffer[..count];
        ear.lock().unwrap().hear(said);
        if count == 0 || server.write_all(said).is_err() {
            // Closed already is as good.
            [&client, &server].into_iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
            return;
        }
    }
}

impl Ear {
    fn hear(&mut self, said: &mut [u8]) {
        if let Some((right, wrong)) = self.misspelt
            && let Some(at) = said.windows(right.len()).position(|part| part == right.as_bytes())
        {
            said[at..at + wrong.len()].copy_from_slice(wrong.as_bytes());
            self.misspelt = None;
        }
        self.heard.extend_from_slice(said);
    }
}
