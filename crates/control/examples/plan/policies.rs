//! 2,000 nodes in one network that denies, 1,000 policies: each from and to one of 100 tags, one in ten names a node.

use std::time::Instant;

use control::plan::{Roster, Touched};
use control::policy::run_tests;
use control::{Inventory, Record, RecordChange};
use model::{
    Access, DnsRecord, DnsRecordId, Network, Node, Policy, PolicyId, PolicyTest, PolicyTestId, RecordData,
    Subject, Tag,
};
use wire::{MapRequest, ServerLinks};

use crate::site::{FIRST, NOW, Shape, Site, bytes, host, micros, network, node, tell, timed};

const HOSTS: u32 = 2_000;
const RULES: u32 = 1_000;

fn tag(number: u32) -> Tag {
    format!("tag-{}", number % 100).parse().unwrap()
}

/// Three tags of a hundred, and others that no policy names: one that an eighth have, one that all have.
fn tagged(number: u32, seed: u32) -> Node {
    let mut tags: std::collections::BTreeSet<Tag> =
        [0, 1, 2].map(|which| tag(u32::from_le_bytes(bytes(7 + which, seed)))).into();
    tags.insert("all".parse().unwrap());
    if number.is_multiple_of(8) {
        tags.insert("eighth".parse().unwrap());
    }
    Node { tags, ..node(number, 0) }
}

fn guarded(access: Access) -> Network {
    Network { access, ..network(0) }
}

fn policy(number: u32, from: Subject, to: Subject) -> Policy {
    Policy {
        id: PolicyId::from_bytes(bytes(10, number)),
        network: network(0).id,
        name: format!("rule {number}").parse().unwrap(),
        enabled: true,
        from: [from].into(),
        to: [to].into(),
        services: ["tcp/443".parse().unwrap()].into(),
        both: number.is_multiple_of(4),
        created: NOW,
    }
}

fn rule(number: u32) -> Policy {
    let subject = |kind: u8| match number % 10 {
        0 => Subject::Node(node(u32::from_le_bytes(bytes(kind, number)) % HOSTS, 0).id),
        _ => Subject::Tag(tag(u32::from_le_bytes(bytes(kind, number)))),
    };
    policy(number, subject(11), subject(12))
}

fn made(from: Subject, to: Subject) -> Vec<RecordChange> {
    vec![RecordChange::made(policy(RULES + 3, from, to))]
}

fn site(access: Access, more: Option<Policy>) -> Site {
    let mut records: Vec<Record> = vec![guarded(access).into()];
    records.extend((0..HOSTS).flat_map(|number| [Record::from(host(number)), tagged(number, number).into()]));
    records.extend((0..RULES).map(rule).chain(more).map(Record::from));
    Site::of(Shape::OneNetwork, records, Inventory::default(), ServerLinks::default())
}

