//! The one real rqlite cluster that the suite may be pointed at (`NETLOOM_TEST_RQLITE=http://host:4001`), used by one test at a
//! time: who has its turn finds it empty, and all others wait, those of other processes of this machine too.
//!
//! Not for troubles, which only the stand-in plays. It keeps true that nothing is dropped but what our tests make, and only in a
//! cluster that held nothing when it was named first: it was set aside then.
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
use crate::engines::rqlite::{MARK, NAMED as VARIABLE, named};

/// What our tests make.
const TABLES: [&str; 6] = ["meta", "records", "journal", "inventory", "leases", "songs"];
/// What sets a cluster aside for them. It is a view, for a server that begins takes a cluster with a strange table for another's.
const ASIDE: &str = "netloom_test";
const SET_ASIDE: &str =
    "CREATE VIEW netloom_test AS SELECT 'tests of Netloom drop the tables of this cluster' AS words";
const FOUND: &str =
    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*'";
/// One for this machine, however a cluster is spelled.
const LOCK: &str = "/tmp/netloom-test-rqlite.lock";

/// The cluster, if one is named. Said once, past the test harness, which would keep it to itself.
static NAMED: LazyLock<Option<String>> = LazyLock::new(|| {
    let named = named();
    let words = match &named {
        Some(url) => format!("rqlite: the suite runs against {}, one test at a time, and drops its tables", who(url)),
        None => "rqlite: the suite runs against the stand-in of testkit (NETLOOM_TEST_RQLITE=http://host:4001 names a \
                 real and empty one, which is set aside for tests)"
            .to_owned(),
    };
    std::io::stderr().write_all(format!("{words}\n").as_bytes()).unwrap();
    named
});

fn who(url: &str) -> String {
    let answer = wait(ask(url, "db/query?level=strong", &[json!(["SELECT 1"])]));
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let place = place(url).unwrap_or_else(|error| panic!("{error}"));
    match header(MARK) {
        "" => format!("rqlite {} at {place}", header("x-rqlite-version")),
        _ => format!("the STAND-IN of testkit that listens at {place} (it is no rqlite)"),
    }
}

/// The nodes as a server asks them, each with its port, without user and password.
fn place(url: &str) -> Result<String, String> {
    let address = Address::parse(url, Access::default()).map_err(|error| format!("{VARIABLE}: {error}"))?;
    Ok(address.place().to_string())
}

/// The node that is asked: the first one, at the port where a server asks it.
pub(crate) fn node(url: &str) -> Result<Url, String> {
    let place = place(url)?;
    let wrong = || format!("{VARIABLE}: {place} is no address of rqlite; it is like http://host:4001");
    let first = place.split(',').next().and_then(|first| first.strip_prefix("rqlite")).ok_or_else(wrong)?;
    let mut node: Url = format!("http{first}").parse().map_err(|_| wrong())?;
    if let Some((login, _)) = url.rsplit_once('@') {
        let login = login.split_once("://").map_or(login, |(_, login)| login);
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        node.set_username(user).and_then(|()| node.set_password(Some(password))).map_err(|()| wrong())?;
    }
    Ok(node)
}

async fn ask(url: &str, path: &str, statements: &[Value]) -> Response {
    let config = tls::client_config(&Trust::System).unwrap();
    let client = Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
    let node = node(url).unwrap_or_else(|error| panic!("{error}"));
    let answer = client.post(node.join(path).unwrap()).json(statements).send().await;
    let answer =
        answer.unwrap_or_else(|error| panic!("the rqlite of NETLOOM_TEST_RQLITE does not answer: {error}"));
    assert!(answer.status().is_success(), "the rqlite of NETLOOM_TEST_RQLITE answers {}", answer.status());
    answer
}

/// Has statements carried out, all or none; the rows of each.
fn carry_out(url: &str, path: &str, statements: &[Value]) -> Vec<Value> {
    let body: Value = wait(async {
        let text = ask(url, path, statements).await.text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    });
    let results = body["results"].as_array().cloned().unwrap_or_default();
    assert!(body["error"].is_null() && results.iter().all(|result| result["error"].is_null()), "{body}");
    results.into_iter().map(|result| result["values"].clone()).collect()
}

/// Drops what our tests made, where the cluster was set aside for them; it is where it holds nothing at all. Otherwise it is left
/// as it is, and said what to do.
pub(crate) fn empty(url: &str) -> Result<(), String> {
    let found = carry_out(url, "db/query?level=strong", &[json!([FOUND])]);
    let rows = found.iter().flat_map(|rows| rows.as_array().into_iter().flatten());
    let (aside, found): (Vec<&str>, Vec<&str>) =
        rows.filter_map(|row| row[0].as_str()).partition(|name| *name == ASIDE);
    let strange: Vec<&&str> = found.iter().filter(|name| !TABLES.contains(name)).collect();
    let refuse = |why: String| Err(format!("{} of {VARIABLE} {why}; name an empty cluster", place(url)?));
    let statements: Vec<Value> = match (aside.is_empty(), found.is_empty()) {
        (true, true) => vec![json!([SET_ASIDE])],
        (true, false) => {
            return refuse(format!(
                "holds {found:?} and was not set aside for tests (it has no view `{ASIDE}`), so nothing of it was dropped"
            ));
        }
        (false, _) if !strange.is_empty() => {
            return refuse(format!(
                "holds {strange:?}, which no test of ours made, so nothing of it was dropped"
            ));
        }
        (false, _) => found.iter().map(|name| json!([format!("DROP TABLE {name}")])).collect(),
    };
    if !statements.is_empty() {
        carry_out(url, "db/execute?transaction", &statements);
    }
    Ok(())
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
        let lock = lock(Path::new(LOCK)).unwrap_or_else(|error| panic!("{error}"));
        empty(&url).unwrap_or_else(|error| panic!("{error}"));
        Some(Self { url, _lock: lock })
    }

    /// Its address for a server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Has statements carried out, all or none; the rows of each.
    pub(crate) fn sql(&self, path: &str, statements: &[Value]) -> Vec<Value> {
        carry_out(&self.url, path, statements)
    }
}

/// Waits for the turn.
pub(crate) fn lock(path: &Path) -> Result<File, String> {
    let shut = |error| {
        let path = path.display();
        format!(
            "the tests take turns by a lock on {path}, which cannot be had: {error}; let this user read it"
        )
    };
    // One that another user made can be opened, and not made again.
    let file = File::open(path).or_else(|_| File::create(path)).map_err(shut)?;
    file.lock().map_err(shut)?;
    Ok(file)
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
