//! A cluster at a small size: two servers, PostgreSQL, Mosquitto, simulated agents and real tunnels; each part is killed, and
//! nothing that was acknowledged is lost.
//!
//! `cargo xtask bench cluster` is the same at its whole size.

use testkit::cluster::play;

const SMALL: [&str; 12] =
    ["--agents", "60", "--networks", "3", "--rate", "25", "--deaths", "2", "--well", "1.5", "--tunnels", "2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_nothing_acknowledged_is_lost_and_all_maps_get_right() {
    play(&SMALL).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_named() {
    let error = play(&["--server", "/nowhere/netloom-server", "--agents", "4"]).await.unwrap_err();
    assert!(format!("{error:#}").contains("does not start"), "{error:#}");
}
