//! Backups across backends: what any database wrote goes into any other, and nothing is lost or added on the way.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::path::Path;
use std::sync::Arc;

use conformance::history::{change, history, plain_wishes, time_of};
use conformance::wait;
use engines::postgres::Cluster;
use engines::rqlite::StandIn;
use model::HostId;
use store::{Access, Address, Commit, Database, Existing, InventoryRow, JournalEntry, Loaded};

/// One of each, and what keeps it alive.
struct Engines {
    folder: tempfile::TempDir,
    postgres: Cluster,
    rqlite: Vec<StandIn>,
    count: u32,
}

impl Engines {
    /// A new empty database of each kind.
    fn three(&mut self) -> [Address; 3] {
        self.count += 1;
        let parse = |url: &str| Address::parse(url, Access::default()).unwrap();
        let schema = format!("pair_{}", self.count);
        self.postgres.psql(&format!("CREATE SCHEMA {schema}")).unwrap();
        let rqlite = StandIn::start(1).unwrap();
        let addresses = [
            Address::file(&self.folder.path().join(format!("{}.db", self.count))),
            parse(&format!(
                "postgres://netloom@{}/postgres?options=-c%20search_path%3D{schema}",
                self.postgres.address()
            )),
            parse(&format!("rqlite://{}", rqlite.nodes()[0])),
        ];
        self.rqlite.push(rqlite);
        addresses
    }
}

type All = (Loaded, Vec<JournalEntry>, Vec<InventoryRow>);

fn all(database: &Arc<dyn Database>) -> All {
    let journal = wait(database.journal(None, 100_000)).unwrap();
    (wait(database.load()).unwrap(), journal, wait(database.inventory()).unwrap())
}

/// More rows than are carried at once.
fn fill(database: &Arc<dyn Database>) {
    let wishes: Vec<_> = (0..2_100).map(plain_wishes).collect();
    let (commits, mut states) = history(&wishes);
    for group in commits.chunks(256) {
        wait(database.commit(group.to_vec())).unwrap();
    }
    let mut records = states.pop().unwrap();
    let wishes: Vec<_> = (0..250u8).flat_map(|id| (0..12).map(move |kind| (kind, id, 1))).collect();
    let last = Commit { seq: 2_101, time: time_of(2_101), change: change(&mut records, &wishes) };
    wait(database.commit(vec![last])).unwrap();
    let host = |id: u16| {
        let mut bytes = [7; 16];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        InventoryRow { host: HostId::from_bytes(bytes), json: Some(format!("{{\"seen\":{id}}}")) }
    };
    wait(database.put_inventory((0..2_100).map(host).collect())).unwrap();
}

fn restored(backup: &Path, to: &Address) -> Arc<dyn Database> {
    wait(store::restore(backup, to, Existing::Keep)).unwrap();
    wait(store::open(to)).unwrap()
}

#[test]
fn a_backup_from_any_database_goes_into_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Cluster::start(None).unwrap();
    let mut engines =
        Engines { folder: tempfile::tempdir().unwrap(), postgres, rqlite: Vec::new(), count: 0 };
    for (from, source) in engines.three().iter().enumerate() {
        let database = wait(store::open(source)).unwrap();
        fill(&database);
        let epoch = wait(database.next_epoch()).unwrap();
        let expected = all(&database);
        assert_eq!(expected.1.len(), 2_101);
        let backup = folder.path().join(format!("backup-{from}"));
        wait(database.backup(&backup)).unwrap();
        for (to, target) in engines.three().iter().enumerate() {
            let database = restored(&backup, target);
            assert!(all(&database) == expected, "from {} to {}", source.place(), target.place());
            assert!(wait(database.next_epoch()).unwrap() > epoch);
            // And once more, back to where it came from.
            let again = folder.path().join(format!("again-{from}-{to}"));
            wait(database.backup(&again)).unwrap();
            assert!(all(&restored(&again, &engines.three()[from])) == expected);
        }
    }
}

#[test]
fn a_backup_of_the_first_version_goes_into_any_database_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sqlite/v1.sql");
    let raw = rusqlite::Connection::open(&backup).unwrap();
    raw.execute_batch(&std::fs::read_to_string(fixture).unwrap().replace("WAL", "DELETE")).unwrap();
    drop(raw);
    let before = std::fs::read(&backup).unwrap();
    let postgres = Cluster::start(None).unwrap();
    let mut engines =
        Engines { folder: tempfile::tempdir().unwrap(), postgres, rqlite: Vec::new(), count: 0 };
    for target in engines.three() {
        let (loaded, journal, inventory) = all(&restored(&backup, &target));
        assert_eq!((loaded.seq, loaded.records.len(), journal.len(), inventory.len()), (1, 1, 1, 1));
        assert_eq!(loaded.server, "000102030405060708090a0b0c0d0e0f");
    }
    assert_eq!(std::fs::read(&backup).unwrap(), before);
}
