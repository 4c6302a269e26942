//! Nodes that are reached through another node: hub and spoke, and partial meshes.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::house::{Host, House, all_reach_all, patience};
use testkit::lab::eventually;

use crate::{SOON, public_hosts};

/// How many routers a ping's answer has passed: it begins with 64 to live.
fn hops(from: &Host, to: IpAddr) -> Result<u32> {
    let said = from.machine().run("ping", ["-n", "-c", "1", "-w", "5", &to.to_string()])?.stdout;
    let left = said.split("ttl=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let left: u32 = left.unwrap_or("0").parse()?;
    ensure!(left > 0 && left <= 64, "{said}");
    Ok(64 - left)
}

#[track_caller]
fn eventually_hops(from: &Host, to: &Host, wanted: u32) {
    eventually(patience(SOON), || {
        for address in to.addresses()? {
            let found = hops(from, *address)?;
            ensure!(found == wanted, "{} is {found} routers from {}", to.name(), from.name());
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn hub_and_spoke_is_one_setting_of_a_network() {
    let (house, _token, hosts) = public_hosts("hub", &["hub", "a", "b", "c"]);
    let [hub, a, b, c] = &hosts[..] else { unreachable!("four were made") };
    is_a_star_and_a_mesh_again(&house, hub, &[a, b, c]);
}

/// All go through the hub while the network has one.
pub(crate) fn is_a_star_and_a_mesh_again(house: &House, hub: &Host, spokes: &[&Host]) {
    let desk = house.desk().unwrap();
    let [a, b, ..] = spokes else { unreachable!("a star has two spokes") };
    let c = spokes[spokes.len() - 1];
    let all: Vec<&Host> = [hub].into_iter().chain(spokes.iter().copied()).collect();
    eventually_hops(a, b, 0);
    desk.patch("", &json!({"hub": hub.name()})).unwrap();
    eventually_hops(a, b, 1);
    eventually_hops(c, a, 1);
    eventually_hops(c, hub, 0);
    all_reach_all(&all, patience(SOON)).unwrap();
    for spoke in spokes {
        let peers = spoke.wg().unwrap();
        assert_eq!(peers.len(), 1, "{} has the hub for its only peer: {peers:?}", spoke.name());
    }
    // What is reached through others leads to nobody.
    let relayed = format!("nodes/{}", b.name());
    let reason = desk.refused("PATCH", &relayed, &json!({"relay": a.name()})).unwrap();
    assert!(!reason.is_empty());
    desk.patch("", &json!({"hub": Value::Null})).unwrap();
    eventually_hops(a, b, 0);
    all_reach_all(&all, patience(SOON)).unwrap();
}

#[test]
fn a_node_is_reached_through_its_relay_and_chains_are_refused() {
    let (house, _token, hosts) = public_hosts("relay", &["relay", "far", "a", "b"]);
    let [relay, far, a, b] = &hosts[..] else { unreachable!("four were made") };
    let desk = house.desk().unwrap();
    desk.node("far", &json!({"relay": "relay"})).unwrap();
    eventually_hops(a, far, 1);
    eventually_hops(far, b, 1);
    eventually_hops(far, relay, 0);
    eventually_hops(a, b, 0);
    assert_eq!(far.wg().unwrap().len(), 1, "the relay is its only peer");
    assert!(a.wg().unwrap().iter().all(|peer| !is_peer(far, &peer.key)), "nobody needs its key");
    for (node, change) in [("relay", json!({"relay": "a"})), ("b", json!({"relay": "far"}))] {
        let reason = desk.refused("PATCH", &format!("nodes/{node}"), &change).unwrap();
        assert!(reason.contains("relay"), "{reason}");
    }
    desk.node("far", &json!({"relay": Value::Null})).unwrap();
    eventually_hops(a, far, 0);
}

fn is_peer(host: &Host, key: &str) -> bool {
    let own = host.machine().run("wg", ["show", testkit::house::INTERFACE, "public-key"]).unwrap().stdout;
    own.trim() == key
}
