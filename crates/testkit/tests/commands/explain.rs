//! What `netloom` says of policies, against the evaluator that shares no code with the server: explanations of every pair, dry
//! runs of every kind of change, and tests that refuse one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testkit::fleet::{Agent, PASSWORD};
use testkit::oracle::{Answers, Kind, Picture, Ports};

use crate::seat::Seat;

/// What is asked about: ports that rules name, their neighbours, and protocols without ports.
const SERVICES: [(&str, u16); 9] = [
    ("tcp", 22),
    ("tcp", 80),
    ("tcp", 443),
    ("tcp", 444),
    ("tcp", 450),
    ("tcp", 451),
    ("udp", 53),
    ("udp", 54),
    ("icmp", 0),
];

/// A guarded network of every kind of member, with rules of every kind.
struct Stage {
    seat: Seat,
    _agents: Vec<Agent>,
}

impl Stage {
    fn new() -> Self {
        let seat = Seat::new();
        seat.run("network create home --v4 10.1.0.0/24 --v6 fd01::/64 --access deny").well();
        let agents = ["gate", "web", "db", "spare"].map(|name| seat.joins(name, "home"));
        let password = seat.file("password");
        std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let made = format!("--role auditor --password-file {}", password.display());
        for line in [
            format!("user create ann {made}"),
            format!("user create bob {made}"),
            "user groups ann staff,night".to_owned(),
            "node update home web --tag web".to_owned(),
            "node update home spare --tag web".to_owned(),
            "node disconnect home spare".to_owned(),
            "gateway enable remote-access home gate".to_owned(),
            "host update gate --static-endpoint 203.0.113.7:51820".to_owned(),
            "client create home phone --owner ann".to_owned(),
            "client create home tablet --owner bob --tag web".to_owned(),
            "client create home old --owner bob".to_owned(),
            "client disable home old".to_owned(),
            "egress create home office 192.168.7.0/24 --router gate".to_owned(),
            "policy create home pages --from everything --to tag:web --service tcp/80,443-450".to_owned(),
            "policy create home data --from tag:web --to node:db --service tcp/443 --service icmp".to_owned(),
            "policy create home ann --from user:ann --to egress:office --both".to_owned(),
            "policy create home staff --from group:staff --to node:db --service tcp/22 --service udp/53"
                .to_owned(),
            "policy create home one --from client:tablet --to node:gate --service udp".to_owned(),
            "policy create home off --from everything --to everything --disabled".to_owned(),
        ] {
            seat.run(&line).well();
        }
        Self { seat, _agents: agents.into() }
    }

    /// The network as the evaluator sees it, from what the command line prints.
    fn picture(&self) -> Picture {
        let said = |line: &str| self.seat.json(line);
        let answers = Answers {
            network: said("network show home"),
            nodes: said("node list home"),
            clients: said("client list home"),
            egress: said("egress list home"),
            policies: said("policy list home"),
            users: said("user list"),
        };
        answers.picture().unwrap()
    }
}

fn named(picture: &Picture, name: &str) -> String {
    let kind = match picture.members.get(name).unwrap().kind {
        Kind::Node => "node",
        Kind::Client => "client",
        Kind::Egress => "egress",
    };
    format!("{kind}:{name}")
}

fn pairs(picture: &Picture) -> impl Iterator<Item = (&String, &String)> {
    let all = || picture.members.keys();
    all().flat_map(move |from| all().filter(move |to| *to != from).map(move |to| (from, to)))
}

fn service(protocol: &str, port: u16) -> String {
    if port == 0 { protocol.to_owned() } else { format!("{protocol}/{port}") }
}

