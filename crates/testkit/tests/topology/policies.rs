//! Policies, as packets see them: every pair and port, both families, TCP and UDP, against a brute-force evaluator.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};
use testkit::house::{Desk, Foreign, Host, House, INTERFACE, KeyPlan, NETWORK, patience};
use testkit::lab::{Machine, eventually};
use testkit::oracle::{Change, Luck, Party, Picture, Ports, Rule};
use testkit::probe::{Part, Probe, Target, Transport, Waiting, round};

use crate::{SOON, ip};

/// What machines answer on; rules name these.
const PORTS: [u16; 3] = [7000, 7001, 7002];
const NAMED_PORTS: [&str; 3] = ["7000", "7001-7002", "7002"];
const CHANGES: usize = 100;
const SEED: u64 = 4;
/// How long what must not answer is given, in each round.
const SETTLE: Duration = Duration::from_millis(150);
/// How long what must answer is given before the round is judged; a change may still be on its way.
const ROUND: Duration = Duration::from_millis(700);

/// A machine, and which member of the network each of its addresses belongs to.
struct Place {
    name: String,
    _machine: Machine,
    members: Vec<(IpAddr, String)>,
    probe: Probe,
}

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
            let name = node.name().to_owned();
            place(node.machine(), node.addresses().unwrap().iter().map(|address| (*address, name.clone())))
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
    places.push(place(&printer, addresses.into_iter().zip(["site4".to_owned(), "site6".to_owned()])));
    let mut phones = BTreeMap::new();
    for (name, user) in [("p1", "ann"), ("p2", "bob")] {
        let body = json!({"name": user, "password": "correct horse battery staple", "role": "auditor"});
        desk.request("POST", "/api/v1/users", &body).unwrap();
        let phone = house.foreign(name).unwrap();
        let made = desk.post("clients", &json!({"name": name, "owner": user})).unwrap();
        // What a policy will allow some day is not in a configuration made today.
        let configuration = with_ranges(
            made["config"].as_str().unwrap(),
            "10.20.0.0/16, fd20::/64, 192.168.7.0/24, fd07::/64",
        );
        phone.up(&configuration).unwrap();
        let addresses = ["v4", "v6"].map(|family| ip(made["client"][family].as_str().unwrap()));
        places.push(place(phone.machine(), addresses.into_iter().map(|address| (address, name.to_owned()))));
        phones.insert(name.to_owned(), phone);
    }
    Stage { house, nodes, phones, places }
}

