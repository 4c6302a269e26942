//! The house rules that no other tool checks: who may depend on whom, what pure crates may use, file heads and sizes,
//! and that no channel is unbounded.
//!
//! The last one is checked twice. Clippy (`disallowed-methods` in clippy.toml) knows the functions themselves, whatever
//! they are imported as, but only those that are listed there. Here it is their names: a channel of a library that nobody
//! listed is found as well, and so is one in code that clippy is not run on. Neither sees a collection that somebody uses
//! as a queue; the list of ours is in docs/queues.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{cargo, output, say};

/// An edge between two of our crates, and why it is there.
type Edge = (&'static str, &'static str, &'static str);

/// Every edge that is allowed (development dependencies of the shells on the test kit aside).
const EDGES: &[Edge] = &[
    ("wire", "model", "messages are made of the vocabulary"),
    ("control", "model", "decides about the nouns"),
    ("control", "wire", "plans host maps"),
    ("reconcile", "model", "names what it wants"),
    ("reconcile", "wire", "reads host maps"),
    ("api", "model", "the admin contract is about the nouns"),
    ("store", "model", "keeps the nouns"),
    ("store", "control", "commits changes"),
    ("store", "tls", "proves database servers by their certificates"),
    ("dns", "model", "records as people wrote them"),
    ("platform", "model", "hands WireGuard keys to the kernel"),
    ("platform", "reconcile", "observes and executes its types"),
    ("platform", "wire", "takes private keys"),
    ("tls", "model", "pins are digests"),
    ("server", "model", "shell of the server's brain"),
    ("server", "wire", "talks to agents"),
    ("server", "control", "runs the brain"),
    ("server", "store", "keeps intent"),
    ("server", "api", "answers administrators"),
    ("server", "settings", "reads its settings"),
    ("agent", "settings", "reads its settings"),
    ("server", "dataplane", "answers handshakes"),
    ("server", "tls", "reaches a broker that somebody else runs"),
    ("server", "dns", "answers names for machines that are pointed at it"),
    ("agent", "model", "shell of the agent's brain"),
    ("agent", "wire", "talks to the server"),
    ("agent", "reconcile", "runs the brain"),
    ("agent", "platform", "has hands"),
    ("agent", "dataplane", "userspace device"),
    ("agent", "dns", "answers names from its map"),
    ("agent", "tls", "pinned connections"),
    ("cli", "model", "parses names"),
    ("cli", "api", "is a client of the API"),
    ("cli", "tls", "pinned connections"),
    ("testkit", "model", "simulates the whole"),
    ("testkit", "wire", "simulates the whole"),
    ("testkit", "control", "simulates the whole"),
    ("testkit", "reconcile", "simulates the whole"),
    ("testkit", "api", "drives the real server"),
    ("testkit", "tls", "drives the real server"),
    ("testkit", "store", "measures it"),
    ("testkit", "dns", "measures it"),
    ("testkit", "platform", "measures its firewall"),
];

const PURE: &[&str] = &["model", "wire", "control", "reconcile", "api", "settings"];

/// Crates that a pure crate never names: runtimes, randomness, clocks, systems.
const IMPURE: &[&str] =
    &["tokio", "getrandom", "rand", "reqwest", "rustix", "axum", "rusqlite", "tempfile", "tracing"];

/// Paths that a pure crate's code never names.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "TcpStream",
    "UdpSocket",
];

/// Words that have a better one in the house's vocabulary.
const BANNED: &[&str] = &["Manager", "Helper", "Utils", "whitelist", "blacklist"];

/// Names of others that have such a word in them.
const FOREIGN: &[&str] = &["NetworkManager", "org.freedesktop.resolve1.Manager"];

const MOST_LINES: usize = 800;

/// Checks every rule and reports all that is wrong at once.
pub(crate) fn tidy() -> Result<()> {
    say("tidy");
    let mut wrong = edges()?;
    for file in sources(Path::new("crates"))?.into_iter().chain(sources(Path::new("xtask"))?) {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        wrong.extend(check_file(&file, &text));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.iter().for_each(|line| say(line));
    bail!("{} house rules are broken", wrong.len());
}

fn edges() -> Result<Vec<String>> {
    let metadata = output(cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]))
        .context("`cargo metadata` failed; is Cargo.lock in step?")?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let dependencies: BTreeMap<&str, Vec<&Value>> =
        packages.iter().map(|package| (name(package), deps(package))).collect();
    let mut wrong = Vec::new();
    for (from, deps) in &dependencies {
        for to in deps.iter().map(|dep| name(dep)) {
            let ours = dependencies.contains_key(to);
            let allowed = EDGES.iter().any(|(a, b, _)| a == from && *b == to);
            if ours && !allowed {
                wrong
                    .push(format!("crates/{from} may not depend on {to}: no such edge in xtask/src/tidy.rs"));
            }
            if PURE.contains(from) && IMPURE.contains(&to) {
                wrong.push(format!("crates/{from} is pure and may not use {to}"));
            }
        }
    }
    Ok(wrong)
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn deps(package: &Value) -> Vec<&Value> {
    let all = package["dependencies"].as_array();
    all.into_iter().flatten().filter(|dep| dep["kind"].is_null()).collect()
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(file: &Path, text: &str) -> Vec<String> {
    let at = file.display();
    let mut wrong = Vec::new();
    if !text.starts_with("//!") {
        wrong.push(format!(
            "{at}: begins without `//!` (what it is for, what it is not for, what it keeps true)"
        ));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        wrong.push(format!("{at}: {lines} lines; {MOST_LINES} at most"));
    }
    if file.starts_with("xtask") {
        return wrong;
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let statements: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let names = |word: &str| statements.iter().any(|line| line.contains(word));
    let says = |word: &str| {
        let own = |line: &&str| FOREIGN.iter().fold((*line).to_owned(), |line, name| line.replace(name, ""));
        statements.iter().any(|line| own(line).contains(word))
    };
    let pure = PURE.iter().any(|pure| file.starts_with(Path::new("crates").join(pure).join("src")));
    if pure {
        wrong.extend(
            IMPURE_PATHS
                .iter()
                .filter(|path| names(path))
                .map(|path| format!("{at}: a pure crate may not use {path}")),
        );
    }
    wrong.extend(
        BANNED
            .iter()
            .filter(|word| says(word))
            .map(|word| format!("{at}: `{word}` is not a word of the house")),
    );
    wrong.extend(unbounded_channels(text).into_iter().map(|number| {
        format!("{at}:{number}: an unbounded channel; every queue is bounded and says what it does when full")
    }));
    if names("#[ignore") {
        wrong.push(format!("{at}: an ignored test"));
    }
    wrong
}

/// The lines, counted from one, on which a channel without a bound is made or named; in tests too.
fn unbounded_channels(text: &str) -> Vec<usize> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim_start().starts_with("//"));
    lines
        .filter(|(line, _)| names_unbounded(line) || makes_std_channel(line))
        .map(|(_, number)| number)
        .collect()
}

