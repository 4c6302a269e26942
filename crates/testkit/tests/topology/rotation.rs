//! New WireGuard keys under traffic (ADR 19): two hundred packets a second each way between each two hosts, and none is lost.
//!
//! Not for who is asked when, nor for single devices: `control` and `dataplane` test those.

use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;
use testkit::house::{Host, House, INTERFACE, all_reach_all, patience};
use testkit::lab::{Pinger, eventually};

use crate::{SOON, public_hosts};

/// A second's worth of one pinger's pings.
const SECOND: u64 = 100;
/// A change of keys that failed is tried again after half a minute or so.
const LONG: Duration = Duration::from_secs(90);

/// The key that the device has.
pub(crate) fn key(host: &Host) -> String {
    host.machine().run("wg", ["show", INTERFACE, "public-key"]).unwrap().stdout.trim().to_owned()
}

/// The key that the server tells the others.
pub(crate) fn told_key(house: &House, host: &Host) -> String {
    house.administrator().host(host.name()).unwrap().wireguard_key.to_string()
}

/// Three hosts that ping each other all the time, and the keys they began with.
struct Traffic {
    house: House,
    hosts: Vec<Host>,
    pingers: Vec<Pinger>,
    former: Vec<String>,
}

impl Traffic {
    fn start(name: &str) -> Self {
        let (house, _token, hosts) = public_hosts(name, &["a", "b", "c"]);
        let pairs = || hosts.iter().flat_map(|from| hosts.iter().map(move |to| (from, to)));
        let pairs = pairs().filter(|(from, to)| from.name() != to.name());
        // One of each pair by IPv4, the other one by IPv6.
        let address = |from: &Host, to: &Host| if from.name() < to.name() { to.v4() } else { to.v6() };
        let pingers =
            pairs.map(|(from, to)| from.machine().pinger(address(from, to).unwrap()).unwrap()).collect();
        let former = hosts.iter().map(key).collect();
        let traffic = Self { house, hosts, pingers, former };
        traffic.goes_on(SECOND);
        traffic
    }

    /// As many more pings of each pinger are answered.
    fn goes_on(&self, pings: u64) {
        self.pingers.iter().for_each(|pinger| pinger.wait_for(pings, patience(SOON)).unwrap());
    }

    fn ask(&self, path: &str) {
        self.house.desk().unwrap().request("POST", path, &Value::Null).unwrap();
    }

    fn ask_one(&self, host: usize) {
        self.ask(&format!("/api/v1/hosts/{}/rotate-key", self.hosts[host].name()));
    }

    /// Who has another key than in the beginning, on the device and at the server.
    fn changed(&self, who: &[usize]) {
        for (host, former) in who.iter().map(|who| (&self.hosts[*who], &self.former[*who])) {
            eventually(patience(LONG), || {
                let (has, told) = (key(host), told_key(&self.house, host));
                ensure!(has != *former && has == told, "{} has {has}, and is told to", host.name());
                Ok(())
            })
            .unwrap();
        }
    }

    /// Nobody else changed, nobody lost anything, and nobody knows a former key.
    fn end(self, changed: &[usize]) {
        self.goes_on(2 * SECOND);
        let now: Vec<String> = self.hosts.iter().map(key).collect();
        for who in (0..self.hosts.len()).filter(|who| !changed.contains(who)) {
            assert_eq!(now[who], self.former[who], "nobody asked {} for a key", self.hosts[who].name());
        }
        let lost: Vec<String> = self
            .pingers
            .into_iter()
            .filter_map(|pinger| pinger.stop().unwrap().none_lost().err())
            .map(|lost| lost.to_string())
            .collect();
        assert!(lost.is_empty(), "{}", lost.join("\n"));
        all_reach_all(&self.hosts.iter().collect::<Vec<_>>(), patience(SOON)).unwrap();
        for host in &self.hosts {
            let peers = host.wg().unwrap();
            let forgotten = |who: &usize| peers.iter().all(|peer| peer.key != self.former[*who]);
            assert!(changed.iter().all(forgotten), "{} still has a former key", host.name());
        }
    }
}

#[test]
fn a_new_key_of_one_host_costs_no_packet() {
    let traffic = Traffic::start("rotate-one");
    traffic.ask_one(0);
    traffic.changed(&[0]);
    traffic.end(&[0]);
}

#[test]
fn new_keys_of_all_hosts_cost_no_packet() {
    let traffic = Traffic::start("rotate-all");
    traffic.ask("/api/v1/hosts/rotate-keys");
    traffic.changed(&[0, 1, 2]);
    traffic.end(&[0, 1, 2]);
}

#[test]
fn two_hosts_that_change_their_keys_at_the_same_moment_lose_no_packet() {
    let traffic = Traffic::start("rotate-both");
    let both = &traffic.hosts[..2];
    both.iter().for_each(|host| host.freeze_agent().unwrap());
    traffic.ask_one(0);
    traffic.ask_one(1);
    // Until it is the second one's turn: nobody waits longer for the first than half a minute.
    (0..8).for_each(|_| traffic.goes_on(4 * SECOND));
    both.iter().for_each(|host| host.thaw_agent().unwrap());
    traffic.changed(&[0, 1]);
    traffic.end(&[0, 1]);
}

#[test]
fn a_server_that_is_away_when_a_key_is_to_change_costs_no_packet() {
    let traffic = Traffic::start("rotate-away");
    let [a, ..] = &traffic.hosts[..] else { unreachable!("three were made") };
    a.freeze_agent().unwrap();
    traffic.ask_one(0);
    // The agent has the word of it in its socket.
    traffic.goes_on(SECOND);
    traffic.house.server().freeze().unwrap();
    a.thaw_agent().unwrap();
    traffic.goes_on(3 * SECOND);
    assert_eq!(key(a), traffic.former[0], "a key that nobody else knows is no use");
    traffic.house.server().thaw().unwrap();
    traffic.changed(&[0]);
    traffic.end(&[0]);
}

#[test]
fn an_agent_that_is_killed_while_it_changes_the_key_agrees_with_the_server_when_it_is_back() {
    let (house, _token, hosts) = public_hosts("rotate-killed", &["a", "b"]);
    let a = &hosts[0];
    let everybody: Vec<&Host> = hosts.iter().collect();
    for wait_for_device in [false, true, true] {
        let former = key(a);
        house.desk().unwrap().request("POST", "/api/v1/hosts/a/rotate-key", &Value::Null).unwrap();
        if wait_for_device {
            eventually(patience(SOON), || {
                ensure!(key(a) != former, "the device has the key it had");
                Ok(())
            })
            .unwrap();
        }
        a.kill_agent().unwrap();
        a.start_agent().unwrap();
        eventually(patience(LONG), || {
            let (has, told) = (key(a), told_key(&house, a));
            ensure!(has == told && has != former, "the device has {has}, the others are told {told}");
            Ok(())
        })
        .unwrap();
        all_reach_all(&everybody, patience(SOON)).unwrap();
    }
}
