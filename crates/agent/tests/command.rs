//! The program from outside: what is said and which exit code is given where nothing may be changed.
//!
//! Not for networks: the lab's tests join for real. Every test has folders of its own and proves that nothing was written.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use wire::{Token, TokenSecret};

/// The nobody of most systems.
const NOBODY: u32 = 65_534;

fn netclient(program: &Path, folder: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for (name, place) in
        [("STATE_DIR", "state"), ("RUN_DIR", "run"), ("LOG_DIR", "log"), ("CONFIG", "config.toml")]
    {
        command.env(format!("NETCLIENT_{name}"), folder.path().join(place));
    }
    command
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    netclient(Path::new(env!("CARGO_BIN_EXE_netclient")), folder).args(arguments).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, said: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(said), "{text}");
}

fn is_empty(folder: &TempDir) -> bool {
    std::fs::read_dir(folder.path()).unwrap().count() == 0
}

fn token() -> String {
    Token {
        servers: vec!["http://127.0.0.1:1".to_owned()],
        secret: TokenSecret::from_random([7; 32]),
        pin: None,
    }
    .to_string()
}

#[test]
fn a_damaged_an_empty_and_a_missing_token_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let token = token();
    check(&run(&folder, &["join", "-t", &token[..30]]), 1, "the token is damaged");
    check(&run(&folder, &["register", "-t", " "]), 1, "the token is empty");
    check(&run(&folder, &["join"]), 1, "a token is needed");
    assert!(is_empty(&folder));
}

#[test]
fn a_token_comes_from_standard_input_or_the_environment_as_well() {
    let folder = TempDir::new().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_netclient"));
    // Standard input is empty here.
    check(&run(&folder, &["join", "-t", "-"]), 1, "the token is empty");
    let output = netclient(program, &folder).env("NETCLIENT_TOKEN", "junk").arg("join").output().unwrap();
    check(&output, 1, "the token is damaged");
}

#[test]
fn what_is_asked_for_wrongly_ends_with_2_and_names_every_mistake() {
    let folder = TempDir::new().unwrap();
    check(&run(&folder, &["frobnicate"]), 2, "frobnicate");
    let output = run(&folder, &["join", "-t", &token(), "--mtu", "5", "--port", "x"]);
    check(&output, 2, "2 settings cannot be used");
    assert!(is_empty(&folder));
}

#[test]
fn without_root_nothing_is_done() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("netclient");
    std::fs::copy(env!("CARGO_BIN_EXE_netclient"), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let token = token();
    for arguments in [vec!["join", "-t", &token], vec!["daemon"], vec!["install"], vec!["uninstall"]] {
        let mut command = netclient(&program, &folder);
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        check(&command.args(&arguments).output().unwrap(), 1, "this needs root");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_needs_a_network_says_how_to_join_one_and_json_says_it_as_json() {
    let folder = TempDir::new().unwrap();
    check(&run(&folder, &["list"]), 1, "netclient join -t TOKEN");
    let output = run(&folder, &["peers", "--json"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("{\"error\":") && output.status.code() == Some(1), "{text}");
    let output = run(&folder, &["status"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("netclient join -t TOKEN"), "{text}");
    assert!(is_empty(&folder));
}

#[test]
fn the_version_is_words_or_json() {
    let folder = TempDir::new().unwrap();
    let text = String::from_utf8(run(&folder, &["version"]).stdout).unwrap();
    assert_eq!(text.trim(), concat!("netclient ", env!("CARGO_PKG_VERSION")));
    let json = run(&folder, &["version", "--json"]).stdout;
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&json).unwrap()["version"],
        env!("CARGO_PKG_VERSION")
    );
}
