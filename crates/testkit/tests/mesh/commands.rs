//! What `netclient` can be asked and told: its JSON is true, and what it is told happens.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::ensure;
use reconcile::PathStatus;
use serde_json::Value;
use testkit::house::{House, INTERFACE, KeyPlan, NETWORK, NetworkLook, PeerLook, all_reach_all, patience};
use testkit::lab::eventually;

use crate::{SOON, public_hosts};

#[test]
fn what_status_list_and_peers_say_is_true() {
    let (house, _token, hosts) = public_hosts("show", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    let known = house.administrator().host("a").unwrap();

    let look = a.look().unwrap();
    assert!(look.daemon);
    let interface = look.interface.unwrap();
    assert_eq!((interface.name.as_str(), interface.index), (INTERFACE, a.interface_index().unwrap()));
    assert_eq!(interface.wireguard, Some(testkit::vm::expected_wireguard()));
    let port = a.machine().run("wg", ["show", INTERFACE, "listen-port"]).unwrap().stdout;
    assert_eq!(port.trim(), interface.port.to_string());

    let networks: Vec<NetworkLook> = a.json(&["list"]).unwrap();
    let at_server = &known.networks[0];
    let expected: Vec<IpAddr> = vec![at_server.v4.unwrap().into(), at_server.v6.unwrap().into()];
    assert_eq!(networks, [NetworkLook { name: NETWORK.to_owned(), addresses: expected, connected: true }]);

    // The agent looks at its tunnels once a second: it may not have seen yet that they work.
    let peers = eventually(patience(SOON), || {
        let peers: Vec<PeerLook> = a.json(&["peers"])?;
        let direct = matches!(peers[..], [PeerLook { path: Some(PathStatus::Direct { .. }), .. }]);
        ensure!(direct, "{peers:?}");
        Ok(peers)
    })
    .unwrap();
    assert_eq!(peers[0].name, "b");
    assert_eq!(peers[0].networks[0].addresses.iter().collect::<Vec<_>>(), b.addresses().unwrap());
    assert_eq!(peers[0].endpoint.unwrap().socket_addr(), a.endpoint_of(b).unwrap().unwrap());

    let pinged: Value = a.json(&["ping"]).unwrap();
    assert!(pinged.to_string().contains("10.20."), "{pinged}");
    for words in [["status"].as_slice(), &["list"], &["peers"], &["version"], &["server", "list"]] {
        let table = a.netclient(words).unwrap();
        assert!(!table.stdout.trim().is_empty(), "{table}");
        assert_eq!(table.stderr.trim(), "", "{table}");
    }
    let _servers: Value = a.json(&["server", "list"]).unwrap();
    let _version: Value = a.json(&["version"]).unwrap();
}

#[test]
fn a_host_that_disconnects_pauses_and_comes_back_with_its_addresses() {
    let (house, _token, hosts) = public_hosts("pause", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    let addresses = a.addresses().unwrap().to_vec();
    a.netclient(["disconnect", NETWORK]).unwrap();
    eventually(patience(SOON), || {
        ensure!(!b.knows(addresses[0])?, "b still knows a");
        ensure!(a.wg()?.is_empty(), "a still has peers");
        Ok(())
    })
    .unwrap();
    b.machine().cannot_ping(addresses[0]).unwrap();
    let networks: Vec<NetworkLook> = a.json(&["list"]).unwrap();
    assert!(!networks[0].connected);
    assert!(!house.administrator().host("a").unwrap().networks[0].connected);

    a.netclient(["connect", NETWORK]).unwrap();
    all_reach_all(&[a, b], patience(SOON)).unwrap();
    assert_eq!(a.look().unwrap().addresses(), addresses);
}

#[test]
fn push_tells_the_server_what_was_set_here_and_the_machine_follows() {
    let (house, _token, hosts) = public_hosts("push", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    a.netclient(["push", "--name", "renamed", "--mtu", "1380"]).unwrap();
    let known = house.administrator().host("renamed").unwrap();
    assert_eq!(known.mtu.map(model::Mtu::get), Some(1380));
    eventually(patience(SOON), || {
        let shown = a.machine().run("ip", ["link", "show", "dev", INTERFACE])?.stdout;
        ensure!(shown.contains("mtu 1380"), "{shown}");
        ensure!(b.look()?.peer("renamed").is_some(), "b has not heard of the new name");
        Ok(())
    })
    .unwrap();
    a.netclient(["pull"]).unwrap();
    all_reach_all(&[a, b], patience(SOON)).unwrap();
}

#[test]
fn without_a_daemon_pull_brings_a_machine_up_to_date() {
    let (house, token, hosts) = public_hosts("no-daemon", &["a"]);
    let quiet = house.public_machine("quiet").unwrap();
    quiet.netclient(["join", "-t", &token, "-daemon=off"]).unwrap();
    let look = quiet.look().unwrap();
    assert!(!look.daemon, "no daemon was asked for");
    all_reach_all(&[&hosts[0], &quiet], patience(SOON)).unwrap();

    let late = house.public("late").unwrap();
    late.join(&token).unwrap();
    late.ping_within(hosts[0].v4().unwrap(), patience(SOON)).unwrap();
    assert!(!quiet.knows(late.v4().unwrap()).unwrap(), "nobody has told it");
    quiet.netclient(["pull"]).unwrap();
    all_reach_all(&[&hosts[0], &quiet, &late], patience(SOON)).unwrap();
    assert!(!quiet.look().unwrap().daemon);
}

#[test]
fn a_second_token_takes_a_host_into_another_network_too() {
    let (house, _token, hosts) = public_hosts("two-networks", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    let administrator = house.administrator();
    administrator.create_network("lab", "10.30.0.0/16", "fd30::/64").unwrap();
    let second = administrator.token(&KeyPlan::into_network("lab")).unwrap();
    let c = house.public("c").unwrap();
    c.join(&second).unwrap();
    a.join(&second).unwrap();
    // c is in the second network alone, b in the first alone, a in both.
    let a_there = administrator.host("a").unwrap();
    let there = a_there.networks.iter().find(|network| network.network.name.as_str() == "lab").unwrap();
    c.ping_within(there.v4.unwrap().into(), patience(SOON)).unwrap();
    c.ping_within(there.v6.unwrap().into(), patience(SOON)).unwrap();
    a.ping_within(c.v4().unwrap(), patience(SOON)).unwrap();
    all_reach_all(&[a, b], patience(SOON)).unwrap();
    b.machine().cannot_ping(c.v4().unwrap()).unwrap();
    assert_eq!(a.look().unwrap().networks.len(), 2);

    a.netclient(["leave", "lab"]).unwrap();
    c.machine().cannot_ping(there.v4.unwrap().into()).unwrap();
    all_reach_all(&[a, b], patience(Duration::from_secs(5))).unwrap();
    assert_eq!(a.look().unwrap().networks.len(), 1);
}

#[test]
fn changes_by_the_administrator_reach_the_machines() {
    let (house, _token, hosts) = public_hosts("administered", &["a", "b"]);
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    let administrator = house.administrator();
    administrator.run(["node", "disconnect", NETWORK, "a"]).unwrap();
    eventually(patience(SOON), || {
        ensure!(!b.knows(a.v4()?)?, "b still knows a");
        Ok(())
    })
    .unwrap();
    administrator.run(["node", "connect", NETWORK, "a"]).unwrap();
    all_reach_all(&[a, b], patience(SOON)).unwrap();
    administrator.run(["network", "delete", NETWORK, "--force", "-y"]).unwrap();
    eventually(patience(SOON), || {
        for host in [a, b] {
            ensure!(host.wg()?.is_empty(), "{} still has peers", host.name());
            ensure!(host.look()?.networks.is_empty(), "{} still is in the network", host.name());
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let (house, token) = House::with_network("names").unwrap();
    let (a, b) = (house.public("a").unwrap(), house.public("b").unwrap());
    a.netclient(["join", "-t", &token, "--name", "web"]).unwrap();
    b.netclient(["join", "-t", &token, "--name", "web"]).unwrap();
    let names: Vec<String> =
        house.administrator().hosts().unwrap().iter().map(|host| host.name.to_string()).collect();
    assert_eq!(names, ["web", "web-2"]);
    all_reach_all(&[&a, &b], patience(SOON)).unwrap();
}
