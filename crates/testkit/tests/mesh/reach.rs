//! Who reaches whom: on one LAN, and through NAT boxes.

use std::net::IpAddr;

use anyhow::ensure;
use testkit::house::{Host, House, INTERFACE, patience};
use testkit::lab::{NatKind, eventually};

use crate::{SOON, join_all};

/// Waits until `from` sends its datagrams for `to` to this address.
pub(crate) fn uses(from: &Host, to: &Host, address: IpAddr) {
    eventually(patience(SOON), || {
        let endpoint = from.endpoint_of(to)?;
        let ip = endpoint.map(|endpoint| endpoint.ip());
        ensure!(ip == Some(address), "{} sends to {} at {endpoint:?}, not {address}", from.name(), to.name());
        Ok(())
    })
    .unwrap();
}

/// The host's own address on its link.
fn own(host: &Host) -> IpAddr {
    let said = host.machine().run("ip", ["-json", "-4", "address", "show", "dev", "eth0"]).unwrap().stdout;
    let links: serde_json::Value = serde_json::from_str(&said).unwrap();
    links[0]["addr_info"][0]["local"].as_str().unwrap().parse().unwrap()
}

#[test]
fn three_hosts_on_one_lan_reach_each_other_by_both_families_without_leaving_the_lan() {
    let (house, token) = House::with_network("lan").unwrap();
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let hosts = ["a", "b", "c"].map(|name| house.behind(&home, name).unwrap());
    let [a, b, c] = &hosts;
    join_all(&[a, b, c], &token);
    for (from, to) in [(a, b), (a, c), (b, a), (b, c), (c, a), (c, b)] {
        // LAN by either family: the two are as good as each other.
        eventually(patience(SOON), || {
            let endpoint = from.endpoint_of(to)?.map(|endpoint| endpoint.ip());
            let local = endpoint.is_some_and(|ip| match ip {
                IpAddr::V4(v4) => v4.octets()[..2] == [192, 168],
                IpAddr::V6(v6) => v6.is_unique_local(),
            });
            ensure!(local, "{} sends to {} at {endpoint:?}", from.name(), to.name());
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_public_host_and_two_behind_different_nats_reach_each_other_directly() {
    let (house, token) = House::with_network("nats").unwrap();
    let homes = ["one", "two"].map(|name| house.home(name, NatKind::PortRestricted).unwrap());
    let public = house.public("public").unwrap();
    let first = house.behind(&homes[0], "first").unwrap();
    let second = house.behind(&homes[1], "second").unwrap();
    join_all(&[&public, &first, &second], &token);
    let [one, two] = homes.each_ref().map(|home| home.public().unwrap());
    for (from, to, address) in [
        (&public, &first, one),
        (&public, &second, two),
        (&first, &second, two),
        (&second, &first, one),
        (&first, &public, own(&public)),
        (&second, &public, own(&public)),
    ] {
        uses(from, to, address);
    }
    let shown = first.machine().run("wg", ["show", INTERFACE]).unwrap().stdout;
    assert_eq!(
        shown.matches("latest handshake").count(),
        4,
        "two hosts and the two of the rendezvous: {shown}"
    );
}

#[test]
fn hosts_behind_the_same_nat_and_outside_of_it_form_one_mesh() {
    let (house, token) = House::with_network("mixed").unwrap();
    let home = house.home("box", NatKind::FullCone).unwrap();
    let public = house.public("public").unwrap();
    let inner = house.behind(&home, "inner").unwrap();
    join_all(&[&public, &inner], &token);
    uses(&public, &inner, home.public().unwrap());
    let late = house.behind(&home, "late").unwrap();
    join_all(&[&late, &inner, &public], &token);
}
