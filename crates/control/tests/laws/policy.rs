//! Laws of policies: all ways to ask agree with an evaluator that knows nothing of them.

use std::collections::BTreeSet;

use control::policy::{Member, Verdict, allowed, compare, explain, members, pairs_of_tests, run_tests};
use control::{Intent, apply};
use model::{Access, NetworkId, PolicyTest, Protocol, Subject};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::wild::{self, NETWORKS, network_id, start, take};

/// What policies can name a member by, from the records alone.
pub(crate) fn names(intent: &Intent, member: Member) -> BTreeSet<Subject> {
    let mut names = BTreeSet::from([Subject::Everything]);
    match member {
        Member::Node(id) => {
            names.insert(Subject::Node(id));
            names.extend(intent.node(id).unwrap().tags.iter().cloned().map(Subject::Tag));
        }
        Member::Client(id) => {
            let client = intent.client(id).unwrap();
            names.insert(Subject::Client(id));
            names.extend(client.tags.iter().cloned().map(Subject::Tag));
            if let Some(owner) = client.owner {
                names.insert(Subject::User(owner));
                names.extend(intent.user(owner).unwrap().groups.iter().cloned().map(Subject::Group));
            }
        }
        Member::Egress(id) => drop(names.insert(Subject::Egress(id))),
    }
    names
}

/// Brute force.
pub(crate) fn may(
    intent: &Intent,
    network: NetworkId,
    (from, to): (Member, Member),
    (protocol, port): (Protocol, Option<u16>),
) -> bool {
    if intent.network(network).unwrap().access == Access::Allow {
        return true;
    }
    let (from, to) = (names(intent, from), names(intent, to));
    intent.policies_in_network(network).filter(|policy| policy.enabled).any(|policy| {
        let forward = !policy.from.is_disjoint(&from) && !policy.to.is_disjoint(&to);
        let backward = !policy.to.is_disjoint(&from) && !policy.from.is_disjoint(&to);
        let named = policy.services.iter().any(|service| {
            let ports = service.ports();
            let hit = |port| ports.iter().any(|range| range.first() <= port && port <= range.last());
            service.protocol() == protocol && (ports.is_empty() || port.is_some_and(hit))
        });
        (forward || (policy.both && backward)) && (policy.services.is_empty() || named)
    })
}

/// Every edge of every service that the wild has.
pub(crate) fn probes() -> Vec<(Protocol, Option<u16>)> {
    let tcp = [0, 1, 22, 80, 100, 101, 443, 444, 65_535].map(|port| (Protocol::Tcp, Some(port)));
    let udp = [52, 53, 54].map(|port| (Protocol::Udp, Some(port)));
    [(Protocol::Icmp, None), (Protocol::Other(47), None)].into_iter().chain(tcp).chain(udp).collect()
}

fn service(probe: (Protocol, Option<u16>)) -> model::Service {
    match probe {
        (protocol, None) => model::Service::new(protocol, Vec::new()).unwrap(),
        (protocol, Some(port)) => {
            model::Service::new(protocol, vec![model::PortRange::new(port, port).unwrap()]).unwrap()
        }
    }
}

fn pairs(intent: &Intent, network: NetworkId) -> Vec<(Member, Member)> {
    let members: Vec<Member> = members(intent, network).collect();
    let with = |from: Member| members.iter().copied().filter(move |to| *to != from).map(move |to| (from, to));
    members.iter().copied().flat_map(with).collect()
}

fn after(steps: &[wild::Step]) -> Intent {
    let mut intent = start();
    for step in steps {
        if let Some(change) = take(&intent, step) {
            apply(&mut intent, &change);
        }
    }
    intent
}

fn networks() -> impl Iterator<Item = NetworkId> {
    (0..NETWORKS).map(network_id)
}

/// Whether anybody leads to a member, from the records alone.
fn is_led_to(intent: &Intent, member: Member) -> bool {
    let takes_part = |node| intent.node(node).is_some_and(|node: &model::Node| node.takes_part());
    match member {
        Member::Node(_) => true,
        Member::Client(id) => intent.client(id).unwrap().gateways.iter().any(|node| takes_part(*node)),
        Member::Egress(id) => intent.egress(id).unwrap().routers.iter().any(|router| takes_part(router.node)),
    }
}

