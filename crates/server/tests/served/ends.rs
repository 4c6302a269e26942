//! What ends because time has passed: nodes and clients that expire, ephemeral hosts that stay away.

use std::time::{Duration, Instant};

use api::{Client, CreateClient, CreateKey, CreatedClient, JournalEntry, Node, PatchClient, PatchNode, path};
use testkit::fleet::Agent;

use crate::running::{DEADLINE, start, start_with};

async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let start = Instant::now();
    while !is().await {
        assert!(start.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_is_removed_and_a_client_switched_off_when_their_time_is_over() {
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
    until("the client is switched off", || async { !admin.get::<Client>(&client).await.unwrap().enabled })
        .await;

    let entries: Vec<JournalEntry> = admin.list(path::JOURNAL, 100).await.unwrap();
    let sweeps: Vec<&JournalEntry> = entries.iter().filter(|entry| entry.command == "sweep").collect();
    assert_eq!(sweeps.len(), 2, "swept when something was due, and only then");
    assert!(sweeps.iter().all(|sweep| sweep.actor == "system" && sweep.time >= expires));
    assert!(admin.host("guest").await.is_ok(), "the host stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_host_goes_when_it_stays_away_and_one_that_is_there_stays() {
    let ready = start_with("ephemeral_after = \"1s\"").await;
    let lasting = ready.network("home", "10.1.0.0/16").await;
    let create = CreateKey {
        networks: vec!["home".parse().unwrap()],
        ephemeral: true,
        ..CreateKey::titled("guests".parse().unwrap())
    };
    let (_, token) = ready.admin.create_key(&create).await.unwrap();
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
