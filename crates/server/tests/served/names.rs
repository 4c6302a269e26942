//! The server's own DNS: for machines that are pointed at it by hand, and for CoreDNS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use api::{PatchHost, path};
use tempfile::TempDir;

use crate::running::{Ready, start_with};

/// What `dig` prints for this question.
fn dig(at: SocketAddr, question: &[&str]) -> String {
    let output = Command::new("dig")
        .args([&format!("@{}", at.ip()), "-p", &at.port().to_string(), "+short", "+tries=1", "+time=5"])
        .args(question)
        .output()
        .expect("this test needs `dig` of bind9-dnsutils");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn answering(lines: &str) -> (Ready, SocketAddr) {
    let ready = start_with(&format!("dns_listen = \"127.0.0.1:0\"\n{lines}")).await;
    let at = ready.running.server.names[0];
    (ready, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_hosts_follow_what_administrators_do() {
    let (ready, at) = answering("").await;
    let token = ready.network("office", "10.7.0.0/24").await;
    let web = ready.connected(&token, "web").await;
    until("the host has a name", || dig(at, &["web.office.netloom.internal", "A"]) == "10.7.0.1").await;
    assert_eq!(dig(at, &["+tcp", "-x", "10.7.0.1"]), "web.office.netloom.internal.");
    let patch = PatchHost { name: Some("www".parse().unwrap()), ..PatchHost::default() };
    let _host: api::Host =
        ready.admin.patch(&path::fill(path::HOST, &[&web.agent.host.to_string()]), &patch).await.unwrap();
    until("it is renamed", || dig(at, &["www.office.netloom.internal"]) == "10.7.0.1").await;
    assert_eq!(dig(at, &["web.office.netloom.internal"]), "");
    let foreign = dig(at, &["+noshort", "+comments", "example.org"]);
    assert!(foreign.contains("REFUSED"), "it is no open resolver: {foreign}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_own_machine_is_answered_whoever_else_is() {
    let (ready, at) = answering("dns_allow = [\"192.0.2.0/24\"]").await;
    ready.network("office", "10.7.0.0/24").await;
    let question = ["+noshort", "+comments", "office.netloom.internal", "SOA"];
    until("it is answered", || dig(at, &question).contains("NOERROR")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_for_coredns_follow_too() {
    let folder = TempDir::new().unwrap();
    let zones = folder.path().join("zones");
    let (ready, _) =
        answering(&format!("domain = \"vpn.example.org\"\ncoredns_folder = \"{}\"", zones.display())).await;
    let token = ready.network("office", "10.7.0.0/24").await;
    let _web = ready.connected(&token, "web").await;
    let holds = |name: &str, text: &str| {
        std::fs::read_to_string(Path::new(&zones).join(name)).is_ok_and(|file| file.contains(text))
    };
    until("hosts", || holds("hosts", "10.7.0.1 web.office.vpn.example.org")).await;
    until("the zone", || holds("db.office.vpn.example.org", "web.office.vpn.example.org.")).await;
    until("the reverse zone", || holds("db.0.7.10.in-addr.arpa", "PTR")).await;
}