/// The changes, by name: each from a site where it may happen.
fn changes() -> Vec<(&'static str, Site, Vec<RecordChange>)> {
    let everything = || Subject::Everything;
    let tagged_with = |name: &str| Subject::Tag(name.parse().unwrap());
    let open = || policy(RULES + 3, everything(), everything());
    let disabled = Policy { enabled: false, ..rule(4) };
    let record = DnsRecord {
        id: DnsRecordId::from_bytes(bytes(13, 1)),
        network: network(0).id,
        name: None,
        ttl: 300,
        data: RecordData::A { address: "192.0.2.1".parse().unwrap() },
        created: NOW,
    };
    let (deny, allow) = (site(Access::Deny, None), site(Access::Allow, None));
    let opened = site(Access::Deny, Some(open()));
    let joins =
        || vec![RecordChange::made(host(HOSTS + 2)), RecordChange::made(tagged(HOSTS + 2, HOSTS + 2))];
    let flipped = |from, to| vec![RecordChange::changed(guarded(from), guarded(to))];
    let retagged = RecordChange::changed(tagged(7, 7), tagged(7, HOSTS + 1));
    let again = Policy {
        services: ["udp/53".parse().unwrap()].into(),
        ..policy(RULES + 4, everything(), everything())
    };
    vec![
        ("one node's tags", deny.clone(), vec![retagged]),
        ("one joins", deny.clone(), joins()),
        ("a rule is added", deny.clone(), vec![RecordChange::made(rule(RULES + 1))]),
        ("a rule is removed", deny.clone(), vec![RecordChange::removed(rule(3))]),
        ("a rule is disabled", deny.clone(), vec![RecordChange::changed(rule(4), disabled)]),
        ("everything to a tag", deny.clone(), made(everything(), Subject::Tag(tag(3)))),
        ("everything to an eighth", deny.clone(), made(everything(), tagged_with("eighth"))),
        ("all by a tag to a tag", deny.clone(), made(tagged_with("all"), Subject::Tag(tag(3)))),
        ("all by a tag to all", deny.clone(), made(tagged_with("all"), tagged_with("all"))),
        ("everything to everything", deny.clone(), made(everything(), everything())),
        ("the same is removed", opened.clone(), vec![RecordChange::removed(open())]),
        ("the same by more ports", opened, vec![RecordChange::made(again)]),
        ("the default is allow", deny.clone(), flipped(Access::Deny, Access::Allow)),
        ("the default is deny", allow, flipped(Access::Allow, Access::Deny)),
        ("a DNS record is added", deny, vec![RecordChange::made(record)]),
    ]
}

pub(crate) fn measure(only: Option<&str>, times: u32) {
    println!("{RULES} policies over {HOSTS} nodes");
    for (what, site, records) in changes() {
        if only.is_some_and(|only| only != what) {
            continue;
        }
        let (mut after, change) = site.after(records);
        let intent = after.intent.clone();
        tell(what, &site, &mut after, times, &|| Touched::by_change(&site.intent, &intent, &change));
    }
    if only.is_none() {
        whole();
    }
    if only.is_none_or(|only| only == "tests") {
        tests();
    }
}

/// 200 tests: between tags, half of them that must be denied, and a few that speak of everything.
fn tests() {
    let (everything, number) = (Subject::Everything, |kind, test| u32::from_le_bytes(bytes(kind, test)));
    let test = |test: u32| PolicyTest {
        id: PolicyTestId::from_bytes(bytes(14, test)),
        network: network(0).id,
        from: if test.is_multiple_of(20) { everything.clone() } else { Subject::Tag(tag(number(15, test))) },
        to: if test.is_multiple_of(40) { everything.clone() } else { Subject::Tag(tag(number(16, test))) },
        service: if test.is_multiple_of(3) { "tcp/443" } else { "tcp/22" }.parse().unwrap(),
        expect: if test.is_multiple_of(2) { Access::Deny } else { Access::Allow },
        created: NOW,
    };
    for (what, open) in [
        ("200 tests", None),
        ("200 tests, all open", Some(policy(RULES + 3, everything.clone(), everything.clone()))),
    ] {
        let site = site(Access::Deny, open);
        let (site, _) = site.after((0..200).map(|number| RecordChange::made(test(number))).collect());
        let failures = timed(what, || run_tests(&site.intent, network(0).id)).len();
        println!("  {failures} do not hold");
    }
}

fn whole() {
    let site = site(Access::Deny, None);
    let began = Instant::now();
    let fresh = Roster::of(&site.picture());
    println!("  {:<24}{:>9.1} µs", "roster from scratch", micros(began.elapsed()));
    let began = Instant::now();
    let nothing = MapRequest::default();
    let answered = |number| fresh.answer(&site.picture(), host(number).id, FIRST, &nothing).unwrap();
    let parts: usize = (0..HOSTS).map(|number| answered(number).1.len()).sum();
    println!("  {:<24}{:>9.1} µs for {parts} parts", "a full plan", micros(began.elapsed()));
    let began = Instant::now();
    let bytes = |number| answered(number).1.iter().map(|bucket| bucket.to_part().packed.len()).sum::<usize>();
    let size: usize = (0..HOSTS).map(bytes).sum();
    println!("  {:<24}{:>9.1} µs for {size} bytes", "the same, packed", micros(began.elapsed()));
}
