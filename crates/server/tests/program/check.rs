//! `netloom-server check`: one thing that is wrong hides no other, and nothing is made by looking.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn check(data: &Path, more: &[(&str, &str)]) -> Output {
    with(data, more).output().unwrap()
}

fn with(data: &Path, more: &[(&str, &str)]) -> Command {
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
    command
}

/// Whether this is said of a subject, in this state.
#[track_caller]
fn says(output: &Output, subject: &str, state: &str, words: &str) {
    let said = said(output, subject);
    let found = said.iter().any(|(found, detail)| found == state && detail.contains(words));
    assert!(found, "{subject} is not {state} for `{words}`: {said:?}");
    assert!(state != "wrong" || !output.status.success());
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

/// A server that was started once, with its database.
fn started(data: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = store::Sqlite::open(&data.join("netloom.db")).unwrap();
        let own = server::identity::Identity::load_or_create(data).unwrap();
        own.check(&database, data, None).await.unwrap();
    });
}

#[test]
fn a_change_of_keys_that_is_under_way_broken_or_half_done_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    started(data);
    let mut begin = Command::new(env!("CARGO_BIN_EXE_netloom-server"));
    assert!(
        begin
            .env_clear()
            .env("NETLOOM_DATA", data)
            .args(["rekey", "begin"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let output = check(data, &[]);
    assert!(output.status.success());
    says(&output, "keys", "good", "was begun");

    let next = server::rekey::Next::load(data).unwrap().unwrap().sealing.public().to_string();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use store::Database as _;
        store::Sqlite::open(&data.join("netloom.db")).unwrap().replace_identity(&next).await.unwrap();
    });
    let output = check(data, &[]);
    says(&output, "keys", "wrong", "rekey finish");
    assert!(!said(&output, "keys").iter().any(|(_, detail)| detail.contains("copy the folder")));

    std::fs::write(data.join("keys/next/sealing.key"), "short").unwrap();
    says(&check(data, &[]), "keys", "wrong", "sealing.key does not hold a key");
}

#[test]
fn keys_that_others_could_read_are_told_with_the_right_they_should_have() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    started(data);
    for (name, mode, words) in [("keys/sealing.key", 0o640, "chmod 600"), ("keys", 0o755, "chmod 700")] {
        let right = |mode| std::fs::set_permissions(data.join(name), Permissions::from_mode(mode)).unwrap();
        right(mode);
        says(&check(data, &[]), "keys", "wrong", words);
        right(mode & 0o700);
        assert!(check(data, &[]).status.success());
    }
}

/// An authority and a server's certificate by it, as files in a folder; the certificate is for this name and ended in this year.
fn certificate(folder: &Path, name: &str, until: i32) -> [String; 3] {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut own = CertificateParams::new(Vec::new()).unwrap();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    own.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(own, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let files =
        [("authority", authority.pem()), ("certificate", certificate.pem()), ("key", key.serialize_pem())];
    files.map(|(file, text)| {
        let path = folder.join(format!("{name}-{until}-{file}.pem"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    })
}

#[test]
fn a_certificate_is_looked_at_as_agents_will() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let look = |name: &str, until: i32, trusted: &str, known: bool| {
        let [authority, certificate, key] = certificate(folder.path(), name, until);
        let mut check = with(
            &data,
            &[
                ("TLS", "files"),
                ("TLS_CERTIFICATE", &certificate),
                ("TLS_KEY", &key),
                ("TLS_PUBLICLY_TRUSTED", trusted),
                ("URL", "https://localhost:8443"),
            ],
        );
        let authority =
            if known { authority } else { self::certificate(folder.path(), "else", 2200)[0].clone() };
        check.env("SSL_CERT_FILE", authority).output().unwrap()
    };
    let good = look("localhost", 2200, "true", true);
    assert!(good.status.success());
    says(&good, "certificate", "good", "believed for localhost");
    says(&look("localhost", 2001, "true", true), "certificate", "wrong", "dates do not cover today");
    says(&look("vpn.example.org", 2200, "true", true), "certificate", "wrong", "not for localhost");
    says(&look("localhost", 2200, "true", false), "certificate", "doubtful", "do not vouch for it");
    // By the key alone: neither matters to agents.
    let pinned = look("vpn.example.org", 2200, "false", true);
    assert!(pinned.status.success() && said(&pinned, "certificate").iter().all(|(state, _)| state == "good"));
    says(&look("vpn.example.org", 2001, "false", false), "certificate", "doubtful", "browsers warn");
}

#[test]
fn what_a_broker_and_names_need_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (password, large) = (file("password", "secret\n"), file("large", &"x".repeat(40_000)));
    let missing = folder.path().join("missing").display().to_string();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = check(
        &data,
        &[
            ("BROKER", &format!("mqtts://{nobody}")),
            ("BROKER_URLS", "mqtts://nowhere.invalid"),
            ("BROKER_USER", "netloom"),
            ("BROKER_PASSWORD_FILE", &password),
            ("BROKER_CA_FILE", &large),
            ("BROKER_ACCOUNTS", "mosquitto-files"),
            ("BROKER_ACCOUNTS_FOLDER", &missing),
            ("DATABASE", "rqlite://127.0.0.1:1"),
            ("ADVERTISE", "https://nowhere.invalid:8443"),
            ("DNS_LISTEN", &taken.local_addr().unwrap().to_string()),
            ("DNS_UPSTREAMS", &silent.local_addr().unwrap().to_string()),
            ("COREDNS_FOLDER", &password),
        ],
    );
    says(&output, "broker", "wrong", "`broker_ca_file`");
    says(&output, "broker", "wrong", "more than 32768 bytes");
    says(&output, "broker", "wrong", "mqtts://nowhere.invalid leads nowhere");
    says(&output, "accounts", "wrong", "is not there");
    says(&output, "accounts", "doubtful", "the server that leads writes");
    says(&output, "advertise", "wrong", "leads nowhere");
    says(&output, "dns", "doubtful", "TCP");
    says(&output, "dns", "doubtful", "does not answer");
    says(&output, "coredns", "wrong", "is no folder");

    let two = [("DATABASE", "rqlite://127.0.0.1:1"), ("URL", "https://127.0.0.1:1,https://127.0.0.1:2")];
    says(&check(&data, &two), "advertise", "doubtful", "is not set");
}
