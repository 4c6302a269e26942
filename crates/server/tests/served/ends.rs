//! What ends because time has passed: nodes and clients that expire, ephemeral hosts that stay away.

use std::time::{Duration, Instant};

use api::{Client, CreateClient, CreateKey, CreatedClient, JournalEntry, Node, PatchClient, PatchNode, path};
use testkit::fleet::Agent;
use wire::Token;

use crate::running::{DEADLINE, Ready, start, start_with};

async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let start = Instant::now();
    while !is().await {
        assert!(start.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_is_removed_and_a_client_shut_out_when_their_time_is_over() {
    let ready = start().await;
    let admin = &ready.admin;
    let token = ready.network("home", "10.1.0.0/16").await;
    for name in ["gw", "guest"] {
        Agent::join(&token, name).await.unwrap();
    }
    let gateway = PatchNode { remote_access: Some(true), ..PatchNode::default() };
    let _gateway: Node = admin.patch(&path::fill(path::NODE, &["home", "gw"]), &gateway).await.unwrap();
    let create = CreateClient::named("phone".parse().unwrap());
    let _created: CreatedClient = admin.post(&path::fill(path::CLIENTS, &["home"]), &create).await.unwrap();
    let (client, guest) =
        (path::fill(path::CLIENT, &["home", "phone"]), path::fill(path::NODE, &["home", "guest"]));
    let later = PatchClient { expires_in: Some(3_600), ..PatchClient::default() };
    assert!(admin.patch::<Client>(&client, &later).await.unwrap().expires.is_some());
    let soon = PatchNode { expires_in: Some(1), ..PatchNode::default() };
    let expires = admin.patch::<Node>(&guest, &soon).await.unwrap().expires.unwrap();
    until("the node is removed", || async { admin.get::<Node>(&guest).await.is_err() }).await;
    assert!(admin.get::<Client>(&client).await.unwrap().enabled, "its time is not over");
    let soon = PatchClient { expires_in: Some(1), ..PatchClient::default() };
    let _client: Client = admin.patch(&client, &soon).await.unwrap();
    let sweeps = || async {
        let mut entries: Vec<JournalEntry> = admin.list(path::JOURNAL, 100).await.unwrap();
        entries.retain(|entry| entry.command == "sweep");
        entries
    };
    until("the client is shut out", || async { sweeps().await.len() > 1 }).await;
    let sweeps = sweeps().await;
    assert_eq!(sweeps.len(), 2, "swept when something was due, and only then");
    let changed =
        |sweep: &JournalEntry| sweep.changes.iter().map(|record| record.kind.clone()).collect::<Vec<_>>();
    assert_eq!(changed(&sweeps[0]), ["client"], "the newest first");
    let after = sweeps[0].changes[0].after.as_ref().unwrap();
    assert!(after["expired"].is_string() && after["expired"] == after["expires"], "{after}");
    assert!(admin.get::<Client>(&client).await.unwrap().enabled, "what people wish stays as it is");
    assert!(sweeps.iter().all(|sweep| sweep.actor == "system" && sweep.time >= expires));
    assert!(admin.host("guest").await.is_ok(), "the host stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_host_goes_when_it_stays_away_and_one_that_is_there_stays() {
    let ready = start_with("ephemeral_after = \"1s\"").await;
    let token = guests(&ready).await;
    let (_, lasting) = ready.admin.key("lasting", &["home"], None).await.unwrap();
    let stays = ready.connected(&token, "stays").await;
    let leaves = ready.connected(&token, "leaves").await;
    Agent::join(&lasting, "lasting").await.unwrap();
    for name in ["stays", "leaves"] {
        ready.until_online(name, true).await;
    }
    leaves.farewell().await.unwrap();
    until("the host is removed", || async { ready.admin.host("leaves").await.is_err() }).await;
    assert!(ready.admin.host("stays").await.unwrap().inventory.online);
    assert!(ready.admin.host("lasting").await.is_ok(), "it is not ephemeral");
    drop(stays);
}

/// A token for hosts that go when they are away.
async fn guests(ready: &Ready) -> Token {
    ready.network("home", "10.1.0.0/16").await;
    let create = CreateKey {
        networks: vec!["home".parse().unwrap()],
        ephemeral: true,
        ..CreateKey::titled("guests".parse().unwrap())
    };
    ready.admin.create_key(&create).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_host_that_cannot_reach_the_broker_stays_while_it_asks_for_its_map() {
    let ready = start_with("ephemeral_after = \"3s\"").await;
    let token = guests(&ready).await;
    let asks = Agent::join(&token, "asks").await.unwrap();
    for round in 0..2 {
        Agent::join(&token, &format!("silent-{round}")).await.unwrap();
        until("the silent one is removed", || async {
            asks.map().await.unwrap();
            ready.admin.host(&format!("silent-{round}")).await.is_err()
        })
        .await;
    }
    let shown = ready.admin.host("asks").await.unwrap().inventory;
    assert!(!shown.online && shown.last_seen.is_some(), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_ephemeral_host_goes_while_the_server_does_not_reach_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "correct horse\n").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ready = start_with(&format!(
        "ephemeral_after = \"1s\"\nbroker = \"mqtt://{nobody}\"\nbroker_user = \"netloom\"\n\
         broker_password_file = {password:?}\nbroker_accounts = \"none\""
    ))
    .await;
    let token = guests(&ready).await;
    let guest = Agent::join(&token, "guest").await.unwrap();
    let long_after = ready.admin.host("guest").await.unwrap().created + Duration::from_secs(4);
    until("several times as long has passed", || async {
        assert!(ready.admin.host("guest").await.is_ok(), "it could not show that it is there");
        testkit::fleet::now() > long_after
    })
    .await;
    assert!(guest.map().await.is_ok());
}
