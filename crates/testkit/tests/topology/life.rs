//! The rest of a node's life: waiting to be let in, ending, one family, default hosts.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::house::{House, KeyPlan, NETWORK, all_reach_all, patience};
use testkit::lab::eventually;

use crate::{SOON, join_all, public_hosts};

#[test]
fn a_host_waits_until_it_is_let_in() {
    let (house, token, hosts) = public_hosts("approval", &["a", "b"]);
    let desk = house.desk().unwrap();
    desk.patch("", &json!({"approval": true})).unwrap();
    let late = house.public("late").unwrap();
    let said = late.attempt(["join", "-t", &token]).unwrap();
    eventually(patience(SOON), || {
        ensure!(desk.get("nodes/late")?["pending"] == true, "{said}");
        Ok(())
    })
    .unwrap();
    let node = desk.get("nodes/late").unwrap();
    let address = node["v4"].as_str().unwrap().parse().unwrap();
    hosts[0].machine().cannot_ping(address).unwrap();
    assert!(late.wg().unwrap_or_default().is_empty() && !hosts[0].knows(address).unwrap());
    desk.request("POST", &format!("/api/v1/networks/{NETWORK}/nodes/late/approve"), &json!({})).unwrap();
    eventually(patience(SOON), || late.addresses().map(drop)).unwrap();
    all_reach_all(&[&hosts[0], &hosts[1], &late], patience(SOON)).unwrap();
}

#[test]
fn a_host_has_the_tags_of_its_key_while_it_waits_and_policies_speak_of_them_once_it_is_in() {
    let (house, _token, hosts) = public_hosts("tagged", &["a"]);
    let desk = house.desk().unwrap();
    desk.patch("", &json!({"access": "deny", "approval": true})).unwrap();
    let policy = json!({"name": "builders", "from": ["tag:ci"], "to": ["node:a"]});
    desk.post("policies", &policy).unwrap();
    let key = json!({"title": "tagged", "networks": [NETWORK], "tags": ["ci", "linux"]});
    let made = desk.request("POST", "/api/v1/keys", &key).unwrap();
    let builder = house.public("builder").unwrap();
    let said = builder.attempt(["join", "-t", made["token"].as_str().unwrap()]).unwrap();
    let waiting = desk.get("nodes/builder").unwrap();
    assert_eq!((&waiting["pending"], &waiting["tags"]), (&json!(true), &json!(["ci", "linux"])), "{said}");
    let address = waiting["v4"].as_str().unwrap().parse().unwrap();
    assert!(!hosts[0].knows(address).unwrap());
    desk.request("POST", &format!("/api/v1/networks/{NETWORK}/nodes/builder/approve"), &json!({})).unwrap();
    builder.ping_within(hosts[0].v4().unwrap(), patience(SOON)).unwrap();
    builder.ping_within(hosts[0].v6().unwrap(), patience(SOON)).unwrap();
    hosts[0].machine().cannot_ping(address).unwrap();
    desk.node("builder", &json!({"tags": ["linux"]})).unwrap();
    eventually(patience(SOON), || builder.machine().cannot_ping(hosts[0].v4()?)).unwrap();
}

#[test]
fn a_node_that_expires_is_gone() {
    let (house, _token, hosts) = public_hosts("expiry", &["a", "b", "c"]);
    let [a, b, c] = &hosts[..] else { unreachable!("three were made") };
    let address = c.v4().unwrap();
    house.desk().unwrap().node("c", &json!({"expires_in": 2})).unwrap();
    eventually(patience(SOON), || {
        ensure!(!a.knows(address)? && !b.knows(address)?, "c is still a peer");
        ensure!(c.wg()?.is_empty() && c.look()?.networks.is_empty(), "c still has peers or a network");
        Ok(())
    })
    .unwrap();
    all_reach_all(&[a, b], patience(SOON)).unwrap();
}

#[test]
fn an_ephemeral_host_vanishes_when_it_is_offline() {
    let house =
        House::with_settings("ephemeral", &[("NETLOOM_KEEPALIVE", "4"), ("NETLOOM_EPHEMERAL_AFTER", "2s")])
            .unwrap();
    let token = house.first_network().unwrap();
    let stays = house.public("stays").unwrap();
    let desk = house.desk().unwrap();
    let key = json!({"title": "short", "networks": [NETWORK], "ephemeral": true, "tags": ["ci"]});
    let made = desk.request("POST", "/api/v1/keys", &key).unwrap();
    let guest = house.public("guest").unwrap();
    stays.join(&token).unwrap();
    join_all(&[&guest], made["token"].as_str().unwrap());
    all_reach_all(&[&stays, &guest], patience(SOON)).unwrap();
    assert_eq!(desk.get("nodes/guest").unwrap()["tags"], json!(["ci"]));
    let address = guest.v4().unwrap();
    guest.die().unwrap();
    eventually(patience(Duration::from_secs(30)), || {
        ensure!(house.administrator().host("guest").is_err(), "the server still has it");
        ensure!(!stays.knows(address)?, "its peer still has it");
        Ok(())
    })
    .unwrap();
}

#[test]
fn networks_of_one_family_carry_it_alone_and_a_default_host_is_in_each_new_one() {
    let (house, _token, hosts) = public_hosts("families", &["a", "b"]);
    let desk = house.desk().unwrap();
    for host in ["a", "b"] {
        desk.request("PATCH", &format!("/api/v1/hosts/{host}"), &json!({"default": true})).unwrap();
    }
    for (name, range, family) in [("four", "10.44.0.0/24", "v4"), ("six", "fd66::/64", "v6")] {
        desk.request("POST", "/api/v1/networks", &json!({"name": name, family: range})).unwrap();
        let token = house.administrator().token(&KeyPlan::into_network(name)).unwrap();
        assert!(!token.is_empty());
        let node = desk.request("GET", &format!("/api/v1/networks/{name}/nodes/b"), &Value::Null).unwrap();
        assert_eq!(node["v4"].is_string(), family == "v4");
        assert_eq!(node["v6"].is_string(), family == "v6");
        let address = node[family].as_str().unwrap().parse().unwrap();
        hosts[0].ping_within(address, patience(SOON)).unwrap();
    }
}
