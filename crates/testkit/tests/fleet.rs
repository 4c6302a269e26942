//! The fleet bench at a small size: every scenario and every bad day against the real server, with every map checked.
//!
//! Not for figures: nothing is timed here. What it holds is that the bench works, that all maps come out right whatever
//! happens, and that it fails when a program is not there.

#![expect(clippy::unwrap_used, reason = "in a test a panic with its line says enough")]

use testkit::fleet_bench::play;

const SMALL: [&str; 10] =
    ["--agents", "20", "--changes", "3", "--burst", "8", "--seconds", "1", "--rest-seconds", "0.5"];

async fn small(more: &[&str]) {
    play(&[&SMALL, more].concat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_reach_everybody_and_every_map_is_right() {
    small(&["--networks", "3", "--shared", "40", "--scenario", "join,endpoints,flip,leave,enrol,rest"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_comes_back_after_the_server_and_after_the_broker() {
    small(&["--networks", "3", "--shared", "40", "--scenario", "restart,kill,broker"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_in_the_middle_of_changes_loses_none_of_them() {
    small(&["--scenario", "kill-mid-burst,broker-mid-burst"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_hang_or_misbehave_do_not_make_anybody_elses_map_wrong() {
    small(&["--scenario", "hang,garbage,loop"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_growth_is_drawn_with_a_point_for_each_size() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("growth.svg");
    let plot = ["--curve", "4,8", "--scenario", "join", "--json", "--plot", file.to_str().unwrap()];
    small(&plot).await;
    let svg = std::fs::read_to_string(&file).unwrap();
    assert_eq!(svg.matches("<circle").count(), 2 * 5);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let error = play(&["--server", "/nowhere/netloom-server"]).await.unwrap_err();
    assert!(format!("{error:#}").contains("cannot be started"), "{error:#}");
}