#[test]
fn every_pair_is_explained_as_the_evaluator_judges_it() {
    let stage = Stage::new();
    let picture = stage.picture();
    assert_eq!(picture.members.len(), 8);
    let mut verdicts = BTreeMap::from([(true, 0), (false, 0)]);
    for (from, to) in pairs(&picture) {
        for (protocol, port) in SERVICES {
            // What a router opens to its own range is judged by nobody.
            let judged = (from.as_str(), to.as_str()) != ("gate", "office");
            let allowed = !judged || picture.allows(from, to, protocol, port);
            let (from, to) = (named(&picture, from), named(&picture, to));
            let line = format!("policy explain {from} {to} {}", service(protocol, port));
            let went = stage.seat.run(&format!("{line} --json"));
            assert_eq!(went.code, if allowed { 0 } else { 3 }, "{went}");
            let said = went.read();
            assert_eq!(said["allowed"], allowed, "{went}");
            assert_eq!((&said["from"], &said["to"]), (&Value::from(from), &Value::from(to)), "{went}");
            *verdicts.get_mut(&allowed).unwrap() += 1;
            if (protocol, port) == ("tcp", 443) {
                let sentence = stage.seat.run(&line);
                assert_eq!(sentence.code, went.code, "{sentence}");
                let expected = if allowed { " is allowed: " } else { " is not allowed: " };
                assert!(sentence.out.contains(expected) && sentence.err.is_empty(), "{sentence}");
            }
        }
    }
    assert!(verdicts.values().all(|count| *count > 40), "both answers are asked for: {verdicts:?}");
}

#[test]
fn an_explanation_names_the_policies_that_decide() {
    let Stage { seat, _agents } = Stage::new();
    let explained = |line: &str| seat.run(&format!("policy explain {line} --json")).read();
    let names = |said: &Value, field: &str| -> Vec<String> {
        let policies = said[field].as_array().unwrap().iter();
        policies.map(|policy| policy["name"].as_str().unwrap().to_owned()).collect()
    };
    let said = explained("client:phone node:db tcp/22");
    assert_eq!(
        (names(&said, "policies"), &said["decided_by"]),
        (vec!["staff".to_owned()], &"policies".into())
    );
    assert_eq!(said["reverse_allowed"], false);
    let said = explained("phone db tcp/80");
    assert_eq!((&said["decided_by"], &said["allowed"]), (&"default".into(), &false.into()));
    assert_eq!(names(&said, "disabled"), ["off"]);
    assert_eq!(explained("web spare tcp/80")["decided_by"], "absent");
    for line in ["policy explain nobody db tcp/80", "policy explain web db tcp/80 --network nowhere"] {
        let error = seat.run(line).badly();
        assert!(error.contains("nobody") || error.contains("nowhere"), "{error}");
    }
}

/// Whether services as a dry run names them cover this one.
fn covers(services: &Value, protocol: &str, port: u16) -> bool {
    let services = services.as_array().unwrap().iter().map(|service| service.as_str().unwrap());
    services.into_iter().any(|text| {
        let Some(ports) = Ports::parse(text) else { panic!("`{text}` is no service") };
        let any = ports.ranges.is_empty() || ports.ranges.iter().any(|(a, b)| (*a..=*b).contains(&port));
        text == "everything" || (ports.protocol == protocol && any)
    })
}

/// What the evaluator says of a change: who gains and who loses something, by any port of the lower thousand.
fn differences(before: &Picture, after: &Picture) -> [BTreeSet<(String, String)>; 2] {
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    let ports = (1..1_000).flat_map(|port| [("tcp", port), ("udp", port)]).chain([("icmp", 0)]);
    let all: Vec<(&str, u16)> = ports.collect();
    for (from, to) in pairs(before) {
        for (protocol, port) in &all {
            let was = before.allows(from, to, protocol, *port);
            let is = after.allows(from, to, protocol, *port);
            if was != is {
                found[usize::from(was)].insert((named(before, from), named(before, to)));
            }
        }
    }
    found
}

