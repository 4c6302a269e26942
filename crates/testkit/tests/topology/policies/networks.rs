//! Policies of several networks on one host, and of a network that has only IPv6.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use testkit::house::{Desk, Host, House, INTERFACE, KeyPlan, NETWORK, patience};
use testkit::lab::eventually;
use testkit::oracle::{Change, Luck, Picture};
use testkit::probe::Transport;

use super::places::{PORTS, Place, Spot, agrees, carry_out};
use super::{NAMED_PORTS, phone, spots};
use crate::SOON;

const OFFICE: &str = "office";
const CHANGES: usize = 30;
const SEED: u64 = 7;

fn rule(desk: &Desk<'_>, name: &str, [from, to]: [&str; 2], services: &[&str]) {
    let body = json!({"name": name, "from": [from], "to": [to], "services": services});
    desk.post("policies", &body).unwrap();
}

fn picture(desk: &Desk<'_>) -> Picture {
    desk.answers().unwrap().picture().unwrap()
}

/// Two hosts in both networks, and one in each.
fn hosts_of_two_networks(house: &House) -> Vec<Host> {
    let administrator = house.administrator();
    administrator.create_network(NETWORK, "10.20.0.0/16", "fd20::/64").unwrap();
    administrator.create_network(OFFICE, "10.30.0.0/16", "fd30::/64").unwrap();
    let desk = house.desk().unwrap();
    for network in [NETWORK, OFFICE] {
        desk.about(network).patch("", &json!({"access": "deny"})).unwrap();
    }
    let hosts = [
        ("b1", vec![NETWORK, OFFICE]),
        ("b2", vec![NETWORK, OFFICE]),
        ("h", vec![NETWORK]),
        ("o", vec![OFFICE]),
    ];
    let join = |(name, networks)| {
        let host = house.public(name).unwrap();
        host.join(&administrator.token(&KeyPlan { networks, ..KeyPlan::default() }).unwrap()).unwrap();
        host
    };
    hosts.map(join).into()
}

fn network_of(address: IpAddr) -> &'static str {
    let text = address.to_string();
    if text.starts_with("10.20.") || text.starts_with("fd20:") { NETWORK } else { OFFICE }
}

#[test]
fn a_host_in_two_networks_keeps_each_to_its_own_policies() {
    let house = House::new("two-networks").unwrap();
    let hosts = hosts_of_two_networks(&house);
    let place = |host: &Host| {
        let spot = |address: &IpAddr| Spot {
            network: network_of(*address),
            member: host.name().to_owned(),
            address: *address,
        };
        let spots: Vec<Spot> = host.addresses().unwrap().iter().map(spot).collect();
        assert_eq!(spots.len(), if host.name().starts_with('b') { 4 } else { 2 });
        Place::new(host.machine(), spots)
    };
    let mut places: Vec<Place> = hosts.iter().map(place).collect();
    let desk = house.desk().unwrap();
    let office = desk.about(OFFICE);
    // What one network lets pass the other does not.
    rule(&desk, "there", ["node:b1", "node:b2"], &["tcp/7000", "icmp"]);
    rule(&office, "back", ["node:b2", "node:b1"], &["tcp/7000", "udp"]);
    rule(&desk, "h", ["node:h", "node:b1"], &[]);
    rule(&office, "o", ["everything", "node:o"], &["icmp"]);
    let mut pictures = BTreeMap::from([(NETWORK, picture(&desk)), (OFFICE, picture(&office))]);
    let asked = agrees(&mut places, &pictures, patience(SOON)).unwrap();
    nobody_comes_in_by_the_other_networks_address(&hosts, &mut places);

    let mut luck = Luck::new(SEED);
    for number in 1..=CHANGES {
        let network = [NETWORK, OFFICE][luck.below(2)];
        let (desk, picture) = (desk.about(network), pictures.get_mut(network).unwrap());
        let change = if number % 6 == 0 {
            picture.guarded = !picture.guarded;
            let access = if picture.guarded { "deny" } else { "allow" };
            desk.patch("", &json!({"access": access})).unwrap();
            format!("{network} is {access}")
        } else {
            let change = Change::random(picture, &mut luck, &NAMED_PORTS);
            carry_out(&desk, &change, &BTreeMap::new());
            change.apply(picture);
            if let Change::Groups(user, groups) = &change {
                // People are the same in all networks.
                pictures.values_mut().for_each(|picture| {
                    picture.groups.insert(user.clone(), groups.clone());
                });
            }
            format!("in {network} {change:?}")
        };
        if let Err(wrong) = agrees(&mut places, &pictures, patience(SOON)) {
            panic!("after change {number} (seed {SEED}), {change}, {wrong}\n{pictures:#?}");
        }
    }
    println!("{asked} probes after each of {CHANGES} changes");
}

