//! Joining by other ways than the usual: with addresses of one's own choice, into two networks, over IPv6 alone.

use std::net::IpAddr;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::house::{Host, House, KeyPlan, NETWORK, all_reach_all, patience};
use testkit::lab::{Output, eventually};

use crate::{SOON, as_before, ip, join_all, public_hosts};

/// Why it was refused.
fn refused(output: Output) -> String {
    assert!(output.stdout.is_empty() && output.status.code() == Some(1), "{output}");
    output.stderr
}

#[test]
fn a_host_gets_the_addresses_it_asks_for_or_is_told_why_not() {
    let (house, token, hosts) = public_hosts("addresses", &["first"]);
    let asks = |host: &Host, addresses: &[&str]| {
        let words = addresses.iter().flat_map(|address| ["--address", address]);
        host.attempt(["join", "-t", &token].into_iter().chain(words)).unwrap()
    };
    let late = house.public_machine("late").unwrap();
    let before = late.machine().snapshot().unwrap();
    let first = hosts[0].addresses().unwrap();
    for taken in first {
        let refused = refused(asks(&late, &[&taken.to_string()]));
        assert!(refused.contains(&taken.to_string()) && refused.contains("first"), "{refused}");
    }
    for outside in ["10.21.0.5", "fd21::5", "192.0.2.1"] {
        let refused = refused(asks(&late, &[outside]));
        assert!(refused.contains(outside), "{refused}");
    }
    for special in ["10.20.0.0", "10.20.255.255", "fd20::"] {
        let refused = refused(asks(&late, &[special]));
        assert!(refused.contains(special), "{refused}");
    }
    assert!(house.administrator().host("late").is_err(), "whoever was refused is not there");
    as_before(late.machine(), &before);

    asks(&late, &["10.20.7.7", "fd20::7:7"]).success().unwrap();
    let mut has = late.addresses().unwrap().to_vec();
    has.sort_unstable();
    assert_eq!(has, [ip("10.20.7.7"), ip("fd20::7:7")]);
    let half = house.public_machine("half").unwrap();
    asks(&half, &["10.20.7.8"]).success().unwrap();
    assert_eq!(half.v4().unwrap(), ip("10.20.7.8"));
    all_reach_all(&[&hosts[0], &late, &half], patience(SOON)).unwrap();
}

/// The host's addresses in this network.
fn within(host: &Host, network: &str) -> Vec<IpAddr> {
    let look = host.look().unwrap();
    look.networks.into_iter().filter(|it| it.name == network).flat_map(|it| it.addresses).collect()
}

fn reaches_within(from: &Host, to: &Host, network: &str) {
    let addresses = within(to, network);
    assert_eq!(addresses.len(), 2, "{} is not in {network}", to.name());
    addresses.iter().for_each(|address| from.ping_within(*address, patience(SOON)).unwrap());
}

#[test]
fn two_hosts_share_two_networks_over_one_session_and_each_has_its_own_policy() {
    let house = House::new("both").unwrap();
    let administrator = house.administrator();
    administrator.create_network(NETWORK, "10.20.0.0/16", "fd20::/64").unwrap();
    administrator.create_network("lab", "10.30.0.0/16", "fd30::/64").unwrap();
    let token =
        administrator.token(&KeyPlan { networks: vec![NETWORK, "lab"], ..KeyPlan::default() }).unwrap();
    let hosts = ["a", "b"].map(|name| house.public(name).unwrap());
    let [a, b] = &hosts;
    join_all(&[a, b], &token);
    for network in [NETWORK, "lab"] {
        reaches_within(a, b, network);
        reaches_within(b, a, network);
    }
    let peers = a.wg().unwrap();
    assert!(peers.len() == 1 && peers[0].allowed.len() == 4, "one session for both: {peers:?}");

    let desk = house.desk().unwrap();
    desk.request("PATCH", "/api/v1/networks/lab", &json!({"access": "deny"})).unwrap();
    let denied = within(b, "lab");
    eventually(patience(SOON), || {
        ensure!(!a.knows(denied[0])?, "a still knows b in the network that denies all");
        Ok(())
    })
    .unwrap();
    denied.iter().for_each(|address| a.machine().cannot_ping(*address).unwrap());
    reaches_within(a, b, NETWORK);
    let policy = json!({"name": "one way", "from": ["node:a"], "to": ["node:b"]});
    desk.request("POST", "/api/v1/networks/lab/policies", &policy).unwrap();
    reaches_within(a, b, "lab");
    within(a, "lab").iter().for_each(|address| b.machine().cannot_ping(*address).unwrap());

    a.netclient(["leave", "lab"]).unwrap();
    assert!(within(a, "lab").is_empty());
    reaches_within(a, b, NETWORK);
    reaches_within(b, a, NETWORK);
    assert!(desk.request("GET", "/api/v1/networks/lab/nodes/a", &Value::Null).is_err());
}

#[test]
fn hosts_with_ipv6_alone_join_and_carry_both_families() {
    let house = House::with_settings("six", &[("NETLOOM_URL", "https://[2001:db8::1]:8443")]).unwrap();
    let token = house.first_network().unwrap();
    let hosts = ["a", "b"].map(|name| house.public_by_ipv6(name).unwrap());
    join_all(&[&hosts[0], &hosts[1]], &token);
    for host in &hosts {
        assert_eq!(host.addresses().unwrap().len(), 2, "inside there are both families");
        let shown = house.administrator().host(host.name()).unwrap();
        let seen = shown.inventory.endpoints;
        assert!(!seen.is_empty() && seen.iter().all(|at| at.ip().is_ipv6()), "{seen:?}");
    }
}