fn agrees(tried: &Value, before: &Picture, after: &Picture) {
    let [gaining, losing] = differences(before, after);
    let empty = |value: &Value| value.as_array().unwrap().is_empty();
    let pairs = tried["pairs"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |field: &str| -> BTreeSet<(String, String)> {
        let those = pairs.iter().filter(|pair| !empty(&pair[field]));
        those.map(|pair| (text(&pair["from"]), text(&pair["to"]))).collect()
    };
    assert_eq!((of("gained"), of("lost")), (gaining.clone(), losing.clone()), "{tried}");
    assert_eq!(tried["gaining"], gaining.len(), "{tried}");
    assert_eq!(tried["losing"], losing.len(), "{tried}");
    assert_eq!(tried["changing"], gaining.union(&losing).count(), "{tried}");
    for pair in pairs {
        let bare = |field: &str| pair[field].as_str().unwrap().split_once(':').unwrap().1.to_owned();
        let (from, to) = (bare("from"), bare("to"));
        for (protocol, port) in SERVICES {
            let was = before.allows(&from, &to, protocol, port);
            let is = after.allows(&from, &to, protocol, port);
            let (before, after) =
                (covers(&pair["before"], protocol, port), covers(&pair["after"], protocol, port));
            assert_eq!((before, after), (was, is), "{pair} by {protocol}/{port}");
            // Of everything that is won, what could be reached before is not taken away; and likewise of what is lost.
            let (gained, lost) =
                (covers(&pair["gained"], protocol, port), covers(&pair["lost"], protocol, port));
            assert!(!gained || is, "{pair} gains {protocol}/{port}");
            assert!(gained || was || !is, "{pair} does not gain {protocol}/{port}");
            assert!(!lost || was, "{pair} loses {protocol}/{port}");
            assert!(lost || is || !was, "{pair} does not lose {protocol}/{port}");
        }
    }
}

#[test]
fn a_dry_run_says_what_the_change_then_does_and_does_nothing_itself() {
    let stage = Stage::new();
    let seat = &stage.seat;
    let mut moved = 0;
    for line in [
        "policy create home night --from group:night --to tag:web --service tcp/22 --service icmp",
        "policy update home pages --service tcp/80 --service udp/53",
        "policy update home data --both on",
        "policy update home ann --to node:db --both off",
        "policy update home one --service everything",
        "policy enable home off",
        "policy disable home pages",
        "policy update home off --from egress:office",
        "policy disable home off",
        "policy delete home staff --yes",
        "policy create home asleep --from everything --to everything --disabled",
        "network update home --access allow",
        "policy update home one --service udp/1-53",
        "network update home --access deny",
    ] {
        let before = stage.picture();
        let tried = seat.json(&format!("{line} --dry-run"));
        let shown = seat.run(&format!("{line} --dry-run")).well();
        assert!(shown.contains("Nothing was changed."), "{shown}");
        assert_eq!(before, stage.picture(), "`{line} --dry-run` changed something");
        seat.run(line).well();
        agrees(&tried, &before, &stage.picture());
        moved += usize::from(tried["changing"] != 0);
    }
    assert_eq!(moved, 10, "of these changes most are felt, and some are not");
}

#[test]
fn a_change_that_makes_a_test_wrong_is_refused_and_the_test_is_named() {
    let stage = Stage::new();
    let seat = &stage.seat;
    for test in ["tag:web node:db tcp/443 allow", "client:phone node:web tcp/22 deny"] {
        seat.run(&format!("policy test add home {test}")).well();
    }
    assert_eq!(seat.json("policy test run home")["passed"], true);
    let before = stage.picture();
    for (line, from, to, service) in [
        ("policy delete home data --yes", "`web`", "`db`", "tcp/443"),
        ("policy disable home data", "`web`", "`db`", "tcp/443"),
        ("policy update home data --service icmp", "`web`", "`db`", "tcp/443"),
        ("policy enable home off", "`phone`", "`web`", "tcp/22"),
        ("policy create home wide --from user:ann --to tag:web", "`phone`", "`web`", "tcp/22"),
        ("network update home --access allow", "`phone`", "`web`", "tcp/22"),
    ] {
        let tried = seat.run(&format!("{line} --dry-run"));
        assert!(
            tried.code == 1 && tried.out.contains("Nothing was changed."),
            "it tells who is meant: {tried}"
        );
        for refused in [seat.run(line).badly(), tried.err] {
            let named = [from, to, service].iter().all(|part| refused.contains(part));
            assert!(named, "`{line}` does not name the test: {refused}");
        }
    }
    assert_eq!(before, stage.picture(), "what was refused changed something");
}
