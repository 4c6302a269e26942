//! Policies, as packets see them: every pair and port, both families, TCP, UDP and ICMP, against a brute-force evaluator.

mod networks;
mod places;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::json;
use testkit::house::{Desk, Foreign, Host, House, INTERFACE, KeyPlan, NETWORK, dig, patience};
use testkit::lab::eventually;
use testkit::oracle::{Change, Luck, Picture, Ports};

use crate::{SOON, ip};
use places::{Spot, carry_out};

pub(crate) use places::{Place, agrees};

const NAMED_PORTS: [&str; 3] = ["7000", "7001-7002", "7002"];
const CHANGES: usize = 100;
const SEED: u64 = 4;

struct Stage {
    house: House,
    nodes: Vec<Host>,
    phones: BTreeMap<String, Foreign>,
    places: Vec<Place>,
}

/// Four nodes, of which the first lets clients in and leads to a site; two clients of two people; a machine of the site.
fn stage() -> Stage {
    let house = House::new("policies").unwrap();
    let administrator = house.administrator();
    administrator.create_network(NETWORK, "10.20.0.0/16", "fd20::/64").unwrap();
    let desk = house.desk().unwrap();
    desk.patch("", &json!({"access": "deny"})).unwrap();
    let token = administrator.token(&KeyPlan::into_network(NETWORK)).unwrap();
    let site = house.site("192.168.7.0/24", "fd07::/64").unwrap();
    let nodes: Vec<Host> = (1..=4).map(|number| house.public(&format!("n{number}")).unwrap()).collect();
    site.router(&nodes[0], 1).unwrap();
    nodes.iter().for_each(|node| drop(node.join(&token).unwrap()));
    let mut places: Vec<Place> = nodes
        .iter()
        .map(|node| {
            let mut place = Place::new(node.machine(), spots(node.name(), node.addresses().unwrap()));
            place.beside = (node.name() == "n1").then(|| "printer".to_owned());
            place
        })
        .collect();

    desk.node("n1", &json!({"remote_access": true})).unwrap();
    let [v4, v6] = site.ranges();
    for (name, range) in [("site4", v4), ("site6", v6)] {
        let body = json!({"name": name, "range": range, "routers": [{"node": "n1"}], "nat": false});
        desk.post("egress", &body).unwrap();
    }
    let printer = site.machine(house.lab(), "printer", 11, 1).unwrap();
    let addresses = site.addresses(11).unwrap();
    let own = addresses.into_iter().zip(["site4", "site6"]);
    places.push(Place::new(&printer, own.flat_map(|(address, name)| spots(name, &[address])).collect()));
    let mut phones = BTreeMap::new();
    for (name, user) in [("p1", "ann"), ("p2", "bob")] {
        let body = json!({"name": user, "password": "correct horse battery staple", "role": "auditor"});
        desk.request("POST", "/api/v1/users", &body).unwrap();
        let (phone, addresses) =
            phone(&house, name, Some(user), "10.20.0.0/16, fd20::/64, 192.168.7.0/24, fd07::/64");
        places.push(Place::new(phone.machine(), spots(name, &addresses)));
        phones.insert(name.to_owned(), phone);
    }
    Stage { house, nodes, phones, places }
}

/// Addresses of one member of the network [`NETWORK`].
pub(crate) fn spots(member: &str, addresses: &[IpAddr]) -> Vec<Spot> {
    let spot = |address: &IpAddr| Spot { network: NETWORK, member: member.to_owned(), address: *address };
    addresses.iter().map(spot).collect()
}

/// A client that came in, and its addresses. What a policy will allow some day is not in a configuration made today.
fn phone(house: &House, name: &str, owner: Option<&str>, ranges: &str) -> (Foreign, Vec<IpAddr>) {
    let phone = house.foreign(name).unwrap();
    let made = house.desk().unwrap().post("clients", &json!({"name": name, "owner": owner})).unwrap();
    phone.up(&with_ranges(made["config"].as_str().unwrap(), ranges)).unwrap();
    let addresses = ["v4", "v6"].iter().filter_map(|family| made["client"][family].as_str()).map(ip);
    (phone, addresses.collect())
}

