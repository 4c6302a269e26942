//! The evaluator on pictures so small that the answers can be seen.

use super::*;

fn member(kind: Kind, tags: &[&str], owner: Option<&str>) -> Member {
    Member {
        kind,
        addresses: Vec::new(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        owner: owner.map(str::to_owned),
        active: true,
    }
}

fn rule(from: Party, to: Party, services: &[&str], both: bool) -> Rule {
    let services = services.iter().map(|text| Ports::parse(text).unwrap()).collect();
    Rule { enabled: true, from: [from].into(), to: [to].into(), services, both }
}

fn picture(rule: Rule) -> Picture {
    let members = [
        ("web", member(Kind::Node, &["www"], None)),
        ("db", member(Kind::Node, &[], None)),
        ("phone", member(Kind::Client, &[], Some("ann"))),
        ("office", member(Kind::Egress, &[], None)),
    ];
    Picture {
        guarded: true,
        members: members.map(|(name, member)| (name.to_owned(), member)).into(),
        rules: [("rule".to_owned(), rule)].into(),
        groups: [("ann".to_owned(), ["staff".to_owned()].into())].into(),
    }
}

#[test]
fn a_rule_holds_one_way_and_for_its_ports() {
    let picture = picture(rule(
        Party::Group("staff".to_owned()),
        Party::Tag("www".to_owned()),
        &["tcp/80,8000-8100"],
        false,
    ));
    assert!(picture.allows("phone", "web", "tcp", 80) && picture.allows("phone", "web", "tcp", 8042));
    assert!(!picture.allows("phone", "web", "udp", 80) && !picture.allows("phone", "web", "tcp", 81));
    assert!(!picture.allows("web", "phone", "tcp", 80) && !picture.allows("phone", "db", "tcp", 80));
    assert!(picture.may_know("web", "phone") && !picture.may_know("web", "db"));
}

#[test]
fn both_ways_turns_the_rule_round() {
    let office = Party::Member(Kind::Egress, "office".to_owned());
    let picture = picture(rule(office, Party::User("ann".to_owned()), &["udp"], true));
    assert!(picture.allows("office", "phone", "udp", 9) && picture.allows("phone", "office", "udp", 9));
    assert!(!picture.allows("phone", "office", "tcp", 9));
}

#[test]
fn without_rules_the_networks_default_decides_and_the_inactive_reach_nobody() {
    let mut picture = picture(rule(Party::Everything, Party::Everything, &[], false));
    picture.rules.clear();
    assert!(!picture.allows("web", "db", "tcp", 1));
    picture.guarded = false;
    assert!(picture.allows("web", "db", "tcp", 1) && !picture.allows("web", "web", "tcp", 1));
    picture.members.get_mut("db").unwrap().active = false;
    assert!(!picture.allows("web", "db", "tcp", 1) && !picture.may_know("web", "db"));
}

#[test]
fn the_same_seed_makes_the_same_changes_and_never_more_rules_than_asked_for() {
    let run = |seed| {
        let mut picture = picture(rule(Party::Everything, Party::Everything, &["icmp"], false));
        let mut luck = Luck::new(seed);
        let changes: Vec<Change> = (0..300)
            .map(|_| {
                let change = Change::random(&picture, &mut luck, &["80", "443-450"]);
                change.apply(&mut picture);
                assert!(picture.rules.len() <= Change::MOST_RULES, "{change:?}");
                change
            })
            .collect();
        (changes, picture)
    };
    assert_eq!(run(7), run(7));
    let (changes, picture) = run(8);
    assert!(changes.iter().any(|change| matches!(change, Change::Remove(_))));
    assert!(changes.iter().any(|change| matches!(change, Change::Groups(_, _))));
    assert!(!picture.rules.is_empty());
}

#[test]
fn what_the_api_says_is_read() {
    let answers = Answers {
        network: serde_json::json!({"name": "home", "access": "deny"}),
        nodes: serde_json::json!([
            {"host_name": "web", "v4": "10.0.0.1", "v6": "fd00::1", "connected": true, "pending": false, "tags": ["www"]},
            {"host_name": "new", "v4": "10.0.0.2", "connected": true, "pending": true, "tags": []},
        ]),
        clients: serde_json::json!([
            {"name": "phone", "v4": "10.0.0.3", "enabled": true, "tags": [], "owner": {"id": "1", "name": "ann"}},
        ]),
        egress: serde_json::json!([{"name": "office", "range": "192.168.1.0/24", "enabled": true}]),
        policies: serde_json::json!([{
            "name": "rule", "enabled": true, "from": ["group:staff", "egress:office"], "to": ["tag:www"],
            "services": ["tcp/80,443-450", "icmp"], "both": false,
        }]),
        users: serde_json::json!([{"name": "ann", "groups": ["staff"]}]),
    };
    let picture = answers.picture().unwrap();
    assert!(picture.allows("phone", "web", "tcp", 445) && picture.allows("office", "web", "tcp", 80));
    assert!(!picture.allows("phone", "new", "tcp", 80) && !picture.allows("web", "phone", "tcp", 80));
    let printed: Vec<String> = picture.rules["rule"].services.iter().map(Ports::to_string).collect();
    assert_eq!(printed, ["icmp", "tcp/80,443-450"]);
    let parties: Vec<String> = picture.rules["rule"].from.iter().map(Party::to_string).collect();
    assert_eq!(parties, ["egress:office", "group:staff"]);
    assert!(Answers::default().picture().is_err());
}
