//! A cluster at a small size: two servers, PostgreSQL, Mosquitto, simulated agents and real tunnels; each part is killed, and
//! nothing that was acknowledged is lost.
//!
//! `cargo xtask bench cluster` is the same at its whole size.

use testkit::cluster::play;

/// How fast it is depends on the machine, and is no part of it.
const SMALL: &str =
    "--agents 60 --networks 3 --rate 6 --enough 0 --deaths 2 --well 1.5 --tunnels 2 --limit 80";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_nothing_acknowledged_is_lost_and_all_maps_get_right() {
    play(&SMALL.split(' ').collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_named() {
    let error = play(&["--server", "/nowhere/netloom-server", "--agents", "4"]).await.unwrap_err();
    assert!(format!("{error:#}").contains("does not start"), "{error:#}");
}
