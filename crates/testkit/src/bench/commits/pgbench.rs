//! PostgreSQL without us: `pgbench` carries out the very statement that a commit is, prepared once, with texts of the same
//! length in groups of the same size, over one connection to the same server.
//!
//! The statement is asked of the server, which shows what our connection carried out last: so it is the same also tomorrow.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::runtime::Runtime;

use super::{Beside, Engine, TIME, Texts, Way, float, parse};
use crate::engines::postgres::Cluster;

const SCHEMA: &str = "beside";
/// Rows have ids of the same length as ours, made of their numbers.
const IDS: &str = "ARRAY(SELECT '00000000-0000-0000-0000-' || n
    FROM generate_series(100000000000 + :first::bigint, 99999999999 + :first::bigint + :group::bigint) AS n)";
const NUMBERS: &str =
    "ARRAY(SELECT n FROM generate_series(:first::bigint, :first::bigint - 1 + :group::bigint) AS n)";

/// A schema of its own, and the statement.
pub(super) struct PgBench<'a> {
    cluster: &'a Cluster,
    script: String,
    fence: String,
    folder: tempfile::TempDir,
}

impl<'a> PgBench<'a> {
    /// Makes the tables, as the store does, and learns the statement.
    pub(super) fn prepare(cluster: &'a Cluster, runtime: &Runtime, engine: &Engine<'_>) -> Result<Self> {
        cluster.psql(&format!("CREATE SCHEMA {SCHEMA}"))?;
        let url = format!("{}?options=-c%20search_path%3D{SCHEMA}", cluster.url());
        drop(runtime.block_on(store::open(&parse(&url)?))?);
        // So that our connection has carried one out.
        engine.run(Way { name: "", group: 1, groups: 1 })?;
        let sql = "
            SELECT query FROM pg_stat_activity
            WHERE application_name = 'netloom-server' AND query LIKE '%INSERT INTO journal%'";
        let statement = cluster.psql(sql)?;
        ensure!(
            statement.contains("FROM noted"),
            "the statement of a commit is not wholly there: {statement}"
        );
        let fence = cluster.psql(&format!("SELECT value FROM {SCHEMA}.meta WHERE key = 'fence'"))?;
        let folder = tempfile::tempdir().context("a folder")?;
        Ok(Self { cluster, script: script(&statement), fence, folder })
    }

    fn last(&self) -> Result<u64> {
        let last = self.cluster.psql(&format!("SELECT coalesce(max(seq), 0) FROM {SCHEMA}.journal"))?;
        last.parse().context("the last number is none")
    }

    /// What stands in for the statement's parameters. The texts are those of the first group, in each group again.
    fn variables(&self, way: Way, first: u64) -> Result<Vec<(&'static str, String)>> {
        let texts: Vec<Texts> = (first..first + way.group as u64).map(Texts::of).collect::<Result<_>>()?;
        let same = |text: &str| array(std::iter::repeat_n(text.to_owned(), way.group));
        Ok(vec![
            ("fence", self.fence.clone()),
            ("first", first.to_string()),
            ("group", way.group.to_string()),
            ("kinds", same("network")),
            ("records", array(texts.iter().map(|texts| texts.record.clone()))),
            ("times", same(&TIME.as_millis().to_string())),
            ("actors", same("user anna")),
            ("commands", same("create-network")),
            ("journal", array(texts.iter().map(|texts| texts.journal.clone()))),
            ("mark", "00112233445566778899aabbccddeeff".to_owned()),
        ])
    }
}

/// The statement with pgbench's variables in place of its parameters; the numbers count on.
fn script(statement: &str) -> String {
    let values = [
        ":fence",
        ":first",
        "'{}'",
        "'{}'",
        ":kinds",
        IDS,
        ":records",
        NUMBERS,
        ":times",
        ":actors",
        ":commands",
        ":journal",
        ":mark",
    ];
    // From the last to the first: `$1` is the beginning of `$10`.
    let filled = (1..=values.len()).rev().zip(values.iter().rev());
    let text = filled.fold(statement.to_owned(), |text, (at, value)| text.replace(&format!("${at}"), value));
    format!("{text};\n\\set first :first + :group\n")
}

/// An array as PostgreSQL reads it.
fn array(texts: impl Iterator<Item = String>) -> String {
    let quoted = texts.map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

impl Beside for PgBench<'_> {
    fn run(&mut self, way: Way) -> Result<Duration> {
        let path = self.folder.path().join("commit.sql");
        fs::write(&path, &self.script)?;
        let last = self.last()?;
        let mut pgbench = self.cluster.program("pgbench");
        pgbench.env("PGOPTIONS", format!("-c search_path={SCHEMA}"));
        pgbench.args(["-n", "-M", "prepared", "-c", "1", "-t", &way.groups.to_string()]);
        pgbench.args(self.variables(way, last + 1)?.iter().map(|(name, value)| format!("-D{name}={value}")));
        let output = pgbench.arg("-f").arg(&path).output().context("pgbench cannot be started")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let count = way.groups * way.group as u64;
        if !output.status.success() || self.last()? != last + count {
            bail!("pgbench did not carry out what it was to: {out}\n{err}");
        }
        let tps =
            out.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        Ok(Duration::from_secs_f64(float(way.groups) / tps.context("pgbench does not say how fast it was")?))
    }
}
