//! Commits per second of each database: one at a time, many askers before a writer that takes what waits, and a burst in full
//! groups. Beside SQLite and PostgreSQL stands what the same statements reach without us, on the same disk, in turns with
//! ours: the ratio is what can be compared between machines.
//!
//! Not for the server, which has more to do than to commit (`converge`). It keeps true that of each figure the middle of
//! several rounds is told, and that the stand-in for rqlite is called what it is.

mod askers;
mod bare;
mod pgbench;

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use control::{ActorName, Change, RecordChange};
use indicatif::ProgressBar;
use model::{Keepalive, Network, NetworkId, Ranges, Timestamp};
use store::{Access, Address, Commit, Database};
use tokio::runtime::Runtime;

use super::figure::{Figure, float};
use super::progress::bar;
use crate::engines::postgres::Cluster;
use crate::engines::rqlite::{StandIn, named};
use bare::Bare;
use pgbench::PgBench;

const TIME: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ROUNDS: u32 = 3;
/// Who waits for an answer before asking again, where there are many.
const ASKERS: usize = 64;
const ASKED: u64 = 2_000;

/// How commits are handed over.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    /// How many share a transaction.
    group: usize,
    groups: u64,
}

const WAYS: [Way; 2] = [
    Way { name: "one at a time", group: 1, groups: 300 },
    // What the server's writer takes at most.
    Way { name: "a burst, in groups of 256", group: 256, groups: 30 },
];

/// Measures all.
pub(super) fn measure() -> Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::tempdir().context("a folder")?;
    let mut figures = vec![waits_for_the_disk(folder.path())?];

    let mut bare = Bare::make(&folder.path().join("bare.db"))?;
    let address = Address::file(&folder.path().join("ours.db"));
    let engine = Engine::open(&runtime, "SQLite", &address)?;
    figures.extend(engine.measure(&mut [("a bare loop of rusqlite", &mut bare)])?);

    let cluster = Cluster::start(None).context("PostgreSQL cannot be started")?;
    let engine = Engine::open(&runtime, "PostgreSQL", &parse(&cluster.url())?)?;
    let mut beside = PgBench::prepare(&cluster, &runtime, &engine)?;
    figures.extend(engine.measure(&mut [("pgbench", &mut beside)])?);

    // Whoever has a real one names it, empty.
    let (name, address, _cluster) = match named() {
        Some(url) => ("rqlite", parse(&url)?, None),
        None => {
            let cluster = StandIn::start(1)?;
            ("rqlite's stand-in (no Raft, no disk)", parse(&cluster.url())?, Some(cluster))
        }
    };
    figures.extend(Engine::open(&runtime, name, &address)?.measure(&mut [])?);
    Ok(figures)
}

fn parse(url: &str) -> Result<Address> {
    Address::parse(url, Access::default()).map_err(anyhow::Error::msg)
}

/// Whoever else carries out what commits are.
trait Beside {
    /// Carries out so many groups of such a size, and says how long that took.
    fn run(&mut self, way: Way) -> Result<Duration>;
}

/// A database that is measured.
struct Engine<'a> {
    name: &'static str,
    runtime: &'a Runtime,
    database: Arc<dyn Database>,
}

impl<'a> Engine<'a> {
    fn open(runtime: &'a Runtime, name: &'static str, address: &Address) -> Result<Self> {
        Ok(Self { name, runtime, database: runtime.block_on(store::open(address))? })
    }

    fn measure(&self, beside: &mut [(&str, &mut dyn Beside)]) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for way in WAYS {
            let progress = bar(self.name, ROUNDS as usize * (1 + beside.len()));
            figures.extend(self.in_turns(way, beside, &progress)?);
            progress.finish_and_clear();
        }
        let askers = self.runtime.block_on(askers::run(&self.database, ASKERS, ASKED))?;
        figures.push(self.figure(&format!("{ASKERS} askers before one writer"), askers.per_second, "1/s"));
        figures.push(self.figure("the writer's groups then", askers.group, "commits"));
        Ok(figures)
    }

    fn figure(&self, what: &str, value: f64, unit: &'static str) -> Figure {
        Figure::new("commits", format!("{}, {what}", self.name), value, unit)
    }

    fn in_turns(
        &self,
        way: Way,
        beside: &mut [(&str, &mut dyn Beside)],
        progress: &ProgressBar,
    ) -> Result<Vec<Figure>> {
        let count = way.groups * way.group as u64;
        let rate = |time: Duration| float(count) / time.as_secs_f64();
        let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); beside.len()]);
        for _ in 0..ROUNDS {
            ours.push(rate(self.run(way)?));
            progress.inc(1);
            for ((_, beside), theirs) in beside.iter_mut().zip(&mut theirs) {
                theirs.push(rate(beside.run(way)?));
                progress.inc(1);
            }
        }
        let ours = middle(ours);
        let mut figures = vec![self.figure(way.name, ours, "1/s")];
        for ((name, _), theirs) in beside.iter().zip(theirs) {
            let theirs = middle(theirs);
            figures.push(self.figure(&format!("{}: {name}", way.name), theirs, "1/s"));
            figures.push(self.figure(&format!("{}: ours to {name}", way.name), ours / theirs, "×"));
        }
        Ok(figures)
    }

    fn run(&self, way: Way) -> Result<Duration> {
        let last = self.runtime.block_on(self.database.check())?;
        let count = way.groups * way.group as u64;
        let commits: Vec<Commit> = (last + 1..=last + count).map(commit).collect::<Result<_>>()?;
        let groups: Vec<Vec<Commit>> = commits.chunks(way.group).map(<[Commit]>::to_vec).collect();
        let start = Instant::now();
        for group in groups {
            self.runtime.block_on(self.database.commit(group))?;
        }
        Ok(start.elapsed())
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the disk does without any database: each commit or group waits for it once.
fn waits_for_the_disk(folder: &std::path::Path) -> Result<Figure> {
    const WRITES: u64 = 200;
    let mut file = std::fs::File::create(folder.join("disk"))?;
    let start = Instant::now();
    for _ in 0..WRITES {
        file.write_all(&[7; 8192])?;
        file.sync_data()?;
    }
    let per_second = float(WRITES) / start.elapsed().as_secs_f64();
    Ok(Figure::new("commits", "the disk alone: 8 KiB written and waited for", per_second, "1/s"))
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

/// The commit with this number: it makes a network.
fn commit(seq: u64) -> Result<Commit> {
    let change = Change {
        actor: ActorName::from_text("user anna".to_owned()),
        command: "create-network".into(),
        records: vec![RecordChange::made(network(seq)?)],
    };
    Ok(Commit { seq, time: TIME, change })
}

/// The same as text: the record's id and value, and what the journal keeps of it.
struct Texts {
    id: String,
    record: String,
    journal: String,
}

impl Texts {
    fn of(seq: u64) -> Result<Self> {
        let network = network(seq)?;
        let (id, value) = (network.id.to_string(), serde_json::to_value(&network)?);
        let journal = serde_json::json!([{ "kind": "network", "id": id, "after": value }]);
        Ok(Self { id, record: serde_json::to_string(&network)?, journal: journal.to_string() })
    }
}
