//! A server that is known by several addresses, of which one dies.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use testkit::house::{Host, House, all_reach_all, patience};
use testkit::lab::eventually;

use crate::{SOON, join_all};

const BOTH: &str = "https://203.0.113.1:8443,https://203.0.113.2:8443";

/// Where an agent has its server, and whether changes are pushed to it.
fn server_of(host: &Host) -> anyhow::Result<(String, bool)> {
    let status: Value = host.json(&["status"])?;
    let server = &status["state"]["server"];
    let url = server["url"].as_str().context("no address")?.to_owned();
    Ok((url, server["pushes"].as_bool().unwrap_or_default()))
}

#[test]
fn hosts_go_on_at_the_servers_second_address_when_the_first_dies_and_go_back_when_that_dies_too() {
    let settings = [("NETLOOM_URL", BOTH), ("NETLOOM_KEEPALIVE", "4")];
    let house = House::with_settings("addresses", &settings).unwrap();
    let (machine, link) = (house.server().machine(), house.server().link());
    machine.run("ip", ["address", "add", "203.0.113.2/24", "dev", link.interface()]).unwrap();
    let token = house.first_network().unwrap();
    let (a, b) = (house.public("a").unwrap(), house.public("b").unwrap());
    join_all(&[&a, &b], &token);
    let pinger = a.machine().pinger(b.v4().unwrap()).unwrap();

    for (dies, lives) in [("203.0.113.1", "203.0.113.2"), ("203.0.113.2", "203.0.113.1")] {
        // As of a machine whose program died.
        let rules = format!(
            "add table ip dead; delete table ip dead; table ip dead {{ chain input {{ type filter hook input priority 0; \
             iifname \"{}\" ip daddr {dies} meta l4proto tcp reject with tcp reset; }}; }}",
            link.interface()
        );
        machine.run("nft", [&rules]).unwrap();
        for host in [&a, &b] {
            host.netclient(["pull"]).unwrap();
            eventually(patience(SOON), || {
                let (url, pushes) = server_of(host)?;
                ensure!(pushes && url.contains(lives), "{url}, pushes: {pushes}");
                Ok(())
            })
            .unwrap();
        }
    }
    pinger.stop().unwrap().none_lost().unwrap();
    machine.run("nft", ["delete", "table", "ip", "dead"]).unwrap();
    // What is pushed still comes.
    let late = house.public("late").unwrap();
    late.join(&token).unwrap();
    all_reach_all(&[&a, &b, &late], patience(SOON)).unwrap();
}
