//! Ranges that hold what agents themselves need: the server, and the very router that leads there.

use std::net::IpAddr;

use anyhow::ensure;
use serde_json::json;
use testkit::house::{Host, House, patience};
use testkit::lab::{Machine, NatKind, eventually};

use crate::internet::lifeline::{ISP, provider};
use crate::internet::seen_from;
use crate::{SOON, ip, join_all, state};

/// Holds the server (203.0.113.1) and the router, and not the provider's name server.
const RANGE: &str = "203.0.113.0/27";
const WEB: &str = "203.0.113.30";

/// Waits until the machine in the internet sees this host at this address.
fn is_seen_at(web: &Machine, host: &Host, address: IpAddr) {
    eventually(patience(SOON), || {
        let seen = seen_from(web, host.machine(), WEB)?;
        ensure!(seen == [address], "{} is seen at {seen:?}", host.name());
        Ok(())
    })
    .unwrap();
}

/// The server says something new to this host, which does it.
fn hears(house: &House, host: &Host, mtu: u16) {
    let place = format!("/api/v1/hosts/{}", host.name());
    house.desk().unwrap().request("PATCH", &place, &json!({"mtu": mtu})).unwrap();
    eventually(patience(SOON), || {
        let said = host.machine().run("ip", ["-o", "link", "show", "dev", "netloom0"])?.stdout;
        ensure!(said.contains(&format!(" mtu {mtu} ")), "{said}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_range_that_holds_the_server_and_its_router_cuts_nobody_off() {
    // By a name: where the server knows its addresses, it refuses such a range.
    let house = House::with_server_at("range-server", "https://vpn.example:8443").unwrap();
    let token = house.first_network().unwrap();
    let _isp = provider(&house);
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let (router, user) = (house.public_machine("r").unwrap(), house.machine_behind(&home, "user").unwrap());
    for host in [&router, &user] {
        host.machine().write("/etc/resolv.conf", &format!("nameserver {ISP}\n")).unwrap();
        host.start_agent().unwrap();
    }
    join_all(&[&router, &user], &token);
    let web = house.lab().machine("web").unwrap();
    web.attach(house.internet(), &[&format!("{WEB}/24")], &[]).unwrap();
    let direct = home.public().unwrap();
    is_seen_at(&web, &user, direct);
    let before = state(user.machine()).unwrap();

    let range = json!({"name": "here", "range": RANGE, "routers": [{"node": "r"}]});
    let desk = house.desk().unwrap();
    desk.post("egress", &range).unwrap();
    is_seen_at(&web, &user, ip("203.0.113.12"));
    let endpoint = user.endpoint_of(&router).unwrap().unwrap();
    assert_eq!(endpoint.ip(), ip("203.0.113.12"), "the tunnel goes to the router, not through itself");
    hears(&house, &user, 1380);
    user.kill_agent().unwrap();
    user.start_agent().unwrap();
    house.administrator().wait_for_presence("user", true, patience(SOON)).unwrap();
    hears(&house, &user, 1340);
    hears(&house, &router, 1340);
    user.reaches(&router, std::time::Instant::now() + patience(SOON)).unwrap();
    is_seen_at(&web, &user, ip("203.0.113.12"));

    desk.delete("egress/here").unwrap();
    is_seen_at(&web, &user, direct);
    hears(&house, &user, 1420);
    let difference = before.diff(&state(user.machine()).unwrap());
    assert!(difference.is_empty(), "{difference}");
}