/// Tokio's `unbounded_channel` and `UnboundedSender`, the `unbounded` of futures, crossbeam, flume, async-channel and kanal.
fn names_unbounded(line: &str) -> bool {
    let words = line.split(|character: char| !character.is_alphanumeric() && character != '_');
    let mut words = words.filter(|word| !word.is_empty());
    words.any(|word| {
        let channel = ["Sender", "Receiver"].iter().any(|end| word.ends_with(end));
        matches!(word, "unbounded" | "unbounded_channel" | "unbounded_async" | "new_unbounded")
            || (word.starts_with("Unbounded") && channel)
    })
}

/// The standard library's `mpsc::channel`, which is told no bound; tokio's of that name is always told one.
fn makes_std_channel(line: &str) -> bool {
    let imports = line.trim_start().starts_with("use std::sync::mpsc::");
    line.match_indices("channel").any(|(at, name)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        let call = match after.strip_prefix("::<") {
            Some(types) => types.rsplit_once('>').map_or("", |(_, call)| call),
            None => after,
        };
        let imported = imports && before.ends_with([':', '{', ' ']);
        imported || (before.ends_with("mpsc::") && call.starts_with("()"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(code: &str) -> Vec<String> {
        let file = Path::new("crates/server/src/x.rs");
        check_file(file, &format!("//! A file.\n\n{code}\n"))
    }

    #[test]
    fn words_that_have_a_better_one_are_found_but_not_in_names_of_others() {
        assert!(wrong("struct LinkManager;")[0].contains("`Manager`"));
        assert_eq!(wrong("const BUS: &str = \"org.freedesktop.resolve1.Manager\";"), Vec::<String>::new());
    }

    #[test]
    fn channels_without_a_bound_are_found_whatever_library_they_are_of() {
        for code in [
            "let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();",
            "let (sender, receiver) = mpsc::unbounded_channel::<Vec<u8>>();",
            "use tokio::sync::mpsc::{UnboundedReceiver, channel};",
            "fn follow(events: &mpsc::UnboundedSender<Event>) {",
            "let (sender, receiver) = std::sync::mpsc::channel();",
            "let (sender, receiver) = mpsc::channel::<(Vec<u8>, Option<u8>)>();",
            "use std::sync::mpsc::{Receiver, channel};",
            "use std::sync::mpsc::channel;",
            "let (sender, receiver) = futures::channel::mpsc::unbounded();",
            "use futures_channel::mpsc::unbounded;",
            "let (sender, receiver) = crossbeam_channel::unbounded::<u8>();",
            "let (sender, receiver) = flume::unbounded();",
            "let (sender, receiver) = async_channel::unbounded();",
            "let (sender, receiver) = kanal::unbounded_async();",
            "#[cfg(test)]\nmod tests {\n    fn of() { mpsc::unbounded_channel::<u8>(); }\n}",
        ] {
            let wrong = wrong(code);
            assert!(wrong.len() == 1 && wrong[0].contains("an unbounded channel"), "{code}: {wrong:?}");
        }
        assert!(wrong("fn a() {}\nlet x = mpsc::channel();")[0].starts_with("crates/server/src/x.rs:4:"));
    }

    #[test]
    fn channels_with_a_bound_and_single_answers_are_not() {
        for code in [
            "let (sender, receiver) = tokio::sync::mpsc::channel(64);",
            "let (sender, receiver) = mpsc::channel::<Job>(QUEUE);",
            "let (sender, receiver) = sync_channel(1);",
            "let (answer, answered) = oneshot::channel();",
            "let (answer, answered) = tokio::sync::oneshot::channel::<Result<(), ()>>();",
            "let (tell, told) = watch::channel(Vec::new());",
            "use std::sync::mpsc::{Receiver, sync_channel};",
            "let key = messages::channel().seal(1);",
            "/// Not for `unbounded_channel()`.",
            "let _unbounded_reading = limit == usize::MAX;",
        ] {
            assert_eq!(wrong(code), Vec::<String>::new(), "{code}");
        }
    }
}
