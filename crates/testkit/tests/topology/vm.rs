//! Every topology once more where the kernel has WireGuard: in the virtual machine.
//!
//! Not a test of the virtual machine, and not of time: its processor is emulated, so every limit is stretched there. One
//! house for everything, because setting one up takes most of the time there.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::house::{APP, Foreign, Host, House, NETWORK, all_reach_all, alone, patience};
use testkit::lab::{Machine, MachineState, NatKind, eventually};
use testkit::vm::{expected_wireguard, is_inside, is_left_out, run_inside};

use crate::internet::{WEB, nothing_leaks_when_the_gateway_dies};
use crate::policies::{Place, agrees, spots};
use crate::relay::is_a_star_and_a_mesh_again;
use crate::remote::{Client, answers, comes_in, is_cut_off_and_comes_back, names};
use crate::rotation::{key, told_key};
use crate::sites::{twin_sites, twins_reach_one_another};
use crate::{SOON, all_leave, as_before, join_all};

/// Told when all was done.
const LAST_WORDS: &str = "machines are what they were";
const LIMIT: Duration = Duration::from_secs(900);
/// Between two pings while keys change: what is sent meanwhile must not overflow WireGuard's queue of 128 packets, though
/// everything takes many times longer than on a real processor.
const PAUSE: Duration = Duration::from_millis(200);

#[test]
fn every_topology_works_with_the_kernels_wireguard() {
    if is_left_out("topologies on the kernel's own WireGuard") {
        return;
    }
    let _alone = alone();
    run_inside("vm::the_part_that_runs_inside", LAST_WORDS, LIMIT).unwrap();
}

/// `n1` lets clients in, leads to one site, and lets others out to the internet; `n2` leads to another site; `n3` is behind a
/// NAT.
#[test]
fn the_part_that_runs_inside() {
    if !is_inside() {
        return;
    }
    let (house, token) = House::with_network("kernel").unwrap();
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let [gate, other] = ["n1", "n2"].map(|name| house.public_machine(name).unwrap());
    let inner = house.machine_behind(&home, "n3").unwrap();
    let sites = twin_sites(&house, [&gate, &other]);
    let hosts = [&gate, &other, &inner];
    let before = hosts.map(|host| host.machine().snapshot().unwrap());
    join_all(&hosts, &token);
    for host in hosts {
        let interface = host.look().unwrap().interface.unwrap();
        assert_eq!(interface.wireguard, Some(expected_wireguard()), "on {}", host.name());
    }
    println!("three hosts reach each other");

    is_a_star_and_a_mesh_again(&house, &gate, &[&other, &inner]);
    println!("a hub and its spokes, and a mesh again");
    a_new_key_costs_no_ping(&house, hosts);
    println!("no ping was lost while a host changed its key");
    all_keys_change(&house, hosts);
    println!("all hosts changed their keys");
    twins_reach_one_another(&house, &sites, [&gate, &other], &inner);
    println!("two sites with the same range reach one another");

    let phone = house.foreign("p1").unwrap();
    let phone_before = phone.machine().snapshot().unwrap();
    let client = a_phone_comes_in(&house, &phone, &gate, &inner);
    println!("a phone comes in, knows names, is cut off and comes back");
    let asked = policies_hold(&house, hosts, &phone, &client);
    println!("{asked} probes see what policies say");
    phone.down().unwrap();
    phone.machine().run("rm", ["-r", "/etc/wireguard"]).unwrap();
    as_before(phone.machine(), &phone_before);

    a_full_tunnel_does_not_leak(&house, &gate, &inner);
    println!("nothing leaked when the internet gateway died");
    gate.reboot().unwrap();
    eventually(patience(SOON), || gate.machine().ping(other.v4()?)).unwrap();
    machines_are_what_they_were(hosts, before);
    println!("{LAST_WORDS}");
}

fn machines_are_what_they_were(hosts: [&Host; 3], before: [MachineState; 3]) {
    let pairs: Vec<(&Host, MachineState)> = hosts.into_iter().zip(before).collect();
    all_leave(&pairs);
}

/// The hosts have other keys than these, and the server tells them.
fn have_new_keys(house: &House, former: &[(&Host, String)]) {
    for (host, former) in former {
        eventually(patience(SOON), || {
            let (has, told) = (key(host), told_key(house, host));
            ensure!(has != *former && has == told, "{} has {has}, and is told to", host.name());
            Ok(())
        })
        .unwrap();
    }
}

fn ask(house: &House, path: &str) {
    house.desk().unwrap().request("POST", path, &Value::Null).unwrap();
}

