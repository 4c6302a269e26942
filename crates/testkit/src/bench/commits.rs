//! Commits per second of the store, one at a time and in groups, beside bare SQLite that writes the same rows to the same
//! disk in the same run: the ratio is what can be compared between machines.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use control::{ActorName, Change, RecordChange};
use indicatif::ProgressBar;
use model::{Keepalive, Network, NetworkId, Ranges, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};
use store::{Commit, Database as _, Sqlite};

use super::figure::{Figure, float};
use super::progress::bar;

/// Name, commits, and how many of them share a transaction.
const RUNS: [(&str, u64, usize); 2] = [("one at a time", 1_000, 1), ("in groups of 100", 20_000, 100)];
const TIME: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Measures all.
pub(super) fn measure() -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir().context("a folder")?;
    let mut figures = Vec::new();
    for (name, count, group) in RUNS {
        let progress = bar("commits", usize::try_from(2 * count).unwrap_or(usize::MAX));
        let ours = ours(&folder.path().join(format!("ours-{group}")), count, group, &progress)?;
        let bare = bare(&folder.path().join(format!("bare-{group}")), count, group, &progress)?;
        progress.finish_and_clear();
        figures.push(Figure::new("commits", format!("the store, {name}"), ours, "1/s"));
        figures.push(Figure::new("commits", format!("bare SQLite, {name}"), bare, "1/s"));
        figures.push(Figure::new("commits", format!("ratio, {name}"), ours / bare, "×"));
    }
    Ok(figures)
}

fn network(seq: u64) -> Result<Network> {
    Ok(Network {
        id: NetworkId::from_bytes(u128::from(seq).to_be_bytes()),
        name: format!("network-{seq}").parse()?,
        ranges: Ranges::new(Some("10.1.0.0/16".parse()?), None)?,
        keepalive: Keepalive::DEFAULT,
        access: model::Access::Allow,
        approval: false,
        hub: None,
        domain: None,
        created: TIME,
    })
}

fn commit(seq: u64) -> Result<Commit> {
    let change = Change {
        actor: ActorName::from_text("user anna".to_owned()),
        command: "create-network".into(),
        records: vec![RecordChange::made(network(seq)?)],
    };
    Ok(Commit { seq, time: TIME, change })
}

fn ours(path: &Path, count: u64, group: usize, progress: &ProgressBar) -> Result<f64> {
    let database = Sqlite::open(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let commits: Vec<Commit> = (1..=count).map(commit).collect::<Result<_>>()?;
    let start = Instant::now();
    for group in commits.chunks(group) {
        runtime.block_on(database.commit(group.to_vec()))?;
        progress.inc(group.len() as u64);
    }
    Ok(float(count) / start.elapsed().as_secs_f64())
}

fn bare(path: &Path, count: u64, group: usize, progress: &ProgressBar) -> Result<f64> {
    let mut connection = Connection::open(path)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection
        .execute_batch("PRAGMA synchronous = FULL; CREATE TABLE records (id TEXT PRIMARY KEY, json TEXT)")?;
    connection.execute_batch("CREATE TABLE journal (seq INTEGER PRIMARY KEY, json TEXT)")?;
    let json = serde_json::to_string(&network(1)?)?;
    let numbers: Vec<u64> = (1..=count).collect();
    let start = Instant::now();
    for group in numbers.chunks(group) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for seq in group {
            let id = NetworkId::from_bytes(u128::from(*seq).to_be_bytes()).to_string();
            transaction.prepare("INSERT INTO records VALUES (?1, ?2)")?.execute(params![id, json])?;
            transaction.prepare("INSERT INTO journal (json) VALUES (?1)")?.execute([&json])?;
        }
        transaction.commit()?;
        progress.inc(group.len() as u64);
    }
    Ok(float(count) / start.elapsed().as_secs_f64())
}
