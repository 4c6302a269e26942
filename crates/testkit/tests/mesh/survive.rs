//! What ends without warning, and what must not be noticed of it.

use std::time::Duration;

use anyhow::ensure;
use testkit::house::{Host, House, INTERFACE, all_reach_all, patience};
use testkit::lab::{NatKind, Pinger, eventually};

use crate::{SOON, is_userspace, join_all, our_processes, public_hosts};

/// Pings between two hosts, each way by another family.
fn pingers(a: &Host, b: &Host) -> [Pinger; 2] {
    let pingers =
        [a.machine().pinger(b.v4().unwrap()).unwrap(), b.machine().pinger(a.v6().unwrap()).unwrap()];
    answered(&pingers, 50);
    pingers
}

/// Waits until so many more pings were answered on each.
fn answered(pingers: &[Pinger], more: u64) {
    pingers.iter().for_each(|pinger| pinger.wait_for(more, patience(SOON)).unwrap());
}

fn none_lost(pingers: [Pinger; 2]) {
    pingers.into_iter().for_each(|pinger| pinger.stop().unwrap().none_lost().unwrap());
}

/// The agent on `a` is killed and started again while both ping each other.
pub(crate) fn survives_a_killed_agent(a: &Host, b: &Host) {
    let index = a.interface_index().unwrap();
    let pingers = pingers(a, b);
    a.kill_agent().unwrap();
    answered(&pingers, 200);
    if is_userspace() {
        assert_eq!(our_processes(a).len(), 1, "the device lives without the agent");
    }
    let shown = a.machine().run("wg", ["show", INTERFACE]).unwrap().stdout;
    assert!(shown.contains("latest handshake"), "{shown}");
    a.start_agent().unwrap();
    answered(&pingers, 200);
    none_lost(pingers);
    assert_eq!(a.interface_index().unwrap(), index, "the interface is the same one");
}

#[test]
fn no_ping_is_lost_while_the_server_is_killed_and_started_again() {
    let (house, token) = House::with_network("server-dies").unwrap();
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let (a, b) = (house.public("a").unwrap(), house.behind(&home, "b").unwrap());
    join_all(&[&a, &b], &token);
    let pingers = pingers(&a, &b);
    house.server().kill().unwrap();
    answered(&pingers, 300);
    house.server().run().unwrap();
    for host in ["a", "b"] {
        house.administrator().wait_for_presence(host, true, patience(Duration::from_secs(60))).unwrap();
    }
    answered(&pingers, 200);
    none_lost(pingers);
    // The mesh still changes.
    let late = house.public("late").unwrap();
    late.join(&token).unwrap();
    all_reach_all(&[&a, &b, &late], patience(SOON)).unwrap();
}

#[test]
fn no_ping_is_lost_while_an_agent_is_killed_and_started_again() {
    let (house, token, hosts) = public_hosts("agent-dies", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    survives_a_killed_agent(a, b);
    // It still hears of changes.
    let late = house.public("late").unwrap();
    late.join(&token).unwrap();
    all_reach_all(&[a, b, &late], patience(SOON)).unwrap();
}

#[test]
fn a_machine_that_restarts_while_the_server_is_down_is_back_in_the_mesh() {
    let (house, token) = House::with_network("restart").unwrap();
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let (a, b) = (house.public("a").unwrap(), house.behind(&home, "b").unwrap());
    join_all(&[&a, &b], &token);
    house.server().kill().unwrap();
    a.reboot().unwrap();
    all_reach_all(&[&a, &b], patience(SOON)).unwrap();
    b.reboot().unwrap();
    all_reach_all(&[&a, &b], patience(SOON)).unwrap();
}

#[test]
fn a_dead_host_shows_as_offline_within_the_keepalive() {
    let house = House::with_settings("offline", &[("NETLOOM_KEEPALIVE", "4")]).unwrap();
    let token = house.first_network().unwrap();
    let (a, b) = (house.public("a").unwrap(), house.public("b").unwrap());
    join_all(&[&a, &b], &token);
    let administrator = house.administrator();
    for host in ["a", "b"] {
        administrator.wait_for_presence(host, true, patience(SOON)).unwrap();
    }
    a.die().unwrap();
    // MQTT: a client that was silent for one and a half times its keepalive is gone; a second to tell it and look.
    administrator.wait_for_presence("a", false, patience(Duration::from_secs(7))).unwrap();
    assert!(administrator.host("b").unwrap().inventory.online);
    a.machine().power_on().unwrap();
    a.start_agent().unwrap();
    administrator.wait_for_presence("a", true, patience(SOON)).unwrap();
    // One that ends in order says so.
    b.stop_agent().unwrap();
    administrator.wait_for_presence("b", false, patience(Duration::from_secs(2))).unwrap();
    eventually(patience(SOON), || {
        ensure!(b.interface_index()?.is_some(), "a daemon that ends takes its tunnels with it");
        Ok(())
    })
    .unwrap();
}