fn with_ranges(configuration: &str, ranges: &str) -> String {
    let lines = configuration.lines().map(|line| match line.starts_with("AllowedIPs") {
        true => format!("AllowedIPs = {ranges}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

fn place(machine: &Machine, members: impl Iterator<Item = (IpAddr, String)>) -> Place {
    let members: Vec<(IpAddr, String)> = members.collect();
    let mut probe = Probe::start(machine).unwrap();
    let addresses: Vec<IpAddr> = members.iter().map(|(address, _)| *address).collect();
    probe.listen(&addresses, &PORTS).unwrap();
    Place { name: machine.name().to_owned(), _machine: machine.clone(), members, probe }
}

/// A router and the machines behind it reach each other without any tunnel: that is nobody's to judge. And a client has no
/// firewall of ours: what its gateway itself opens to it is the gateway's own word.
fn is_not_judged(a: &str, b: &str) -> bool {
    matches!((a, b), ("n1", "printer" | "p1" | "p2") | ("printer", "n1"))
}

/// What each place tries, and what of it must answer.
fn questions(places: &[Place], picture: &Picture) -> Vec<(Vec<Target>, BTreeSet<Target>)> {
    let of = |from: &Place| {
        let (mut targets, mut expected) = (Vec::new(), BTreeSet::new());
        let others = places.iter().filter(|to| to.name != from.name);
        for to in others.filter(|to| !is_not_judged(&from.name, &to.name)) {
            for ((_, source), (address, member)) in pairs(from, to) {
                for (port, transport) in
                    PORTS.iter().flat_map(|port| [(*port, Transport::Tcp), (*port, Transport::Udp)])
                {
                    let target = Target { transport, to: SocketAddr::new(*address, port) };
                    let protocol = if transport == Transport::Tcp { "tcp" } else { "udp" };
                    targets.push(target);
                    if picture.allows(source, member, protocol, port) {
                        expected.insert(target);
                    }
                }
            }
        }
        (targets, expected)
    };
    places.iter().map(of).collect()
}

type Address = (IpAddr, String);

/// Addresses of one family each.
fn pairs<'a>(from: &'a Place, to: &'a Place) -> impl Iterator<Item = (&'a Address, &'a Address)> {
    from.members.iter().flat_map(move |source| {
        to.members
            .iter()
            .filter(move |target| target.0.is_ipv4() == source.0.is_ipv4())
            .map(move |target| (source, target))
    })
}

/// Waits until every probe agrees with the evaluator.
fn agrees(places: &mut [Place], picture: &Picture, limit: Duration) -> Result<usize, String> {
    let questions = questions(places, picture);
    let asked = questions.iter().map(|(targets, _)| targets.len()).sum();
    let deadline = Instant::now() + limit;
    loop {
        let mut parts: Vec<Part<'_>> = places
            .iter_mut()
            .zip(&questions)
            .map(|(place, (targets, expected))| Part {
                probe: &mut place.probe,
                targets: targets.clone(),
                expected: expected.clone(),
            })
            .collect();
        let wrong = round(&mut parts, Waiting { at_least: SETTLE, at_most: patience(ROUND) }).unwrap();
        if wrong.is_empty() {
            return Ok(asked);
        }
        if Instant::now() > deadline {
            return Err(format!("{} of {asked} probes disagree:\n{}", wrong.len(), wrong.join("\n")));
        }
    }
}

fn body(rule: &Rule) -> Value {
    let texts = |parties: &BTreeSet<Party>| parties.iter().map(ToString::to_string).collect::<Vec<_>>();
    let services: Vec<String> = rule.services.iter().map(ToString::to_string).collect();
    json!({
        "enabled": rule.enabled, "from": texts(&rule.from), "to": texts(&rule.to), "services": services, "both": rule.both,
    })
}

/// Does on the server what the change says.
fn carry_out(desk: &Desk<'_>, change: &Change, phones: &BTreeMap<String, Foreign>) {
    match change {
        Change::Add(name, rule) => {
            let mut body = body(rule);
            body["name"] = json!(name);
            desk.post("policies", &body).unwrap();
        }
        Change::Replace(name, rule) => drop(desk.patch(&format!("policies/{name}"), &body(rule)).unwrap()),
        Change::Remove(name) => drop(desk.delete(&format!("policies/{name}")).unwrap()),
        Change::Enable(name, enabled) => {
            desk.patch(&format!("policies/{name}"), &json!({"enabled": enabled})).unwrap();
        }
        Change::Tags(name, tags) => {
            let kind = if phones.contains_key(name) { "clients" } else { "nodes" };
            desk.patch(&format!("{kind}/{name}"), &json!({"tags": tags})).unwrap();
        }
        Change::Groups(user, groups) => {
            let path = format!("/api/v1/users/{user}/groups");
            desk.request("PUT", &path, &json!({"groups": groups})).unwrap();
        }
        Change::Client(name, enabled) => {
            desk.patch(&format!("clients/{name}"), &json!({"enabled": enabled})).unwrap();
            if *enabled {
                phones[name].renew().unwrap();
            }
        }
    }
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
    // It never counts, not even for a moment: what was told once lies in a host's log of changes.
    let off = json!({"name": "off", "enabled": false, "from": ["everything"], "to": ["everything"]});
    desk.post("policies", &off).unwrap();
}

/// Keys of nodes that a node must not know are in no file of its machine, not in its WireGuard, and in no log.
fn strangers_keys_are_nowhere(stage: &Stage, picture: &Picture) {
    let key = |host: &Host| {
        host.machine().run("wg", ["show", INTERFACE, "public-key"]).unwrap().stdout.trim().to_owned()
    };
    let keys: Vec<(&Host, String)> = stage.nodes.iter().map(|node| (node, key(node))).collect();
    let mut found = 0;
    for (host, _) in &keys {
        let traces = traces(stage, host);
        for (other, key) in keys.iter().filter(|(other, _)| other.name() != host.name()) {
            let known = knows(picture, host.name(), other.name());
            let raw = BASE64.decode(key.as_bytes()).unwrap();
            let seen = traces.windows(raw.len()).any(|part| part == raw)
                || traces.windows(key.len()).any(|part| part == key.as_bytes());
            assert!(known || !seen, "{} has the key of {}", host.name(), other.name());
            found += usize::from(known && seen);
        }
    }
    assert!(found > 0, "a key that is known must be found, or this test sees nothing");
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

#[test]
fn what_passes_is_what_policies_allow_after_each_of_a_hundred_changes() {
    let mut stage = stage();
    let nothing = stage.house.desk().unwrap().answers().unwrap().picture().unwrap();
    agrees(&mut stage.places, &nothing, patience(SOON)).unwrap();
    ten_rules(&stage.house.desk().unwrap());
    let mut picture = stage.house.desk().unwrap().answers().unwrap().picture().unwrap();
    assert_eq!(picture.rules.len(), 10);
    let asked = agrees(&mut stage.places, &picture, patience(SOON)).unwrap();
    assert!(asked >= 450, "{asked} probes");
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
        if let Err(wrong) = agrees(&mut stage.places, &picture, patience(SOON)) {
            panic!(
                "after change {number} (seed {SEED}), {change:?}, {wrong}\nthe rules: {:#?}",
                picture.rules
            );
        }
        slowest = slowest.max(begin.elapsed());
        if number % 25 == 0 {
            assert_eq!(stage.house.desk().unwrap().answers().unwrap().picture().unwrap(), picture);
        }
    }
    println!("{asked} probes after each of {CHANGES} changes; the slowest agreement took {slowest:?}");
    assert!(
        picture.rules.values().flat_map(|rule| &rule.services).any(|ports: &Ports| !ports.ranges.is_empty())
    );
}
