//! The real rqlite that tests may be pointed at: looked at before anything is built, and said.
//!
//! Not for what is done with it: that is `crates/store/tests/real`. It keeps true that nobody takes a run against the stand-in for
//! one against rqlite.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::run::say;

const NAMED: &str = "NETLOOM_TEST_RQLITE";
const EXAMPLE: &str =
    "NETLOOM_TEST_RQLITE=http://127.0.0.1:4001 (with several nodes: http://one:4001,two:4001)";
const PORT: u16 = 4001;
const PATIENCE: Duration = Duration::from_secs(5);

/// Says which rqlite the tests run against; fails where the one that is named does not listen.
pub(crate) fn for_tests() -> Result<()> {
    let Ok(url) = std::env::var(NAMED) else {
        say(
            "rqlite: all tests run against the stand-in of testkit; NETLOOM_TEST_RQLITE=http://host:4001 names a real and empty one",
        );
        return Ok(());
    };
    let node = first_node(&url)?;
    let shown = format!("{}:{}", node.0, node.1);
    let missing =
        || format!("{NAMED} names {shown}, where nothing listens; start it, or leave the variable out");
    let mut addresses = (node.0.as_str(), node.1).to_socket_addrs().with_context(missing)?;
    ensure!(addresses.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok()), missing());
    say(&format!(
        "rqlite: the conformance suite runs against what listens at {shown}, one test at a time, and drops its tables if it \
         held none when it was named first; tests that play troubles, and all others, run against the stand-in of testkit"
    ));
    Ok(())
}

/// Host and port of the first node, without user and password.
fn first_node(url: &str) -> Result<(String, u16)> {
    let wrong = |what: &str| format!("{NAMED} cannot be read: {what}; it is like {EXAMPLE}");
    let (scheme, rest) = url.split_once("://").with_context(|| wrong("`://` is missing"))?;
    ensure!(
        ["http", "https", "rqlite", "rqlites"].contains(&scheme),
        wrong("it begins with neither http nor rqlite")
    );
    ensure!(!url.contains(char::is_whitespace), wrong("it names one cluster, without blanks"));
    let hosts = rest.rsplit('@').next().unwrap_or(rest);
    let host = hosts.split(['/', ',']).next().unwrap_or_default();
    ensure!(!host.is_empty(), wrong("it names no host"));
    let port = |text: &str| text.parse().ok();
    let (host, port) = match host.rsplit_once(':').and_then(|(host, text)| Some((host, port(text)?))) {
        Some(found) => found,
        None => (host, PORT),
    };
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cluster_is_named_in_each_of_the_usual_ways() {
        let node = |url| first_node(url).map_err(|error| error.to_string());
        assert_eq!(node("http://127.0.0.1:4001"), Ok(("127.0.0.1".to_owned(), 4001)));
        assert_eq!(node("https://anna:pw@db.example/"), Ok(("db.example".to_owned(), 4001)));
        assert_eq!(node("rqlite://one:4002,two:4001"), Ok(("one".to_owned(), 4002)));
        assert_eq!(node("http://[::1]:4001"), Ok(("::1".to_owned(), 4001)));
        for (url, word) in [
            ("127.0.0.1:4001", "://"),
            ("ftp://one:4001", "neither"),
            ("http://one:4001 http://two:4001", "one cluster"),
            ("http://", "no host"),
        ] {
            let error = node(url).unwrap_err();
            assert!(error.contains(word) && error.contains(EXAMPLE), "{error}");
        }
    }
}
