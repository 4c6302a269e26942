//! How many changes a second the database takes, one at a time and in groups, beside bare SQLite writing the same rows on
//! the same disk: `cargo run --release -p store --example commits [FOLDER | ADDRESS]`. The ratio is what can be compared between
//! machines. With the address of an empty database server, such as `postgres://user@host/database`, that is measured alone.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and tells")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use control::{ActorName, Change, RecordChange};
use model::{Keepalive, Network, NetworkId, Ranges, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};
use store::{Access, Address, Commit};

const SINGLE: u64 = 500;
const GROUPED: u64 = 20_000;
const GROUP: usize = 100;
const RUNS: [(&str, u64, usize); 2] = [("one by one", SINGLE, 1), ("in groups", GROUPED, GROUP)];

fn network(seq: u64) -> Network {
    let bytes = u128::from(seq).to_be_bytes();
    Network {
        id: NetworkId::from_bytes(bytes),
        name: format!("network-{seq}").parse().unwrap(),
        ranges: Ranges::new(Some("10.1.0.0/16".parse().unwrap()), None).unwrap(),
        keepalive: Keepalive::DEFAULT,
        access: model::Access::Allow,
        approval: false,
        hub: None,
        domain: None,
        created: Timestamp::from_millis(1_800_000_000_000),
    }
}

fn commit(seq: u64) -> Commit {
    let change = Change {
        actor: ActorName::from_text("user anna".to_owned()),
        command: "create-network".into(),
        records: vec![RecordChange::made(network(seq))],
    };
    Commit { seq, time: Timestamp::from_millis(1_800_000_000_000), change }
}

fn per_second(count: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    f64::from(u32::try_from(count).unwrap()) / start.elapsed().as_secs_f64()
}

fn ours(address: &Address, count: u64, group: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let database = runtime.block_on(store::open(address)).unwrap();
    let last = runtime.block_on(database.check()).unwrap();
    let commits: Vec<Commit> = (last + 1..=last + count).map(commit).collect();
    per_second(count, || {
        for group in commits.chunks(group) {
            runtime.block_on(database.commit(group.to_vec())).unwrap();
        }
    })
}

fn bare(path: &Path, count: u64, group: usize) -> f64 {
    let mut connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    connection
        .execute_batch("PRAGMA synchronous = FULL; CREATE TABLE records (id TEXT PRIMARY KEY, json TEXT)")
        .unwrap();
    connection.execute_batch("CREATE TABLE journal (seq INTEGER PRIMARY KEY, json TEXT)").unwrap();
    let json = serde_json::to_string(&network(1)).unwrap();
    let numbers: Vec<u64> = (1..=count).collect();
    per_second(count, || {
        for group in numbers.chunks(group) {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
            for seq in group {
                let id = network(*seq).id.to_string();
                transaction
                    .prepare("INSERT INTO records VALUES (?1, ?2)")
                    .unwrap()
                    .execute(params![id, json])
                    .unwrap();
                let mut journal = transaction.prepare("INSERT INTO journal (json) VALUES (?1)").unwrap();
                journal.execute([&json]).unwrap();
            }
            transaction.commit().unwrap();
        }
    })
}

fn of_server(address: &Address) {
    println!("{:<12}{:>16}", "", "commits/s");
    for (name, count, group) in RUNS {
        println!("{name:<12}{:>16.0}", ours(address, count, group));
    }
}

fn main() {
    let folder = match std::env::args().nth(1) {
        Some(text) if text.contains("://") => {
            return of_server(&Address::parse(&text, Access::default()).unwrap());
        }
        Some(folder) => tempfile::tempdir_in(PathBuf::from(folder)).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let file = |name: &str| folder.path().join(name);
    println!("{:<12}{:>16}{:>16}{:>8}", "", "commits/s", "bare SQLite/s", "ratio");
    for (name, count, group) in RUNS {
        let ours = ours(&Address::file(&file(&format!("ours-{group}"))), count, group);
        let bare = bare(&file(&format!("bare-{group}")), count, group);
        println!("{name:<12}{ours:>16.0}{bare:>16.0}{:>8.2}", ours / bare);
    }
}
