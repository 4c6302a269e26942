//! SQLite without us: a plain loop that carries out the same statements on the same tables with the same texts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::{Connection, TransactionBehavior, params};
use store::Sqlite;

use super::{Beside, TIME, Texts, Way};

const PUT: &str = "
    INSERT INTO records (kind, id, json) VALUES ('network', ?1, ?2)
    ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json";
const NOTE: &str = "
    INSERT INTO journal (seq, time, actor, command, records, mark)
    VALUES (?1, ?2, 'user anna', 'create-network', ?3, '00112233445566778899aabbccddeeff')";

/// The loop's own database.
pub(super) struct Bare(Connection);

impl Bare {
    /// With tables as the store makes them.
    pub(super) fn make(path: &Path) -> Result<Self> {
        drop(Sqlite::open(path)?);
        let connection = Connection::open(path)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch("PRAGMA synchronous = FULL")?;
        Ok(Self(connection))
    }
}

fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM journal", [], |row| row.get(0))
}

impl Beside for Bare {
    fn run(&mut self, way: Way) -> Result<Duration> {
        let before = last(&self.0)?;
        let count = i64::try_from(way.groups)? * i64::try_from(way.group)?;
        let texts = |seq: i64| Ok((seq, Texts::of(seq.unsigned_abs())?));
        let all: Vec<(i64, Texts)> = (before + 1..=before + count).map(texts).collect::<Result<_>>()?;
        let start = Instant::now();
        for group in all.chunks(way.group) {
            let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
            last(&transaction)?;
            {
                let mut put = transaction.prepare(PUT)?;
                for (_, texts) in group {
                    put.execute([&texts.id, &texts.record])?;
                }
                let mut note = transaction.prepare(NOTE)?;
                for (seq, texts) in group {
                    note.execute(params![seq, TIME.as_millis(), texts.journal])?;
                }
            }
            transaction.commit()?;
        }
        Ok(start.elapsed())
    }
}
