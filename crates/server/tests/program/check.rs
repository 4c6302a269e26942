//! `netloom-server check`: one thing that is wrong hides no other, and nothing is made by looking.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn check(data: &Path, more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netloom-server"));
    command.env_clear().args(["check", "--json"]);
    let plain = [
        ("DATA", data.to_str().unwrap()),
        ("LISTEN", "127.0.0.1:0"),
        ("URL", "https://127.0.0.1:8443"),
        ("RENDEZVOUS", "127.0.0.1:45871,127.0.0.1:45872"),
        ("DNS_LISTEN", "off"),
    ];
    for (name, value) in plain.iter().chain(more) {
        command.env(format!("NETLOOM_{name}"), value);
    }
    command.output().unwrap()
}

/// The states of a subject, and what is said of it.
fn said(output: &Output, subject: &str) -> Vec<(String, String)> {
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let of = findings.iter().filter(|finding| finding["subject"] == subject);
    of.map(|finding| (text(finding, "state"), text(finding, "detail"))).collect()
}

#[test]
fn a_new_server_is_fine_and_nothing_is_made_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let output = check(&data, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(said(&output, "database")[0].1.contains("first start"));
    assert_eq!(said(&output, "url")[0].0, "doubtful", "nobody else can join at 127.0.0.1");
    assert!(!data.exists());
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("sealing.key"), "short").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let output = check(
        folder.path(),
        &[
            ("LISTEN", &taken.local_addr().unwrap().to_string()),
            ("DATABASE", &format!("postgres://netloom@{nobody}/netloom?sslmode=disable")),
            ("BROKER", &format!("mqtt://{nobody}")),
            ("BROKER_URLS", "mqtts://nowhere.invalid"),
            ("BROKER_USER", "netloom"),
            ("BROKER_PASSWORD_FILE", password.to_str().unwrap()),
            ("URL", "https://nowhere.invalid:8443"),
        ],
    );
    assert!(!output.status.success());
    assert_eq!(said(&output, "https")[0].0, "doubtful");
    for (subject, words) in [
        ("keys", "sealing.key"),
        ("database", "cannot be reached"),
        ("broker", "cannot be reached"),
        ("url", "DNS"),
    ] {
        let said = said(&output, subject);
        assert!(
            said.iter().any(|(state, detail)| state == "wrong" && detail.contains(words)),
            "{subject}: {said:?}"
        );
    }
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"));
}

#[test]
fn a_database_of_other_servers_is_noticed() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = one.path().join("netloom.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use store::Database as _;
        let database = store::Sqlite::open(&file).unwrap();
        let own = server::identity::Identity::load_or_create(one.path()).unwrap();
        own.check(&database, one.path(), None).await.unwrap();
        database.check().await.unwrap();
    });
    server::identity::Identity::load_or_create(two.path()).unwrap();
    assert!(check(one.path(), &[]).status.success());
    let output = check(two.path(), &[("DATABASE", file.to_str().unwrap())]);
    let keys = said(&output, "keys");
    assert!(keys.iter().any(|(state, detail)| state == "wrong" && detail.contains("other keys")), "{keys:?}");
}

#[test]
fn a_database_whose_keys_are_lost_is_adopted_and_only_when_that_is_said() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = one.path().join("netloom.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = store::Sqlite::open(&file).unwrap();
        let own = server::identity::Identity::load_or_create(one.path()).unwrap();
        own.check(&database, one.path(), None).await.unwrap();
    });
    let adopt = |data: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netloom-server"));
        command.env_clear().args(["rekey", "adopt"]);
        command.env("NETLOOM_DATA", data).env("NETLOOM_DATABASE", &file).output().unwrap()
    };
    let adopted = adopt(two.path());
    assert!(String::from_utf8_lossy(&adopted.stdout).contains("join again: 0"), "{adopted:?}");
    assert!(check(two.path(), &[("DATABASE", file.to_str().unwrap())]).status.success());
    assert!(!check(one.path(), &[]).status.success());
}
