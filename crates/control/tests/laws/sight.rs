//! Laws of who learns of whom, over everything that networks can hold: least knowledge, symmetry of sessions, keys, grants;
//! against an evaluator that knows records only. And the fast ways are the slow way.

use std::collections::{BTreeMap, BTreeSet};

use control::policy::{Member, members};
use control::{Effect, Intent, apply};
use model::{Generation, HostId, MemberId, NetworkId, Node, Protocol};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use wire::{ClientSeen, HostMap, Membership, Party, Report, Way};

use crate::history::{Brain, Did};
use crate::policy::{may, names, probes};
use crate::pools::endpoint;
use crate::shell::{Counts, Habits, Shell, habits, maps};
use crate::wild::{self, NETWORKS, client_id, host_id, network_id, start, take};

const BASE: Generation = Generation::from_number(7);

/// A step of the wild, or something that is seen.
#[derive(Debug, Clone)]
enum Any {
    Wild(wild::Step),
    Seen(u8, u8),
    Clients(u8, Vec<(u8, u8)>),
}

fn any_step() -> impl Strategy<Value = Any> {
    prop_oneof![
        12 => wild::step().prop_map(Any::Wild),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(host, at)| Any::Seen(host, at)),
        2 => (any::<u8>(), prop::collection::vec((any::<u8>(), 0..20u8), 0..3))
            .prop_map(|(host, clients)| Any::Clients(host, clients)),
    ]
}

fn any_steps(most: usize) -> impl Strategy<Value = Vec<Any>> {
    prop::collection::vec(any_step(), 0..most)
}

fn wild_brain() -> Brain {
    let mut brain = Brain::new();
    brain.intent = start();
    brain
}

/// Does a step; none where there is nothing to do.
fn act(brain: &mut Brain, step: &Any) -> Option<Did> {
    match step {
        Any::Wild(step) => {
            let change = take(&brain.intent, step)?;
            apply(&mut brain.intent, &change);
            Some(Did::Decided(Ok(change)))
        }
        Any::Seen(host, at) => {
            let host = host_id(*host);
            let effect = brain.inventory.observe_seen(host, control::Door::First, endpoint(*at), brain.now);
            Some(Did::Observed(host, effect))
        }
        Any::Clients(host, clients) => {
            let host = host_id(*host);
            let seen = clients.iter().map(|(client, ago)| ClientSeen {
                id: client_id(*client).into(),
                endpoint: None,
                handshake: model::Timestamp::from_millis(brain.now.as_millis() - i64::from(*ago)),
                heard: None,
            });
            let local = brain.inventory.host(host).map(|host| host.local.clone()).unwrap_or_default();
            let report = Report { clients: seen.collect(), local, ..Report::default() };
            Some(Did::Observed(host, brain.inventory.observe_report(host, &report, brain.now)))
        }
    }
}

fn after(steps: &[Any]) -> Brain {
    let mut brain = wild_brain();
    for step in steps {
        act(&mut brain, step);
    }
    brain
}

fn run(shell: &mut Shell, steps: &[Any], windows: &[usize]) -> Result<(), TestCaseError> {
    let mut windows = windows.iter().cycle();
    let mut left = 0;
    for step in steps {
        let before = shell.brain.intent.clone();
        if let Some(did) = act(&mut shell.brain, step) {
            shell.did(&before, did);
        }
        if left == 0 {
            shell.flush()?;
            left = *windows.next().unwrap();
        }
        left -= 1;
    }
    shell.flush()
}

/// Brute force: whom a node is told of, from records and the policy evaluator of the tests.
struct Told<'a> {
    intent: &'a Intent,
    network: NetworkId,
    members: Vec<Member>,
}

impl Told<'_> {
    fn of(intent: &Intent, network: NetworkId) -> Told<'_> {
        let all: Vec<Member> = members(intent, network).collect();
        let every = Told { intent, network, members: all.clone() };
        let reached = |member: &Member| match member {
            Member::Node(_) => true,
            Member::Client(_) | Member::Egress(_) => {
                all.iter().any(|carrier| every.carries(*carrier, *member))
            }
        };
        let members = all.iter().copied().filter(reached).collect();
        Told { intent, network, members }
    }

    fn node(&self, member: Member) -> Option<&Node> {
        match member {
            Member::Node(id) => self.intent.node(id),
            Member::Client(_) | Member::Egress(_) => None,
        }
    }

    /// Whether the first leads to the second.
    fn carries(&self, carrier: Member, member: Member) -> bool {
        let Some(carrier) = self.node(carrier) else { return false };
        match member {
            Member::Client(id) => self.intent.client(id).unwrap().gateways.contains(&carrier.id),
            Member::Egress(id) => {
                self.intent.egress(id).unwrap().routers.iter().any(|router| router.node == carrier.id)
            }
            Member::Node(id) => {
                let node = self.intent.node(id).unwrap();
                let hub = self.intent.network(self.network).unwrap().hub;
                id != carrier.id && node.relay.or(hub.filter(|hub| *hub != id)) == Some(carrier.id)
            }
        }
    }

    fn partners(&self, one: Member, other: Member) -> bool {
        let by_policy = |from, to| {
            let all = probes();
            all.into_iter().any(|probe| may(self.intent, self.network, (from, to), probe))
        };
        let uses = |one: Member, other: Member| match one {
            Member::Node(id) => {
                let used = self.intent.node(id).unwrap().internet;
                used.and_then(|used| used.gateway).is_some_and(|gateway| Member::Node(gateway) == other)
            }
            Member::Client(_) | Member::Egress(_) => false,
        };
        by_policy(one, other) || by_policy(other, one) || uses(one, other) || uses(other, one)
    }

    fn to(&self, own: Member) -> BTreeSet<Member> {
        let carried: Vec<Member> = self.members.iter().copied().filter(|it| self.carries(own, *it)).collect();
        let mut told: BTreeSet<Member> = carried.iter().copied().collect();
        for one in carried.iter().chain([&own]) {
            told.extend(self.members.iter().filter(|it| *it != one && self.partners(*one, **it)));
        }
        let first = told.clone();
        let leads =
            |it: &&Member| first.iter().any(|one| self.carries(**it, *one)) || self.carries(**it, own);
        told.extend(self.members.iter().filter(leads));
        told.remove(&own);
        told
    }
}

