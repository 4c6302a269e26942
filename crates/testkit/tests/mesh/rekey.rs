//! Other keys for the server itself, and back again: nobody joins again, and no packet is lost.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::ServerStatus;
use testkit::house::{Administrator, House, KeyPlan, NETWORK, all_reach_all, patience};
use testkit::lab::eventually;
use testkit::programs;

use crate::{SOON, public_hosts};

#[test]
fn the_servers_own_keys_change_and_nobody_joins_again() {
    let (house, _, hosts) = public_hosts("rekey", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    let server = |words: &[&str]| server(&house, words);
    let pin = || {
        let found: Vec<serde_json::Value> = serde_json::from_str(&server(&["check", "--json"])).unwrap();
        let of = found.iter().find(|finding| finding["subject"] == "certificate").unwrap();
        of["detail"].as_str().unwrap().rsplit_once(' ').unwrap().1.to_owned()
    };
    let restart = || {
        house.server().kill().unwrap();
        house.server().run().unwrap();
    };
    let (administrator, before) = (house.administrator(), pin());
    let pinger = a.machine().pinger(b.v4().unwrap()).unwrap();

    server(&["rekey", "begin"]);
    assert_eq!(pin(), before, "nothing changes before the hosts know");
    restart();
    wait_for_hosts(&administrator, false);
    // One of them has to find its state again, in the middle of it.
    a.kill_agent().unwrap();
    a.start_agent().unwrap();
    house.server().kill().unwrap();
    server(&["rekey", "finish"]);
    house.server().run().unwrap();
    assert_ne!(pin(), before);

    let place = ["context", "add", "after", "--server", house.server().url(), "--pin", &pin()];
    administrator.run(place).unwrap();
    let who = ["--context", "after", "login", "admin", "--password-file", "/etc/administrator-password"];
    administrator.run(who).unwrap();
    administrator.run(["context", "use", "after"]).unwrap();
    for host in ["a", "b"] {
        administrator.wait_for_presence(host, true, patience(Duration::from_secs(60))).unwrap();
    }
    pinger.wait_for(50, patience(SOON)).unwrap();
    pinger.stop().unwrap().none_lost().unwrap();
    // What is said and told goes by the new keys alone.
    b.kill_agent().unwrap();
    b.start_agent().unwrap();
    let token = administrator.token(&KeyPlan::into_network(NETWORK)).unwrap();
    let late = house.public("late").unwrap();
    late.join(&token).unwrap();
    all_reach_all(&[a, b, &late], patience(SOON)).unwrap();
}

fn server(house: &House, words: &[&str]) -> String {
    let program = programs::find("netloom-server").unwrap();
    let words = [&["--data", "/var/lib/netloom"], words].concat();
    house.server().machine().run(program.to_str().unwrap(), words).unwrap().stdout
}

/// Until no host is left for which the change is not over, whichever way it goes.
fn wait_for_hosts(administrator: &Administrator<'_>, taken_back: bool) {
    eventually(patience(Duration::from_secs(60)), || {
        let status: ServerStatus = administrator.json(&["server", "status"])?;
        let rekey = status.rekey.context("a change of keys is under way")?;
        ensure!(rekey.taken_back == taken_back, "it goes the other way");
        ensure!(rekey.hosts_left == 0, "{} hosts are left", rekey.hosts_left);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_change_of_keys_that_hosts_have_followed_is_taken_back_and_nobody_joins_again() {
    let (house, _, hosts) = public_hosts("rekey-back", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    let administrator = house.administrator();
    let pinger = a.machine().pinger(b.v4().unwrap()).unwrap();
    let stopped = |words: &[&str]| {
        house.server().kill().unwrap();
        let said = server(&house, words);
        house.server().run().unwrap();
        said
    };
    stopped(&["rekey", "begin"]);
    wait_for_hosts(&administrator, false);
    let said = stopped(&["rekey", "abandon"]);
    assert!(said.contains("come back: 2"), "{said}");
    a.kill_agent().unwrap();
    a.start_agent().unwrap();
    wait_for_hosts(&administrator, true);
    let said = stopped(&["rekey", "abandon"]);
    assert!(said.contains("next keys are gone") && !said.contains("join again"), "{said}");

    let status: ServerStatus = administrator.json(&["server", "status"]).unwrap();
    assert_eq!(status.rekey, None);
    for host in ["a", "b"] {
        administrator.wait_for_presence(host, true, patience(Duration::from_secs(60))).unwrap();
    }
    pinger.wait_for(50, patience(SOON)).unwrap();
    pinger.stop().unwrap().none_lost().unwrap();
    b.kill_agent().unwrap();
    b.start_agent().unwrap();
    let token = administrator.token(&KeyPlan::into_network(NETWORK)).unwrap();
    let late = house.public("late").unwrap();
    late.join(&token).unwrap();
    all_reach_all(&[a, b, &late], patience(SOON)).unwrap();
}
