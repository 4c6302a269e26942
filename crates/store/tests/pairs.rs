//! Backups across backends: what any database wrote goes into any other, and nothing is lost or added on the way.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use conformance::history::{change, history, plain_wishes, time_of};
use conformance::versions::released;
use conformance::wait;
use engines::postgres::Cluster;
use engines::rqlite::StandIn;
use model::HostId;
use store::{Access, Address, Commit, Database, Existing, InventoryRow, JournalEntry, Loaded};

static POSTGRES: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(None).unwrap());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// One of each, and what keeps it alive.
struct Engines {
    folder: tempfile::TempDir,
    rqlite: Vec<StandIn>,
    /// What tells the newest three from all others.
    number: u32,
}

impl Engines {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), rqlite: Vec::new(), number: 0 }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{}.db", self.number))
    }

    fn schema(&self) -> String {
        format!("pair_{}", self.number)
    }

    /// A new empty database of each kind.
    fn three(&mut self) -> [Address; 3] {
        self.number = COUNT.fetch_add(1, Ordering::Relaxed);
        let parse = |url: &str| Address::parse(url, Access::default()).unwrap();
        POSTGRES.psql(&format!("CREATE SCHEMA {}", self.schema())).unwrap();
        self.rqlite.push(StandIn::start(1).unwrap());
        let postgres = format!("{}?options=-c%20search_path%3D{}", POSTGRES.url(), self.schema());
        [Address::file(&self.file()), parse(&postgres), parse(&self.rqlite.last().unwrap().url())]
    }

    /// Carries this out in one of the newest three.
    fn carry_out(&self, which: usize, sql: &str) {
        match which {
            0 => rusqlite::Connection::open(self.file()).unwrap().execute_batch(sql).unwrap(),
            1 => drop(POSTGRES.psql(&format!("SET search_path = {}; {sql}", self.schema())).unwrap()),
            _ => self.rqlite.last().unwrap().sql(sql).unwrap(),
        }
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
    let mut engines = Engines::new();
    for (from, source) in engines.three().iter().enumerate() {
        let database = wait(store::open(source)).unwrap();
        fill(&database);
        let epoch = wait(database.next_epoch()).unwrap();
        wait(database.identity("ours")).unwrap();
        let expected = all(&database);
        assert_eq!(expected.1.len(), 2_101);
        let backup = folder.path().join(format!("backup-{from}"));
        wait(database.backup(&backup)).unwrap();
        for (to, target) in engines.three().iter().enumerate() {
            let database = restored(&backup, target);
            assert!(all(&database) == expected, "from {} to {}", source.place(), target.place());
            assert!(wait(database.next_epoch()).unwrap() > epoch);
            assert_eq!(wait(database.identity("another's")).as_deref(), Ok("ours"));
            // And once more, back to where it came from.
            let again = folder.path().join(format!("again-{from}-{to}"));
            wait(database.backup(&again)).unwrap();
            assert!(all(&restored(&again, &engines.three()[from])) == expected);
        }
    }
}

fn into_all_three(engines: &mut Engines, backup: &Path) {
    for target in engines.three() {
        let database = restored(backup, &target);
        let (loaded, journal, inventory) = all(&database);
        assert_eq!((loaded.seq, loaded.records.len(), journal.len(), inventory.len()), (1, 1, 1, 1));
        assert_eq!(loaded.server, "000102030405060708090a0b0c0d0e0f");
        assert!(
            wait(database.next_epoch()).unwrap().number() > 4_096,
            "later than all that agents have seen"
        );
        assert_eq!(wait(database.identity("ours")).as_deref(), Ok("ours"), "it does not say who they were");
    }
}

#[test]
fn a_backup_of_any_released_version_goes_into_any_database_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut engines = Engines::new();
    for (at, (_, tables)) in released("sqlite").iter().enumerate() {
        let backup = folder.path().join(format!("backup-{at}"));
        let raw = rusqlite::Connection::open(&backup).unwrap();
        raw.execute_batch(&tables.replace("WAL", "DELETE")).unwrap();
        drop(raw);
        let before = std::fs::read(&backup).unwrap();
        into_all_three(&mut engines, &backup);
        assert_eq!(std::fs::read(&backup).unwrap(), before);
    }
}

#[test]
fn a_database_of_any_released_version_is_backed_up_and_goes_into_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut engines = Engines::new();
    for (from, engine) in ["sqlite", "postgres", "rqlite"].into_iter().enumerate() {
        for (at, (_, tables)) in released(engine).iter().enumerate() {
            let sources = engines.three();
            engines.carry_out(from, tables);
            let database = wait(store::open(&sources[from])).unwrap();
            let backup = folder.path().join(format!("backup-{from}-{at}"));
            wait(database.backup(&backup)).unwrap();
            into_all_three(&mut engines, &backup);
        }
    }
}