fn networks() -> impl Iterator<Item = NetworkId> {
    (0..NETWORKS).map(network_id)
}

/// With whom the host has a session, by network.
fn sessions(host: HostId, map: &HostMap) -> BTreeSet<(NetworkId, MemberId)> {
    let mut sessions = BTreeSet::new();
    for (id, peer) in &map.peers {
        for node in &peer.nodes {
            // A range has no session with anybody.
            let has_key = !node.addresses.iter().collect::<Vec<_>>().is_empty();
            if has_key && map.networks[&node.network].way(host, *id, node) == Way::Direct {
                sessions.insert((node.network, *id));
            }
        }
    }
    sessions
}

/// Whether what a host was told lets these connections in.
fn granted(
    membership: &Membership,
    from: (MemberId, &[wire::Class]),
    to: (MemberId, &[wire::Class]),
    probe: (Protocol, Option<u16>),
) -> bool {
    let meant = |party: &Party, (id, classes): (MemberId, &[wire::Class])| match party {
        Party::Everything => true,
        Party::Class(class) => classes.contains(class),
        Party::Member(member) => *member == id,
        Party::Outside => false,
    };
    !membership.guarded
        || membership.grants.iter().any(|grant| {
            grant.from.iter().any(|party| meant(party, from))
                && grant.to.iter().any(|party| meant(party, to))
                && (grant.services.is_empty()
                    || grant.services.iter().any(|service| service.permits(probe.0, probe.1)))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_host_learns_of_those_it_may_talk_to_and_of_who_leads_there_and_of_no_more(steps in any_steps(90)) {
        let brain = after(&steps);
        let maps = maps(&brain, |_| BASE);
        for network in networks() {
            let told = Told::of(&brain.intent, network);
            for node in brain.intent.nodes_in_network(network, None) {
                let own = Member::Node(node.id);
                let expected = if told.members.contains(&own) { told.to(own) } else { BTreeSet::new() };
                let expected: BTreeSet<MemberId> =
                    expected.into_iter().map(|it| it.id(&brain.intent).unwrap()).collect();
                let peers = maps[&node.host].peers.iter();
                let named = peers.filter(|(_, peer)| peer.nodes.iter().any(|node| node.network == network));
                prop_assert_eq!(named.map(|(id, _)| *id).collect::<BTreeSet<_>>(), expected);
            }
        }
        for (host, map) in &maps {
            prop_assert!(!map.peers.contains_key(&(*host).into()));
            let own: Vec<_> = brain.intent.nodes_of_host(*host).map(|node| node.network).collect();
            prop_assert_eq!(map.networks.keys().copied().collect::<Vec<_>>(), own);
            for other in maps.keys() {
                let told = map.peers.contains_key(&(*other).into());
                prop_assert_eq!(control::plan::may_talk(&brain.intent, *host, *other), told);
            }
        }
    }

    #[test]
    fn sessions_are_symmetric_and_no_key_is_told_without_one(steps in any_steps(90)) {
        let brain = after(&steps);
        let maps = maps(&brain, |_| BASE);
        let all: BTreeMap<HostId, _> = maps.iter().map(|(host, map)| (*host, sessions(*host, map))).collect();
        for (host, map) in &maps {
            for (network, other) in &all[host] {
                let Some(theirs) = all.get(&HostId::from_bytes(*other.as_bytes())) else { continue };
                prop_assert!(theirs.contains(&(*network, (*host).into())), "{host} {other}");
            }
            for (id, peer) in &map.peers {
                let has = networks().any(|network| all[host].contains(&(network, *id)));
                prop_assert_eq!(peer.key.is_some(), has);
                let endpoints = peer.seen.len() + peer.local.len() + usize::from(peer.fixed.is_some());
                prop_assert!(has || endpoints == 0);
                // Who is named as a way is told of as well, or is the host itself; a relay may pause.
                for node in &peer.nodes {
                    let is_node = maps.contains_key(&HostId::from_bytes(*id.as_bytes()));
                    prop_assert_eq!(node.relayed, is_node && !node.via.is_empty());
                    for via in &node.via {
                        let known = via == host || map.peers.contains_key(&(*via).into());
                        prop_assert!(known || is_node, "{host} {id}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_hosts_are_granted_is_what_policies_say(steps in any_steps(90)) {
        let brain = after(&steps);
        let intent = &brain.intent;
        let maps = maps(&brain, |_| BASE);
        for network in networks() {
            let told = Told::of(intent, network);
            let seen = |it: Member| -> (MemberId, Vec<wire::Class>) {
                let id = it.id(intent).unwrap();
                let own = maps.get(&HostId::from_bytes(*id.as_bytes()));
                let others = || maps.values().find_map(|map| {
                    map.peers.get(&id)?.nodes.iter().find(|node| node.network == network).map(|node| node.classes.clone())
                });
                let own = own.and_then(|map| map.networks.get(&network)).map(|own| own.classes.clone());
                (id, own.or_else(others).unwrap_or_default())
            };
            for to in &told.members {
                let guards: Vec<Member> = match to {
                    Member::Node(_) => vec![*to],
                    Member::Client(_) | Member::Egress(_) => {
                        told.members.iter().copied().filter(|it| told.carries(*it, *to)).collect()
                    }
                };
                for guard in guards {
                    let host = HostId::from_bytes(*guard.id(intent).unwrap().as_bytes());
                    let membership = &maps[&host].networks[&network];
                    for from in told.members.iter().filter(|from| *from != to) {
                        let (one, other) = (seen(*from), seen(*to));
                        for probe in probes() {
                            let expected = may(intent, network, (*from, *to), probe);
                            let found = granted(membership, (one.0, &one.1), (other.0, &other.1), probe);
                            prop_assert_eq!(found, expected, "{:?} {:?}", names(intent, *from), names(intent, *to));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_wild_input_gives_the_same_bytes(steps in any_steps(90)) {
        let brain = after(&steps);
        let mut again = brain.clone();
        again.intent = wild::again(&brain.intent);
        let inventory = brain.inventory.hosts().map(|(host, entry)| (host, entry.clone()));
        again.inventory = inventory.collect();
        prop_assert_eq!(&again.inventory, &brain.inventory);
        let bytes = |brain: &Brain| maps(brain, |_| BASE).values().map(wire::encode).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&again), bytes(&brain));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_ways_are_the_slow_way_in_the_wild(steps in any_steps(120), habits in habits(1)) {
        let windows = habits.windows.clone();
        run(&mut Shell::new(wild_brain(), habits), &steps, &windows)?;
    }

    #[test]
    fn wild_changes_that_go_out_together_are_one_delta(steps in any_steps(160), habits in habits(20)) {
        let windows = habits.windows.clone();
        run(&mut Shell::new(wild_brain(), habits), &steps, &windows)?;
    }
}

#[test]
fn the_wild_tells_catches_up_and_fetches() {
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(any_step(), 1_500).new_tree(&mut runner).unwrap().current();
    let habits = Habits { most: 4, windows: vec![1], at_once: true, roomy: false };
    let mut shell = Shell::new(wild_brain(), habits);
    run(&mut shell, &steps, &[1, 1, 7, 2]).unwrap();
    let Counts { told, fetch, caught_up, refused, parts, kept } = shell.counts;
    assert!(told > 500 && fetch > 100 && caught_up > 500, "{told} {fetch} {caught_up}");
    assert!(refused > 500 && parts > 500 && kept > 30, "{refused} {parts} {kept}");
}

#[test]
fn a_client_is_looked_for_where_it_came_in_last() {
    let mut brain = after(&[]);
    let report = |handshake: i64| Report {
        clients: vec![ClientSeen {
            id: client_id(0).into(),
            endpoint: None,
            handshake: model::Timestamp::from_millis(handshake),
            heard: None,
        }],
        ..Report::default()
    };
    let (one, other) = (host_id(1), host_id(2));
    let mut hear = |host, at| brain.inventory.observe_report(host, &report(at), brain.now);
    assert_eq!(hear(one, 10), Effect::Maps);
    assert_eq!(hear(one, 20), Effect::None);
    assert_eq!(hear(other, 30), Effect::Maps);
    assert_eq!(hear(other, 40), Effect::None);
    assert_eq!(hear(one, 50), Effect::Maps);
    let among = [one, other];
    assert_eq!(brain.inventory.client_at(client_id(0), &among).map(|(host, _)| host), Some(one));
    // A host that is none of its gateways may say what it likes.
    assert_eq!(brain.inventory.client_at(client_id(0), &among[1..]).map(|(host, _)| host), Some(other));
    brain.inventory.forget(one);
    assert_eq!(brain.inventory.client_at(client_id(0), &among).map(|(host, _)| host), Some(other));
}
