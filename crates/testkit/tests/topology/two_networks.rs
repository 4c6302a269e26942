//! Gateways of two networks that allow everything: what they do for one they do not do for the other, and their neighbours
//! are nobody in either.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::ensure;
use serde_json::json;
use testkit::house::{APP, Foreign, Host, House, INTERFACE, KeyPlan, NETWORK, patience};
use testkit::lab::{Capture, Machine, eventually};

use crate::{SOON, ip};

const OFFICE: &str = "office";
const SITE: [&str; 2] = ["192.168.7.0/24", "fd07::/64"];
/// What the site is called in the office.
const NAMED: [&str; 2] = ["10.77.7.0/24", "fd77:7::/64"];

/// A house with both networks.
fn house(name: &str) -> House {
    let house = House::new(name).unwrap();
    let administrator = house.administrator();
    administrator.create_network(NETWORK, "10.20.0.0/16", "fd20::/64").unwrap();
    administrator.create_network(OFFICE, "10.30.0.0/16", "fd30::/64").unwrap();
    house
}

fn join(house: &House, host: &Host, networks: &[&str]) {
    let plan = KeyPlan { networks: networks.to_vec(), ..KeyPlan::default() };
    host.join(&house.administrator().token(&plan).unwrap()).unwrap();
}

fn of(host: &Host, network: &str) -> Vec<IpAddr> {
    let starts = if network == NETWORK { ["10.20.", "fd20:"] } else { ["10.30.", "fd30:"] };
    let is_of = |ip: &&IpAddr| starts.iter().any(|start| ip.to_string().starts_with(start));
    host.addresses().unwrap().iter().filter(is_of).copied().collect()
}

/// This host leads to the site for a network.
fn egress(house: &House, network: &str, router: &str, mapped: Option<[&str; 2]>) {
    for (index, range) in SITE.into_iter().enumerate() {
        let mut body = json!({"name": format!("site{index}"), "range": range, "routers": [{"node": router}], "nat": false});
        if let Some(mapped) = mapped {
            body["mapped"] = json!(mapped[index]);
        }
        house.desk().unwrap().about(network).post("egress", &body).unwrap();
    }
}

#[track_caller]
fn reach(machine: &Machine, addresses: impl IntoIterator<Item = IpAddr>) {
    for address in addresses {
        eventually(patience(SOON), || machine.ping(address)).unwrap();
    }
}

#[test]
fn one_router_leads_to_a_site_by_the_name_that_each_network_has_for_it_and_goes_out_through_a_gateway() {
    let house = house("two-names");
    let (router, out) = (house.public("r").unwrap(), house.public("out").unwrap());
    let (near, other) = (house.public("near").unwrap(), house.public("other").unwrap());
    let site = house.site(SITE[0], SITE[1]).unwrap();
    site.router(&router, 1).unwrap();
    let printer = site.machine(house.lab(), "printer", 11, 1).unwrap();
    join(&house, &router, &[NETWORK, OFFICE]);
    join(&house, &out, &[NETWORK]);
    join(&house, &near, &[NETWORK]);
    join(&house, &other, &[OFFICE]);
    egress(&house, NETWORK, "r", None);
    egress(&house, OFFICE, "r", Some(NAMED));
    let all_reach = || {
        reach(near.machine(), site.addresses(11).unwrap());
        reach(other.machine(), ["10.77.7.11", "fd77:7::b"].map(ip));
        reach(&printer, of(&near, NETWORK));
        reach(&printer, of(&other, OFFICE));
        reach(router.machine(), site.addresses(11).unwrap());
    };
    all_reach();

    let desk = house.desk().unwrap();
    desk.node("out", &json!({"internet_gateway": true})).unwrap();
    for lan in [false, true] {
        desk.node("r", &json!({"internet": {"gateway": "out", "lan": lan}})).unwrap();
        eventually(patience(SOON), || {
            let rules = router.machine().run("ip", ["rule"])?.stdout;
            ensure!(rules.contains("20044:") && rules.contains("20042:") == lan, "LAN: {lan}: {rules}");
            Ok(())
        })
        .unwrap();
        let way = router.machine().run("ip", ["route", "get", "198.51.100.1"]).unwrap().stdout;
        assert!(way.contains(INTERFACE), "it is in the tunnel: {way}");
        all_reach();
    }
}

/// Who is seen to ping this address.
fn pinging(capture: Capture, to: IpAddr) -> BTreeSet<IpAddr> {
    let traffic = capture.stop().unwrap();
    let pings = traffic.flows().filter(|(flow, _)| matches!(flow.protocol, 1 | 58) && flow.to.0 == to);
    pings.map(|(flow, _)| flow.from.0).collect()
}

#[test]
fn a_gateway_of_two_networks_is_no_way_between_them_and_believes_no_neighbour() {
    let house = house("apart");
    let (gate, far, other) =
        (house.public("gate").unwrap(), house.public("far").unwrap(), house.public("other").unwrap());
    let site = house.site(SITE[0], SITE[1]).unwrap();
    site.router(&gate, 1).unwrap();
    // The kernel's own check of where packets come from is another matter.
    let lax = "for each in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $each; done";
    gate.machine().run("sh", ["-c", lax]).unwrap();
    let printer = site.machine(house.lab(), "printer", 11, 1).unwrap();
    join(&house, &gate, &[NETWORK, OFFICE]);
    join(&house, &far, &[NETWORK]);
    join(&house, &other, &[OFFICE]);
    let desk = house.desk().unwrap();
    desk.node("gate", &json!({"remote_access": true, "internet_gateway": true})).unwrap();
    egress(&house, NETWORK, "gate", None);
    for (name, range) in [("far4", "192.168.9.0/24"), ("far6", "fd09::/64")] {
        let body = json!({"name": name, "range": range, "routers": [{"node": "far"}], "nat": false});
        desk.post("egress", &body).unwrap();
    }
    let phone = house.foreign("phone").unwrap();
    let made = desk.post("clients", &json!({"name": "phone", "full_tunnel": true})).unwrap();
    phone.up(made["config"].as_str().unwrap()).unwrap();

    reach(phone.machine(), of(&gate, NETWORK));
    reach(phone.machine(), of(&far, NETWORK));
    for address in [of(&gate, OFFICE), of(&other, OFFICE)].concat() {
        phone.machine().cannot_ping(address).unwrap();
    }
    reach(other.machine(), of(&gate, OFFICE));
    neighbours_are_who_they_are(&phone, &printer, &made["client"]);
}

/// The printer pings the phone as what is behind another member, and as itself.
fn neighbours_are_who_they_are(phone: &Foreign, printer: &Machine, client: &serde_json::Value) {
    let forged = [("192.168.9.5", "32", "192.168.7.11", "v4"), ("fd09::5", "128", "fd07::b", "v6")];
    for (forged, length, real, family) in forged {
        let to = ip(client[family].as_str().unwrap());
        let net = format!("{forged}/{length}");
        let add = ["address", "add", &net, "dev", "eth0"];
        let add = add.iter().chain(if family == "v6" { ["nodad"].iter() } else { [].iter() });
        printer.run("ip", add).unwrap();
        let capture = Capture::start(phone.machine(), APP, family).unwrap();
        let to_phone = to.to_string();
        let from = |source| ["-n", "-c", "1", "-i", "0.2", "-w", "3", "-I", source, &to_phone];
        printer.attempt("ping", from(forged)).unwrap();
        printer.run("ping", from(real)).unwrap();
        let seen = pinging(capture, to);
        assert_eq!(seen, BTreeSet::from([ip(real)]), "who pings the phone at {to}");
    }
}