fn with_ranges(configuration: &str, ranges: &str) -> String {
    let lines = configuration.lines().map(|line| match line.starts_with("AllowedIPs") {
        true => format!("AllowedIPs = {ranges}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// Ten rules of every kind there is.
fn ten_rules(desk: &Desk<'_>) {
    desk.request("PUT", "/api/v1/users/ann/groups", &json!({"groups": ["staff"]})).unwrap();
    desk.request("PUT", "/api/v1/users/bob/groups", &json!({"groups": ["guests"]})).unwrap();
    desk.node("n2", &json!({"tags": ["red"]})).unwrap();
    desk.node("n3", &json!({"tags": ["red", "blue"]})).unwrap();
    let rule = |name: &str, from: &[&str], to: &[&str], services: &[&str], both: bool| {
        let body = json!({"name": name, "from": from, "to": to, "services": services, "both": both});
        desk.post("policies", &body).unwrap();
    };
    rule("one way", &["node:n1"], &["node:n2"], &["tcp/7000"], false);
    rule("both ways", &["node:n1"], &["node:n3"], &["udp/7001-7002"], true);
    rule("a tag", &["tag:red"], &["tag:blue"], &["tcp"], false);
    rule("staff", &["group:staff"], &["tag:red"], &["tcp/7000", "udp/7000"], false);
    rule("bob", &["user:bob"], &["node:n1"], &[], false);
    rule("to the site", &["node:n2", "client:p1"], &["egress:site4"], &["tcp/7002"], false);
    rule("from the site", &["egress:site6"], &["tag:blue"], &["udp"], true);
    rule("to a client", &["node:n3"], &["client:p1"], &["tcp/7001"], false);
    rule("between clients", &["client:p1"], &["client:p2"], &["udp/7000"], false);
    // All know each other for a moment.
    let off = json!({"name": "off", "from": ["everything"], "to": ["everything"]});
    desk.post("policies", &off).unwrap();
    desk.patch("policies/off", &json!({"enabled": false})).unwrap();
}

/// Soon, keys of nodes that a node must not know are in no file of its machine, not in its WireGuard, and in no log, whatever
/// it was allowed before.
fn strangers_keys_are_nowhere(stage: &Stage, picture: &Picture) {
    let key = |host: &Host| {
        host.machine().run("wg", ["show", INTERFACE, "public-key"]).unwrap().stdout.trim().to_owned()
    };
    let keys: Vec<(&Host, String)> = stage.nodes.iter().map(|node| (node, key(node))).collect();
    let found = eventually(patience(SOON), || {
        let mut found = 0;
        for (host, _) in &keys {
            let traces = traces(stage, host);
            for (other, key) in keys.iter().filter(|(other, _)| other.name() != host.name()) {
                let known = knows(picture, host.name(), other.name());
                let raw = BASE64.decode(key.as_bytes()).unwrap();
                let seen = traces.windows(raw.len()).any(|part| part == raw)
                    || traces.windows(key.len()).any(|part| part == key.as_bytes());
                anyhow::ensure!(known || !seen, "{} has the key of {}", host.name(), other.name());
                found += usize::from(known && seen);
            }
        }
        Ok(found)
    });
    assert!(found.unwrap() > 0, "a key that is known must be found, or this test sees nothing");
}

/// Whether one node has a reason to know another: itself, or what it carries.
fn knows(picture: &Picture, a: &str, b: &str) -> bool {
    let carried = |node: &str| match node {
        "n1" => vec!["n1", "p1", "p2", "site4", "site6"],
        _ => vec![node.to_owned().leak() as &str],
    };
    carried(a).iter().any(|one| carried(b).iter().any(|other| picture.may_know(one, other)))
}

/// All that lies on a machine and all that its programs said.
fn traces(stage: &Stage, host: &Host) -> Vec<u8> {
    let script =
        "find /var/lib/netclient /run /etc/resolv.conf /var/log -type f -exec cat {} + | base64 -w 0";
    let files = host.machine().run("sh", ["-c", script]).unwrap().stdout;
    let mut traces = BASE64.decode(files.trim().as_bytes()).unwrap();
    traces.extend(host.machine().run("wg", ["show", "all"]).unwrap().stdout.into_bytes());
    let logs = stage.house.lab().folder().join("machines").join(host.name()).join("logs");
    for log in std::fs::read_dir(logs).unwrap() {
        traces.extend(std::fs::read(log.unwrap().path()).unwrap());
    }
    traces
}

/// Clients are told to ask their gateway for names, so it answers them, and no node that has nothing to ask there.
fn names_are_asked_for_by_clients_alone(stage: &Stage) {
    let gateway = stage.nodes[0].v4().unwrap();
    let words = [format!("@{gateway}"), "n1.home.netloom.internal".to_owned()];
    let words = [&words[0], &words[1], "+time=1", "+tries=1"].map(|word: &str| word);
    eventually(patience(SOON), || {
        let said = dig(stage.phones["p1"].machine(), &words)?;
        anyhow::ensure!(said == [gateway.to_string()], "{said:?}");
        Ok(())
    })
    .unwrap();
    for words in [&words[..], &[&words[..], &["+tcp"]].concat()] {
        let asked = stage.nodes[1].machine().attempt("dig", words).unwrap();
        assert!(asked.success().is_err(), "a node asks another one's gateway by {words:?}");
    }
}

#[test]
fn what_passes_is_what_policies_allow_after_each_of_a_hundred_changes() {
    let mut stage = stage();
    let nothing = stage.house.desk().unwrap().answers().unwrap().picture().unwrap();
    agrees(&mut stage.places, &BTreeMap::from([(NETWORK, nothing)]), patience(SOON)).unwrap();
    ten_rules(&stage.house.desk().unwrap());
    let mut picture = stage.house.desk().unwrap().answers().unwrap().picture().unwrap();
    assert_eq!(picture.rules.len(), 10);
    let asked =
        agrees(&mut stage.places, &BTreeMap::from([(NETWORK, picture.clone())]), patience(SOON)).unwrap();
    assert!(asked >= 550, "{asked} probes");
    names_are_asked_for_by_clients_alone(&stage);
    strangers_keys_are_nowhere(&stage, &picture);
    eventually(patience(SOON), || stage.nodes[0].machine().run("nft", ["list", "table", "inet", "netloom"]))
        .unwrap();

    let mut luck = Luck::new(SEED);
    let mut slowest = Duration::ZERO;
    for number in 1..=CHANGES {
        let change = Change::random(&picture, &mut luck, &NAMED_PORTS);
        carry_out(&stage.house.desk().unwrap(), &change, &stage.phones);
        change.apply(&mut picture);
        let begin = Instant::now();
        let pictures = BTreeMap::from([(NETWORK, picture.clone())]);
        if let Err(wrong) = agrees(&mut stage.places, &pictures, patience(SOON)) {
            panic!(
                "after change {number} (seed {SEED}), {change:?}, {wrong}\nthe rules: {:#?}",
                picture.rules
            );
        }
        slowest = slowest.max(begin.elapsed());
        if number % 25 == 0 {
            assert_eq!(stage.house.desk().unwrap().answers().unwrap().picture().unwrap(), picture);
            strangers_keys_are_nowhere(&stage, &picture);
        }
    }
    println!("{asked} probes after each of {CHANGES} changes; the slowest agreement took {slowest:?}");
    assert!(
        picture.rules.values().flat_map(|rule| &rule.services).any(|ports: &Ports| !ports.ranges.is_empty())
    );
}