fn is_router(intent: &Intent, from: Member, to: Member) -> bool {
    match (from, to) {
        (Member::Node(node), Member::Egress(egress)) => {
            intent.egress(egress).unwrap().routers.iter().any(|router| router.node == node)
        }
        _ => false,
    }
}

/// What really happens to a connection, and not what policies alone say.
fn comes_through(
    intent: &Intent,
    network: NetworkId,
    (from, to): (Member, Member),
    probe: (Protocol, Option<u16>),
) -> bool {
    let told = is_led_to(intent, from) && is_led_to(intent, to);
    is_router(intent, from, to) || (told && may(intent, network, (from, to), probe))
}

fn pairs_of(intent: &Intent, test: &PolicyTest) -> u64 {
    let within = |subject: &Subject, member| names(intent, member).contains(subject);
    let pairs = pairs(intent, test.network);
    pairs.iter().filter(|(from, to)| within(&test.from, *from) && within(&test.to, *to)).count() as u64
}

/// Whether a test holds, pair by pair and probe by probe.
fn holds(intent: &Intent, test: &PolicyTest) -> bool {
    let within = |subject: &Subject, member| names(intent, member).contains(subject);
    let probes: Vec<_> =
        probes().into_iter().filter(|(protocol, port)| test.service.permits(*protocol, *port)).collect();
    let pairs = pairs(intent, test.network);
    let mut pairs = pairs.iter().filter(|(from, to)| within(&test.from, *from) && within(&test.to, *to));
    pairs.all(|pair| {
        let allowed = |probe: &(Protocol, Option<u16>)| may(intent, test.network, *pair, *probe);
        match test.expect {
            Access::Allow => probes.iter().all(allowed),
            Access::Deny => !probes.iter().any(allowed),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_pair_is_allowed_what_policies_say(steps in wild::steps(90)) {
        let intent = after(&steps);
        for network in networks() {
            for (from, to) in pairs(&intent, network) {
                for probe in probes() {
                    let expected = may(&intent, network, (from, to), probe);
                    prop_assert_eq!(allowed(&intent, network, from, to, probe.0, probe.1), expected);
                    let explained = explain(&intent, network, from, to, &service(probe));
                    let comes = comes_through(&intent, network, (from, to), probe);
                    prop_assert_eq!(explained.verdict.allows(), comes, "{:?}", explained.verdict);
                    let reverse = comes_through(&intent, network, (to, from), probe);
                    prop_assert_eq!(explained.reverse.allows(), reverse);
                    let opens = intent.network(network).unwrap().access == Access::Allow;
                    match &explained.verdict {
                        Verdict::Policies(policies) => prop_assert!(policies.len() == 1 && !opens),
                        Verdict::Partly(_) => prop_assert!(false, "one port is let through or not"),
                        Verdict::Default(access) => prop_assert_eq!(*access == Access::Allow, opens),
                        Verdict::Unjudged => prop_assert!(is_router(&intent, from, to)),
                        Verdict::Unreached(lost) => prop_assert!(!is_led_to(&intent, *lost)),
                        Verdict::Absent(_) => prop_assert!(false, "both are members"),
                    }
                }
            }
        }
    }

    #[test]
    fn a_disabled_policy_that_is_named_would_decide(steps in wild::steps(90)) {
        let intent = after(&steps);
        for (from, to) in pairs(&intent, network_id(0)) {
            for probe in probes() {
                for policy in explain(&intent, network_id(0), from, to, &service(probe)).disabled {
                    let mut enabled = intent.clone();
                    let old = intent.policy(policy).unwrap();
                    prop_assert!(!old.enabled);
                    let new = model::Policy { enabled: true, ..old.clone() };
                    let change = control::RecordChange::changed(old.clone(), new);
                    let actor = control::ActorName::from_text("system".to_owned());
                    let change = control::Change { actor, command: "wild".into(), records: vec![change] };
                    apply(&mut enabled, &change);
                    prop_assert!(may(&enabled, network_id(0), (from, to), probe));
                }
            }
        }
    }

    #[test]
    fn a_comparison_names_every_pair_that_changes_and_no_other(
        steps in wild::steps(90),
        more in wild::steps(8),
        most in 0usize..40,
    ) {
        let before = after(&steps);
        let mut now = before.clone();
        for step in &more {
            if let Some(change) = take(&now, step) {
                apply(&mut now, &change);
            }
        }
        for network in networks() {
            let all = compare(&before, &now, network, usize::MAX);
            let at = |intent: &Intent, pair: (Member, Member), probe| {
                let there = pair.0.is_in(intent, network) && pair.1.is_in(intent, network);
                there && may(intent, network, pair, probe)
            };
            let mut everybody = pairs(&before, network);
            everybody.extend(pairs(&now, network));
            let both = members(&before, network).chain(members(&now, network)).collect::<BTreeSet<_>>();
            everybody.extend(both.iter().flat_map(|a| both.iter().map(move |b| (*a, *b))));
            everybody.retain(|(from, to)| from != to);
            everybody.sort();
            everybody.dedup();
            for pair in everybody {
                let told = all.pairs.iter().find(|told| (told.from, told.to) == pair);
                for probe in probes() {
                    let (old, new) = (at(&before, pair, probe), at(&now, pair, probe));
                    match told {
                        None => prop_assert_eq!(old, new),
                        Some(told) => {
                            let probe = control::policy::Reach::of(&service(probe));
                            prop_assert_eq!((told.before.covers(&probe), told.after.covers(&probe)), (old, new));
                            prop_assert!(told.before != told.after);
                        }
                    }
                }
            }
            prop_assert_eq!(all.pairs.len() as u64, all.changing);
            let gaining = all.pairs.iter().filter(|pair| !pair.gained().is_nothing()).count() as u64;
            let losing = all.pairs.iter().filter(|pair| !pair.lost().is_nothing()).count() as u64;
            prop_assert_eq!((gaining, losing), (all.gaining, all.losing));
            let some = compare(&before, &now, network, most);
            prop_assert_eq!(&some.pairs[..], &all.pairs[..most.min(all.pairs.len())]);
            prop_assert_eq!(some.changing, all.changing);
        }
    }

    #[test]
    fn tests_hold_where_every_pair_agrees(steps in wild::steps(90)) {
        let intent = after(&steps);
        for network in networks() {
            let failures = run_tests(&intent, network);
            let failed: Vec<_> = failures.iter().map(|failure| failure.test).collect();
            let tests = intent.policy_tests_in_network(network);
            let expected: Vec<_> = tests.filter(|test| !holds(&intent, test)).map(|test| test.id).collect();
            prop_assert_eq!(failed, expected);
            let tests = intent.policy_tests_in_network(network);
            let pairs: Vec<_> = tests.map(|test| (test.id, pairs_of(&intent, test))).collect();
            prop_assert_eq!(pairs_of_tests(&intent, network).into_iter().collect::<Vec<_>>(), pairs);
            for failure in failures {
                let test = intent.policy_test(failure.test).unwrap();
                let (from, to) = failure.example;
                prop_assert!(from != to && names(&intent, from).contains(&test.from));
                prop_assert!(names(&intent, to).contains(&test.to));
            }
        }
    }
}

#[test]
fn the_wild_has_something_of_everything() {
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(wild::step(), 600);
    let steps = strategy.new_tree(&mut runner).unwrap().current();
    let (mut intent, network) = (start(), network_id(0));
    let (mut yes, mut no, mut carried, mut relayed, mut failed) = (0, 0, 0, 0, 0);
    for step in &steps {
        let Some(change) = take(&intent, step) else { continue };
        apply(&mut intent, &change);
        if intent.network(network).unwrap().access == Access::Deny {
            for pair in pairs(&intent, network) {
                let open = may(&intent, network, pair, (Protocol::Tcp, Some(80)));
                *if open { &mut yes } else { &mut no } += 1;
            }
        }
        carried += intent.clients().count() + intent.egresses().count();
        relayed += intent.nodes(None).filter(|node| intent.relay_of(node).is_some()).count();
        failed += networks().flat_map(|network| run_tests(&intent, network)).count();
    }
    assert!(
        yes > 500 && no > 500 && carried > 500 && relayed > 100 && failed > 100,
        "{yes} {no} {carried} {relayed} {failed}"
    );
}
