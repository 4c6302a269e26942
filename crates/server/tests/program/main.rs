//! The real program as a process: how it refuses to start, how it restores, and what is left when it is killed.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod check;
mod measures;
mod restore;
mod thawed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::{Network, Node, path};
use model::HostId;
use tempfile::TempDir;
use testkit::fleet::{
    Administrator, Agent, Connected, Habits, Method, PASSWORD, ServerProcess, command, join_all, random,
};
use tokio::task::JoinSet;
use wire::Token;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_netloom-server"))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// How a start that must fail ends.
fn refused(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(stdout.is_empty());
    let sentence = text.lines().last().unwrap_or_default();
    assert!(text.contains("netloom-server: "), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(!sentence.is_empty());
    text
}

#[test]
fn every_wrong_setting_is_told_at_once() {
    let data = folder();
    let mut wrong = command(program(), data.path());
    wrong.env("NETLOOM_LISTEN", "here").env("NETLOOM_URL", "vpn.example.org").env("NETLOOM_KEEPALIVE", "0");
    wrong.env("NETLOOM_LGO", "debug").env("NETLOOM_TLS", "maybe");
    let text = refused(wrong);
    for part in ["`here`", "`vpn.example.org`", "keepalive", "LGO", "`maybe`"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(data.path().read_dir().unwrap().count(), 0, "nothing was made");
}

#[test]
fn plain_http_is_refused_off_loopback() {
    let data = folder();
    let mut plain = command(program(), data.path());
    plain.env("NETLOOM_TLS", "off").env("NETLOOM_LISTEN", "0.0.0.0:0");
    let text = refused(plain);
    assert!(text.contains("loopback") && text.contains("allow_plain_http"), "{text}");
}

#[test]
fn a_busy_port_is_told_with_its_number() {
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let data = folder();
    let mut busy = command(program(), data.path());
    let address = tcp.local_addr().unwrap().to_string();
    busy.env("NETLOOM_LISTEN", &address);
    let text = refused(busy);
    assert!(text.contains(&address) && text.contains("taken"), "{text}");

    let mut busy = command(program(), data.path());
    let address = udp.local_addr().unwrap().to_string();
    busy.env("NETLOOM_RENDEZVOUS", format!("127.0.0.1:0,{address}"));
    let text = refused(busy);
    assert!(text.contains(&address) && text.contains("`rendezvous`"), "{text}");
}

#[test]
fn a_data_folder_that_cannot_be_is_told() {
    let data = folder();
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let text = refused(command(program(), &file.join("below")));
    assert!(text.contains("file/below") && text.contains("NETLOOM_DATA"), "{text}");
}

#[test]
fn a_settings_file_that_is_not_there_is_told() {
    let data = folder();
    let mut missing = command(program(), data.path());
    missing.env("NETLOOM_CONFIG", "/nowhere/server.toml");
    let text = refused(missing);
    assert!(text.contains("/nowhere/server.toml"), "{text}");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let data = folder();
    let first = ServerProcess::start(program(), data.path()).unwrap();
    let text = refused(command(program(), data.path()));
    assert!(text.contains("netloom.db") && text.contains("in use"), "{text}");
    assert!(first.setup_code().is_ok());
}

async fn set_up(server: &ServerProcess) -> Administrator {
    Administrator::set_up(&server.site, &server.setup_code().unwrap()).await.unwrap()
}

async fn token(admin: &Administrator, network: &str, range: &str) -> Token {
    admin.network(network, range).await.unwrap();
    admin.key(network, &[network], None).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_everything_back_in_another_folder() {
    let (old, new, place) = (folder(), folder(), folder());
    let first = ServerProcess::start(program(), old.path()).unwrap();
    let admin = set_up(&first).await;
    let token = token(&admin, "home", "10.1.0.0/16").await;
    join_all(&token, 3, 3).await.unwrap();
    let backup = admin.send(Method::GET, path::BACKUP, "text/plain", Vec::new()).await.unwrap();
    assert_eq!(backup.headers["content-type"], "application/vnd.sqlite3");
    let file = place.path().join("backup.db");
    std::fs::write(&file, &backup.body).unwrap();
    let leftovers = old.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    assert!(leftovers.into_iter().all(|name| !name.to_string_lossy().contains("backup")));
    let before: Vec<Node> = admin.list(&path::fill(path::NODES, &["home"]), 100).await.unwrap();
    drop(first);

    let mut restore = command(program(), new.path());
    restore.arg("restore").arg(&file);
    assert!(restore.output().unwrap().status.success());
    let mut again = command(program(), new.path());
    again.arg("restore").arg(&file);
    assert!(refused(again).contains("netloom.db"), "what is there is not overwritten");

    // Agents would not know a server with other keys.
    let text = refused(command(program(), new.path()));
    assert!(text.contains("other keys") && text.contains("copy the folder"), "{text}");
    for key in old.path().join("keys").read_dir().unwrap().map(Result::unwrap) {
        std::fs::copy(key.path(), new.path().join("keys").join(key.file_name())).unwrap();
    }
    let second = ServerProcess::start(program(), new.path()).unwrap();
    let admin = Administrator::log_in(&second.site, "root", PASSWORD).await.unwrap();
    let networks: Vec<Network> = admin.list(path::NETWORKS, 100).await.unwrap();
    assert_eq!((networks.len(), networks[0].nodes), (1, 3));
    let after: Vec<Node> = admin.list(&path::fill(path::NODES, &["home"]), 100).await.unwrap();
    assert_eq!(after, before);
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let (data, place) = (folder(), folder());
    let file = place.path().join("backup.db");
    std::fs::write(&file, "not a database").unwrap();
    let mut restore = command(program(), data.path());
    restore.arg("restore").arg(&file);
    let text = refused(restore);
    assert!(text.contains("backup.db"), "{text}");
    assert!(!data.path().join("netloom.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_asked_to_stop_stops_at_once_with_agents_connected() {
    let data = folder();
    let server = ServerProcess::start(program(), data.path()).unwrap();
    let admin = set_up(&server).await;
    let token = token(&admin, "home", "10.1.0.0/16").await;
    let agent = Agent::join(&token, "web").await.unwrap();
    let connected = Connected::start(agent, Habits::default()).await.unwrap();
    let took = server.stop(Duration::from_secs(20)).unwrap();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop(connected);
}

const ROUNDS: usize = 20;
const BURST: usize = 500;
/// Nobody needs to try any more.
const OVER: usize = usize::MAX / 2;

/// Without TLS: it is not what is tested here, and takes most of the time.
fn start_plain(data: &Path) -> ServerProcess {
    let mut plain = command(program(), data);
    plain.env("NETLOOM_TLS", "off");
    ServerProcess::run(plain, data).unwrap()
}

/// Lets 500 machines join, kills the server when a random number of them was answered, and says which were.
async fn burst(server: &mut ServerProcess, token: &Token, round: usize) -> BTreeMap<HostId, String> {
    let [low, high, pause] = random::<3>();
    let enough = usize::from(u16::from_le_bytes([low, high])) % (BURST - 50);
    let answered = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(tokio::sync::Semaphore::new(48));
    let mut joins = JoinSet::new();
    for number in 0..BURST {
        let (token, answered, turns) = (token.clone(), Arc::clone(&answered), Arc::clone(&turns));
        joins.spawn(async move {
            let _turn = turns.acquire().await.ok().filter(|_| answered.load(Ordering::Relaxed) < OVER)?;
            let agent = Agent::join(&token, &format!("h-{round}-{number}")).await.ok()?;
            answered.fetch_add(1, Ordering::Relaxed);
            Some((agent.host, agent.name.to_string()))
        });
    }
    while answered.load(Ordering::Relaxed) < enough {
        assert!(!joins.is_empty());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_micros(40 * u64::from(pause))).await;
    server.kill();
    answered.store(OVER, Ordering::Relaxed);
    joins.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_20_times_in_bursts_of_500_joins_no_answered_join_is_lost_and_no_address_given_twice() {
    let data = folder();
    let mut server = start_plain(data.path());
    let mut token = token(&set_up(&server).await, "home", "10.0.0.0/16").await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        acknowledged.extend(burst(&mut server, &token, round).await);
        server = start_plain(data.path());
        token.servers = vec![server.site.url().to_owned()];
        let admin = Administrator::log_in(&server.site, "root", PASSWORD).await.unwrap();
        let nodes: Vec<Node> = admin.list(&path::fill(path::NODES, &["home"]), 1000).await.unwrap();
        let there: BTreeMap<HostId, String> =
            nodes.iter().map(|node| (node.host, node.host_name.to_string())).collect();
        let lost: Vec<_> = acknowledged.iter().filter(|(id, name)| there.get(id) != Some(*name)).collect();
        assert!(lost.is_empty(), "after round {round} these are gone: {lost:?}");
        let addresses: BTreeSet<IpAddr> = nodes.iter().filter_map(|node| node.v4.map(IpAddr::V4)).collect();
        assert_eq!(addresses.len(), nodes.len(), "an address was given twice in round {round}");
    }
    assert!(acknowledged.len() > ROUNDS, "there were joins to lose: {}", acknowledged.len());
}
