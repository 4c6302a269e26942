//! A server that stops and starts again on the same folder and port: agents come back by themselves.

use std::time::{Duration, Instant};

use crate::running::{Ready, Running, run, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_come_back_to_a_restarted_server_and_generations_only_grow() {
    let Ready { running, admin } = start().await;
    let ready = Ready { running, admin };
    let token = ready.network("home", "10.1.0.0/16").await;
    let (web, db) = (ready.connected(&token, "web").await, ready.connected(&token, "db").await);
    web.until_map("its peer", |map| map.peers.len() == 1).await.unwrap();
    let before = web.view();

    let Ready { running: Running { server, folder, .. }, admin } = ready;
    let address = server.address().to_string();
    let start = Instant::now();
    server.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?} to stop", start.elapsed());
    let running = run(folder, &address, "").await;
    let ready = Ready { running, admin };
    let after = web.until("its map of the new epoch", |view| view.fetches > before.fetches).await.unwrap();
    assert!(after.generation() > before.generation(), "{} then {}", before.generation(), after.generation());
    let (old, new) = (before.map.unwrap(), after.map.unwrap());
    assert_eq!((&old.peers, &old.networks), (&new.peers, &new.networks));
    ready.until_online("web", true).await;
    ready.until_online("db", true).await;

    let third = ready.connected(&token, "third").await;
    for connected in [&web, &db] {
        connected
            .until_map("the third", |map| map.peers.contains_key(&third.agent.host.into()))
            .await
            .unwrap();
    }
}