fn a_new_key_costs_no_ping(house: &House, hosts: [&Host; 3]) {
    let [gate, other, inner] = hosts;
    let pingers = [
        (gate, other.v4().unwrap()),
        (other, gate.v6().unwrap()),
        (inner, gate.v4().unwrap()),
        (gate, inner.v6().unwrap()),
    ]
    .map(|(from, to)| from.machine().slow_pinger(to, PAUSE).unwrap());
    let go_on = |pings| pingers.iter().for_each(|pinger| pinger.wait_for(pings, patience(SOON)).unwrap());
    go_on(5);
    let former = hosts.map(|host| (host, key(host)));
    ask(house, &format!("/api/v1/hosts/{}/rotate-key", gate.name()));
    have_new_keys(house, &former[..1]);
    go_on(10);
    for pinger in pingers {
        pinger.stop().unwrap().none_lost().unwrap();
    }
    assert_eq!([key(other), key(inner)], [former[1].1.clone(), former[2].1.clone()], "nobody asked them");
}

/// Their turns are two seconds apart, too little for an emulated processor: pings may be lost here.
fn all_keys_change(house: &House, hosts: [&Host; 3]) {
    let former = hosts.map(|host| (host, key(host)));
    ask(house, "/api/v1/hosts/rotate-keys");
    have_new_keys(house, &former);
    all_reach_all(&hosts, patience(SOON)).unwrap();
}

/// As `wg-quick` does it with the kernel's WireGuard; names by its gateway.
fn a_phone_comes_in(house: &House, phone: &Foreign, gate: &Host, inner: &Host) -> Client {
    house.desk().unwrap().node(gate.name(), &json!({"remote_access": true})).unwrap();
    let client = comes_in(house, phone);
    let link = phone.machine().run("ip", ["-d", "link", "show", APP]).unwrap().stdout;
    assert!(link.contains("wireguard"), "{link}");
    answers(phone, gate, patience(SOON));
    answers(phone, inner, patience(SOON));
    for address in client.addresses {
        inner.ping_within(address, patience(SOON)).unwrap();
    }
    names(phone, inner, gate, &client.addresses.map(|address| address.to_string()));
    is_cut_off_and_comes_back(house, &client, phone, gate, inner);
    client
}

/// Nothing is allowed, then what a few rules say, by both families, TCP and UDP.
fn policies_hold(house: &House, hosts: [&Host; 3], phone: &Foreign, client: &Client) -> usize {
    let place = |machine: &Machine, addresses: &[_]| Place::new(machine, spots(machine.name(), addresses));
    let mut places: Vec<Place> =
        hosts.iter().map(|host| place(host.machine(), host.addresses().unwrap())).collect();
    places.push(place(phone.machine(), &client.addresses));
    let desk = house.desk().unwrap();
    let mut agree = || {
        let pictures = [(NETWORK, desk.answers().unwrap().picture().unwrap())].into();
        agrees(&mut places, &pictures, patience(SOON)).unwrap()
    };
    desk.patch("", &json!({"access": "deny"})).unwrap();
    agree();
    desk.node("n3", &json!({"tags": ["red"]})).unwrap();
    let rule = |name: &str, from: &[&str], to: &[&str], services: &[&str], both: bool| {
        let body = json!({"name": name, "from": from, "to": to, "services": services, "both": both});
        desk.post("policies", &body).unwrap();
    };
    rule("one way", &["node:n2"], &["node:n1"], &["tcp/7000"], false);
    rule("both ways", &["node:n1"], &["node:n3"], &["udp/7001-7002"], true);
    rule("a tag", &["tag:red"], &["node:n2"], &["tcp"], false);
    rule("to a client", &["node:n3"], &["client:p1"], &["tcp/7001"], false);
    rule("from a client", &["client:p1"], &["tag:red"], &["udp/7000"], false);
    let asked = agree();
    desk.patch("policies/a tag", &json!({"enabled": false})).unwrap();
    agree();
    desk.patch("", &json!({"access": "allow"})).unwrap();
    agree();
    asked
}

fn a_full_tunnel_does_not_leak(house: &House, gate: &Host, inner: &Host) {
    let web = house.lab().machine("web").unwrap();
    let addresses = [format!("{}/24", WEB[0]), format!("{}/64", WEB[1])];
    web.attach(house.internet(), &addresses.each_ref().map(String::as_str), &[]).unwrap();
    house.desk().unwrap().node(gate.name(), &json!({"internet_gateway": true})).unwrap();
    nothing_leaks_when_the_gateway_dies(house, gate, inner, &web);
}
