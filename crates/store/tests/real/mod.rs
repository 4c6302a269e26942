//! The one real rqlite cluster that the suite may be pointed at (`NETLOOM_TEST_RQLITE=http://host:4001`), used by one test at a
//! time: who has its turn finds it empty, and all others wait, those of other processes of this machine too.
//!
//! Not for troubles, which only the stand-in plays. It keeps true that nothing is dropped but tables that a test of ours may
//! have made.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use reqwest::{Client, Response, Url};
use serde_json::{Value, json};
use store::{Access, Address};
use tls::Trust;

use crate::conformance::wait;
use crate::engines::rqlite::{MARK, named};

/// What our tests make.
const TABLES: [&str; 6] = ["meta", "records", "journal", "inventory", "leases", "songs"];

/// The cluster, if one is named. Said once, past the test harness, which would keep it to itself.
static NAMED: LazyLock<Option<String>> = LazyLock::new(|| {
    let named = named();
    let words = match &named {
        Some(url) => format!("rqlite: the suite runs against {}, one test at a time; its tables are dropped", who(url)),
        None => "rqlite: the suite runs against the stand-in of testkit (NETLOOM_TEST_RQLITE=http://host:4001 names a \
                 real one, whose tables are dropped)"
            .to_owned(),
    };
    std::io::stderr().write_all(format!("{words}\n").as_bytes()).unwrap();
    named
});

fn who(url: &str) -> String {
    let answer = wait(ask(url, "db/query?level=strong", &[json!(["SELECT 1"])]));
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let place = Address::parse(url, Access::default()).unwrap().place().to_string();
    match header(MARK) {
        "" => format!("rqlite {} at {place}", header("x-rqlite-version")),
        _ => format!("the STAND-IN of testkit that listens at {place} (it is no rqlite)"),
    }
}

async fn ask(url: &str, path: &str, statements: &[Value]) -> Response {
    let config = tls::client_config(&Trust::System).unwrap();
    let client = Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
    let first = url.replacen("rqlite", "http", 1);
    let first = first.split(',').next().unwrap();
    let node: Url =
        first.parse().unwrap_or_else(|error| panic!("NETLOOM_TEST_RQLITE cannot be read: {error}"));
    let answer = client.post(node.join(path).unwrap()).json(statements).send().await;
    let answer =
        answer.unwrap_or_else(|error| panic!("the rqlite of NETLOOM_TEST_RQLITE does not answer: {error}"));
    assert!(answer.status().is_success(), "the rqlite of NETLOOM_TEST_RQLITE answers {}", answer.status());
    answer
}

/// The cluster, for as long as this lives.
pub(crate) struct Turn {
    url: String,
    /// Whoever holds the lock has the turn; it ends with the file, and with the process.
    _lock: File,
}

impl Turn {
    /// Waits for the turn, and empties the cluster; none where no cluster is named.
    pub(crate) fn take() -> Option<Self> {
        let url = NAMED.clone()?;
        let name: String =
            url.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
        let file = std::env::temp_dir().join(format!("netloom-test-{name}.lock"));
        let turn = Self { url, _lock: lock(&file) };
        turn.empty();
        Some(turn)
    }

    /// Its address for a server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Has statements carried out, all or none; the rows of each.
    pub(crate) fn sql(&self, path: &str, statements: &[Value]) -> Vec<Value> {
        let body: Value = wait(async {
            let text = ask(&self.url, path, statements).await.text().await.unwrap();
            serde_json::from_str(&text).unwrap()
        });
        let results = body["results"].as_array().cloned().unwrap_or_default();
        assert!(body["error"].is_null() && results.iter().all(|result| result["error"].is_null()), "{body}");
        results.into_iter().map(|result| result["values"].clone()).collect()
    }

    fn empty(&self) {
        let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
        let found = self.sql("db/query?level=strong", &[json!([names])]);
        let found: Vec<&str> = found
            .iter()
            .flat_map(|rows| rows.as_array().into_iter().flatten())
            .filter_map(|row| row[0].as_str())
            .collect();
        let strange: Vec<&&str> = found.iter().filter(|name| !TABLES.contains(name)).collect();
        assert!(
            strange.is_empty(),
            "the rqlite of NETLOOM_TEST_RQLITE holds {strange:?}, which no test of ours made; name an empty one"
        );
        let drops: Vec<Value> = found.iter().map(|name| json!([format!("DROP TABLE {name}")])).collect();
        if !drops.is_empty() {
            self.sql("db/execute?transaction", &drops);
        }
    }
}

fn lock(path: &Path) -> File {
    // One that another user made can be opened, and not made again.
    let file = File::open(path).or_else(|_| File::create(path)).unwrap();
    file.lock().unwrap();
    file
}

/// The statements of a script, without its comments.
pub(crate) fn statements(script: &str) -> Vec<Value> {
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with("--")).collect();
    let (mut all, mut is_quoted) = (vec![String::new()], false);
    for char in lines.join("\n").chars() {
        is_quoted ^= char == '\'';
        match char {
            ';' if !is_quoted => all.push(String::new()),
            _ => all.last_mut().expect("there is one from the beginning").push(char),
        }
    }
    all.iter().map(|sql| sql.trim()).filter(|sql| !sql.is_empty()).map(|sql| json!([sql])).collect()
}

thread_local! {
    static HAS_PLACE: Cell<bool> = const { Cell::new(false) };
}

/// The right of a test to its place. A second one would wait for the first for ever where there is one cluster, so it is refused
/// where there are many as well.
pub(crate) struct OnePlace(());

impl OnePlace {
    /// For the test of this thread.
    pub(crate) fn claim() -> Self {
        let had_one = HAS_PLACE.replace(true);
        assert!(
            !had_one,
            "a law has one place at a time: there may be one cluster in all; drop the first one before"
        );
        Self(())
    }
}

impl Drop for OnePlace {
    fn drop(&mut self) {
        HAS_PLACE.set(false);
    }
}
