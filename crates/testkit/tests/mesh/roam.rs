//! Hosts whose address changes: the others follow.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::house::{Host, House, all_reach_all, patience};
use testkit::lab::{NatKind, eventually};

use crate::{SOON, join_all};

/// The promise: peers follow within two seconds.
const FOLLOW: Duration = Duration::from_secs(2);

fn sends_to(from: &Host, to: &Host, address: IpAddr) -> Result<()> {
    let endpoint = from.endpoint_of(to)?.map(|endpoint| endpoint.ip());
    ensure!(
        endpoint == Some(address),
        "{} sends to {} at {endpoint:?}, not {address}",
        from.name(),
        to.name()
    );
    Ok(())
}

/// Both others send to the new address, and all reach all, two seconds after `since`.
fn followed(others: [&Host; 2], roamer: &Host, address: IpAddr, since: Instant) {
    let left = || patience(FOLLOW).saturating_sub(since.elapsed());
    for other in others {
        eventually(left(), || sends_to(other, roamer, address)).unwrap();
    }
    for other in others {
        other.reaches(roamer, since + patience(FOLLOW)).unwrap();
        roamer.reaches(other, since + patience(FOLLOW)).unwrap();
    }
}

/// A public host gets another address, and its peers follow.
pub(crate) fn gets_another_address(roamer: &Host, peers: [&Host; 2]) {
    let index = roamer.interface_index().unwrap();
    roamer.link().set_addresses(&["203.0.113.77/24", "2001:db8::77/64"], &[]).unwrap();
    followed(peers, roamer, "203.0.113.77".parse().unwrap(), Instant::now());
    assert_eq!(roamer.interface_index().unwrap(), index, "the interface is the same one");
}

#[test]
fn peers_follow_a_host_that_gets_another_address_or_network_within_two_seconds() {
    let (house, token) = House::with_network("roam").unwrap();
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let (public, inner) = (house.public("public").unwrap(), house.behind(&home, "inner").unwrap());
    let roamer = house.public("roamer").unwrap();
    join_all(&[&public, &inner, &roamer], &token);
    let index = roamer.interface_index().unwrap();
    gets_another_address(&roamer, [&public, &inner]);

    let other = house.home("cafe", NatKind::PortRestricted).unwrap();
    let [addresses, gateways] = other.addressing();
    let [addresses, gateways] =
        [&addresses, &gateways].map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
    roamer.link().move_to(other.lan(), &addresses, &gateways).unwrap();
    followed([&public, &inner], &roamer, other.public().unwrap(), Instant::now());
    assert_eq!(roamer.interface_index().unwrap(), index, "the interface is the same one");
}

#[test]
fn a_changed_nat_mapping_reaches_all_tunnels_in_under_two_seconds_after_the_rendezvous_saw_it() {
    let (house, token) = House::with_network("mapping").unwrap();
    let homes = ["one", "two"].map(|name| house.home(name, NatKind::PortRestricted).unwrap());
    let public = house.public("public").unwrap();
    let inner = house.behind(&homes[0], "inner").unwrap();
    let other = house.behind(&homes[1], "other").unwrap();
    join_all(&[&public, &inner, &other], &token);
    let hosts = [&public, &inner, &other];
    let indices = hosts.map(|host| host.interface_index().unwrap());

    let address: IpAddr = "203.0.113.200".parse().unwrap();
    homes[0].nat().set_public(&["203.0.113.200/24"], &[]).unwrap();
    // The host itself notices nothing; its keepalives tell the rendezvous.
    eventually(patience(Duration::from_secs(40)), || {
        let seen = house.administrator().host("inner")?.inventory.endpoints;
        ensure!(seen.iter().any(|endpoint| endpoint.ip() == address), "the rendezvous sees it at {seen:?}");
        Ok(())
    })
    .unwrap();
    followed([&public, &other], &inner, address, Instant::now());
    all_reach_all(&hosts, patience(SOON)).unwrap();
    assert_eq!(hosts.map(|host| host.interface_index().unwrap()), indices);
    assert!(hosts.iter().all(|host| host.agent_runs()));
}