/// `h` is not in the office. It has the key of `b1`, whom it may reach at home, and sends it what is meant for its address in
/// the office.
fn nobody_comes_in_by_the_other_networks_address(hosts: &[Host], places: &mut [Place]) {
    let (b1, h) = (&hosts[0], &hosts[2]);
    let key = b1.machine().run("wg", ["show", INTERFACE, "public-key"]).unwrap().stdout.trim().to_owned();
    let of = |network: &str| -> Vec<IpAddr> {
        let all = b1.addresses().unwrap().iter();
        all.copied().filter(|address| network_of(*address) == network).collect()
    };
    let allowed: Vec<String> = b1
        .addresses()
        .unwrap()
        .iter()
        .map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }))
        .collect();
    h.machine().run("wg", ["set", INTERFACE, "peer", &key, "allowed-ips", &allowed.join(",")]).unwrap();
    for address in of(OFFICE) {
        let own = if address.is_ipv4() { h.v4() } else { h.v6() }.unwrap().to_string();
        let route = ["route", "replace", &address.to_string(), "dev", INTERFACE, "src", &own];
        h.machine().run("ip", route).unwrap();
    }
    let probe = &mut places[2].probe;
    let mut reaches =
        |address: IpAddr, limit| probe.reaches(Transport::Udp, (address, PORTS[0]).into(), limit).unwrap();
    for address in of(NETWORK) {
        assert!(reaches(address, patience(SOON)), "the way to {address} is there");
    }
    for address in of(OFFICE) {
        assert!(!reaches(address, Duration::from_millis(500)), "{address} is in another network");
    }
}

#[test]
fn a_network_with_ipv6_alone_is_guarded_as_well() {
    let house = House::new("six").unwrap();
    let administrator = house.administrator();
    administrator.run(["network", "create", NETWORK, "--v6", "fd20::/64", "--access", "deny"]).unwrap();
    let token = administrator.token(&KeyPlan::into_network(NETWORK)).unwrap();
    let nodes: Vec<Host> = ["n1", "n2", "n3"].map(|name| house.public(name).unwrap()).into();
    nodes.iter().for_each(|node| drop(node.join(&token).unwrap()));
    let place = |node: &Host| Place::new(node.machine(), spots(node.name(), node.addresses().unwrap()));
    let mut places: Vec<Place> = nodes.iter().map(place).collect();
    let desk = house.desk().unwrap();
    desk.node("n1", &json!({"remote_access": true})).unwrap();
    let (p1, addresses) = phone(&house, "p1", None, "fd20::/64");
    assert!(addresses.len() == 1 && addresses[0].is_ipv6(), "{addresses:?}");
    places.push(Place::new(p1.machine(), spots("p1", &addresses)));
    eventually(patience(SOON), || nodes[0].machine().run("nft", ["list", "table", "inet", "netloom"]))
        .unwrap();

    let mut pictures = BTreeMap::from([(NETWORK, picture(&desk))]);
    agrees(&mut places, &pictures, patience(SOON)).unwrap();
    rule(&desk, "icmp", ["node:n2", "everything"], &["icmp"]);
    rule(&desk, "from the gateway", ["node:n1", "client:p1"], &["tcp/7000", "icmp"]);
    rule(&desk, "to the gateway", ["client:p1", "node:n1"], &["udp/7001"]);
    rule(&desk, "between nodes", ["node:n3", "node:n2"], &["tcp"]);
    pictures.insert(NETWORK, picture(&desk));
    agrees(&mut places, &pictures, patience(SOON)).unwrap();

    let phones = BTreeMap::from([("p1".to_owned(), p1)]);
    let mut luck = Luck::new(SEED);
    for number in 1..=CHANGES {
        let picture = pictures.get_mut(NETWORK).unwrap();
        let change = Change::random(picture, &mut luck, &NAMED_PORTS);
        carry_out(&desk, &change, &phones);
        change.apply(picture);
        if let Err(wrong) = agrees(&mut places, &pictures, patience(SOON)) {
            panic!("after change {number} (seed {SEED}), {change:?}, {wrong}\n{pictures:#?}");
        }
    }
}
