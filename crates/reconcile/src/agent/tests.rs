//! The agent as stories, and its laws over anything that may happen.

use std::collections::{BTreeMap, BTreeSet};

use model::{Endpoint, HostId, HostName, Mtu, WgPublicKey};
use proptest::prelude::*;
use wire::{NatMapping, NextKeys, OwnHost, Peer, ServerLinks, delta};

use super::*;

const PEER: HostId = HostId::from_bytes([2; 16]);

fn map(generation: u64) -> HostMap {
    let host = OwnHost {
        id: HostId::from_bytes([1; 16]),
        name: HostName::nearest("own"),
        mtu: Mtu::DEFAULT,
        seen: vec![],
        nat: NatMapping::Unknown,
        rotate: false,
    };
    let generation = Generation::from_number(generation);
    HostMap {
        generation,
        host,
        server: ServerLinks::default(),
        networks: BTreeMap::new(),
        peers: BTreeMap::new(),
    }
}

fn with_peer(generation: u64, key: u8) -> HostMap {
    let peer = Peer {
        name: HostName::nearest("peer"),
        key: Some(WgPublicKey::from_bytes([key; 32])),
        nodes: vec![],
        seen: vec![],
        local: vec![],
        fixed: None,
        nat: NatMapping::Unknown,
    };
    HostMap { peers: BTreeMap::from([(PEER.into(), peer)]), ..map(generation) }
}

fn pushed(from: &HostMap, to: &HostMap) -> AgentEvent {
    AgentEvent::Pushed(Down::Delta(delta(from, to)))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn actions(agent: &mut Agent) -> Vec<AgentAction> {
    std::iter::from_fn(|| agent.poll_action()).collect()
}

/// An agent at rest: connected, its map current.
fn at_rest(generation: u64) -> Agent {
    let mut agent = Agent::new(Some(map(generation)), 7, Duration::ZERO);
    agent.handle(AgentEvent::BrokerUp, Duration::ZERO);
    actions(&mut agent);
    agent.handle(AgentEvent::Answered(Answer::Current), Duration::ZERO);
    assert_eq!(actions(&mut agent), []);
    assert_eq!(agent.poll_deadline(), None, "nothing is polled at rest");
    agent
}

#[test]
fn the_stored_map_is_carried_out_before_anybody_is_asked() {
    let mut agent = Agent::new(Some(map(3)), 7, Duration::ZERO);
    let have = Generation::from_number(3);
    let expected =
        [AgentAction::CarryOut(Changed::Everything), AgentAction::ConnectBroker, AgentAction::Ask { have }];
    assert_eq!(actions(&mut agent), expected);
}

#[test]
fn a_delta_is_on_disk_before_it_is_carried_out_and_names_the_peers_it_is_about() {
    let mut agent = at_rest(3);
    agent.handle(pushed(&map(3), &with_peer(4, 8)), secs(1));
    let changed = |keys: &[u8]| Changed::Peers {
        members: [PEER.into()].into(),
        keys: keys.iter().map(|key| WgPublicKey::from_bytes([*key; 32])).collect(),
        records: BTreeSet::new(),
    };
    assert_eq!(actions(&mut agent), [AgentAction::Store, AgentAction::CarryOut(changed(&[8]))]);
    agent.handle(pushed(&with_peer(4, 8), &with_peer(5, 9)), secs(1));
    assert_eq!(actions(&mut agent), [AgentAction::Store, AgentAction::CarryOut(changed(&[8, 9]))]);
    agent.handle(pushed(&with_peer(5, 9), &map(6)), secs(1));
    assert_eq!(actions(&mut agent), [AgentAction::Store, AgentAction::CarryOut(changed(&[9]))]);
}

#[test]
fn a_burst_of_deltas_is_written_and_carried_out_once() {
    let mut agent = at_rest(3);
    agent.handle(pushed(&map(3), &with_peer(4, 8)), secs(1));
    agent.handle(pushed(&with_peer(4, 8), &map(5)), secs(1));
    let actions = actions(&mut agent);
    assert!(
        matches!(&actions[..], [AgentAction::Store, AgentAction::CarryOut(Changed::Peers { .. })]),
        "{actions:?}"
    );
}

#[test]
fn a_gap_makes_it_ask_and_what_is_old_is_ignored() {
    let mut agent = at_rest(3);
    agent.handle(pushed(&map(2), &with_peer(3, 8)), secs(1));
    assert_eq!(actions(&mut agent), []);
    agent.handle(pushed(&map(4), &with_peer(5, 8)), secs(1));
    assert_eq!(actions(&mut agent), [AgentAction::Ask { have: Generation::from_number(3) }]);
    agent.handle(AgentEvent::Answered(Answer::Whole(map(2))), secs(1));
    assert_eq!(actions(&mut agent), []);
    let (at, _) = agent.poll_deadline().unwrap();
    agent.handle_deadline(at);
    assert_eq!(actions(&mut agent), [AgentAction::Ask { have: Generation::from_number(3) }]);
    agent.handle(AgentEvent::Answered(Answer::Delta(delta(&map(3), &with_peer(5, 8)))), at);
    assert_eq!(agent.map().unwrap().generation, Generation::from_number(5));
    actions(&mut agent);
    agent.handle(AgentEvent::PushedUnreadable, at);
    assert_eq!(actions(&mut agent), [AgentAction::Ask { have: Generation::from_number(5) }]);
}

#[test]
fn deltas_that_do_not_fit_make_it_ask_for_the_whole_map() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::AskNow, secs(1));
    actions(&mut agent);
    agent.handle(AgentEvent::Answered(Answer::Delta(delta(&map(4), &map(5)))), secs(1));
    assert_eq!(actions(&mut agent), [AgentAction::Ask { have: Generation::NONE }]);
}

#[test]
fn without_a_broker_the_server_is_asked_ever_more_rarely_and_no_more_when_it_is_back() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::BrokerDown, secs(1));
    let (mut asks, mut connects, mut now) = (vec![], 0, secs(1));
    while now < secs(600) {
        now = agent.poll_deadline().unwrap().0;
        agent.handle_deadline(now);
        for action in actions(&mut agent) {
            match action {
                AgentAction::ConnectBroker => {
                    connects += 1;
                    agent.handle(AgentEvent::BrokerDown, now);
                }
                AgentAction::Ask { have: _ } => {
                    asks.push(now.as_secs());
                    agent.handle(AgentEvent::Answered(Answer::Current), now);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!((10..25).contains(&asks.len()), "{asks:?}");
    assert!(asks[0] >= 3 && asks[0] <= 6, "{asks:?}");
    assert!((40..90).contains(&connects), "{connects}");

    agent.handle(AgentEvent::BrokerUp, now);
    let have = Generation::from_number(3);
    assert_eq!(actions(&mut agent), [AgentAction::ServerBack, AgentAction::Ask { have }]);
    agent.handle(AgentEvent::Answered(Answer::Current), now);
    assert_eq!(agent.poll_deadline(), None);
}

#[test]
fn what_is_pushed_does_not_make_it_ask_a_server_that_put_it_off() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::AskNow, secs(1));
    actions(&mut agent);
    agent.handle(AgentEvent::AskFailed(AskFailure::Busy(Some(20))), secs(1));
    for event in [pushed(&map(8), &with_peer(9, 8)), AgentEvent::PushedUnreadable] {
        agent.handle(event, secs(2));
        assert_eq!(actions(&mut agent), []);
    }
    agent.handle(AgentEvent::AskNow, secs(2));
    assert!(matches!(&actions(&mut agent)[..], [AgentAction::Ask { .. }]), "a person is not put off");
}

#[test]
fn an_answer_that_pushes_have_overtaken_changes_nothing() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::AskNow, secs(1));
    actions(&mut agent);
    agent.handle(pushed(&map(3), &with_peer(5, 8)), secs(1));
    actions(&mut agent);
    agent.handle(AgentEvent::Answered(Answer::Delta(delta(&map(3), &with_peer(4, 8)))), secs(1));
    assert_eq!(actions(&mut agent), []);
    assert_eq!(agent.map(), Some(&with_peer(5, 8)));
}

#[test]
fn a_map_that_is_not_what_its_generation_should_be_mends_itself() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::AskNow, secs(1));
    actions(&mut agent);
    agent.handle(AgentEvent::Answered(Answer::Whole(with_peer(3, 8))), secs(1));
    assert_eq!(agent.map(), Some(&with_peer(3, 8)));
    assert!(matches!(
        &actions(&mut agent)[..],
        [AgentAction::Store, AgentAction::CarryOut(Changed::Peers { .. })]
    ));
}

#[test]
fn what_catches_up_is_carried_out_for_what_it_changes_alone() {
    let (before, after) = (map(3), with_peer(5, 8));
    let mut catches_up = delta(&before, &after);
    (catches_up.host, catches_up.server) = (Some(after.host.clone()), Some(after.server.clone()));
    catches_up.networks = after.networks.clone();
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::AskNow, secs(1));
    actions(&mut agent);
    agent.handle(AgentEvent::Answered(Answer::Delta(catches_up)), secs(1));
    assert!(matches!(
        &actions(&mut agent)[..],
        [AgentAction::Store, AgentAction::CarryOut(Changed::Peers { .. })]
    ));
}

#[test]
fn who_calls_the_roll_hears_that_this_host_is_there_and_is_asked_only_if_it_knows_more() {
    let call = |newest| AgentEvent::Pushed(Down::Fetch(Generation::from_number(newest)));
    let mut agent = at_rest(3);
    agent.handle(call(4), secs(1));
    let have = Generation::from_number(3);
    assert_eq!(actions(&mut agent), [AgentAction::SayOnline, AgentAction::Ask { have }]);
    agent.handle(AgentEvent::Answered(Answer::Whole(map(4))), secs(1));
    actions(&mut agent);

    for newest in [4, 4, 2, 0] {
        agent.handle(call(newest), secs(2));
        assert_eq!(actions(&mut agent), [AgentAction::SayOnline], "of {newest}");
    }

    let mut new = Agent::new(None, 7, Duration::ZERO);
    new.handle(AgentEvent::BrokerUp, Duration::ZERO);
    actions(&mut new);
    new.handle(AgentEvent::AskFailed(AskFailure::Unreachable), Duration::ZERO);
    let (at, _) = new.poll_deadline().unwrap();
    new.handle_deadline(at);
    assert_eq!(actions(&mut new), [AgentAction::Ask { have: Generation::NONE }]);
    new.handle(AgentEvent::Answered(Answer::Current), at);
    new.handle(call(0), at);
    let expected = [AgentAction::SayOnline, AgentAction::Ask { have: Generation::NONE }];
    assert_eq!(actions(&mut new), expected, "who holds no map asks whatever is called");
}

#[test]
fn who_is_answered_by_a_server_that_leads_no_more_asks_again() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::Pushed(Down::Fetch(Generation::from_number(4))), secs(1));
    let have = Generation::from_number(3);
    assert_eq!(actions(&mut agent), [AgentAction::SayOnline, AgentAction::Ask { have }]);
    agent.handle(AgentEvent::Answered(Answer::Current), secs(1));
    assert_eq!(actions(&mut agent), []);
    let (at, _) = agent.poll_deadline().unwrap();
    assert!(at > secs(1) && at <= secs(2), "after a moment, and not at once");
    agent.handle_deadline(at);
    assert_eq!(actions(&mut agent), [AgentAction::Ask { have }]);
    agent.handle(AgentEvent::Answered(Answer::Whole(map(4))), at);
    assert_eq!(agent.map().unwrap().generation, Generation::from_number(4));
    assert!(!actions(&mut agent).contains(&AgentAction::Ask { have }));
}

#[test]
fn who_calls_the_roll_hears_again_what_was_reported() {
    let mut agent = at_rest(3);
    let local: Vec<Endpoint> = vec!["192.168.1.2:51820".parse().unwrap()];
    agent.handle(AgentEvent::Local(local.clone()), secs(1));
    let report = wire::Report { local, ..wire::Report::default() };
    assert_eq!(actions(&mut agent), [AgentAction::Report(report.clone())]);
    agent.handle(AgentEvent::Reported, secs(1));
    agent.handle(AgentEvent::Pushed(Down::Fetch(Generation::from_number(3))), secs(2));
    assert_eq!(actions(&mut agent), [AgentAction::SayOnline, AgentAction::Report(report)]);
}

#[test]
fn nobody_says_that_it_is_there_over_a_connection_that_was_lost() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::Pushed(Down::Fetch(Generation::from_number(3))), secs(1));
    agent.handle(AgentEvent::BrokerDown, secs(1));
    assert_eq!(actions(&mut agent), []);
    agent.handle(AgentEvent::BrokerUp, secs(2));
    assert!(!actions(&mut agent).contains(&AgentAction::SayOnline), "connecting says it already");
}

#[test]
fn another_broker_is_gone_to_soon_and_at_once_by_who_has_none() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::BrokersChanged, secs(1));
    let (at, wait) = agent.poll_deadline().unwrap();
    assert!(at <= secs(2) && wait == AgentWait::Broker);
    agent.handle_deadline(at);
    assert_eq!(actions(&mut agent), [AgentAction::ConnectBroker]);
    for _ in 0..9 {
        agent.handle(AgentEvent::BrokerDown, at);
    }
    assert_eq!(actions(&mut agent), []);
    agent.handle(AgentEvent::BrokersChanged, at);
    assert_eq!(actions(&mut agent), [AgentAction::ConnectBroker]);
}

#[test]
fn a_map_that_asks_for_a_key_still_when_it_was_brought_has_the_server_asked_what_is_so() {
    let asks = |generation| HostMap { host: OwnHost { rotate: true, ..map(3).host }, ..map(generation) };
    let have = Generation::from_number(4);
    for asked_anew in [false, true] {
        let mut agent = at_rest(3);
        agent.handle(pushed(&map(3), &asks(4)), secs(1));
        assert_eq!(actions(&mut agent).last(), Some(&AgentAction::Rotate));
        agent.handle(AgentEvent::Rotated, secs(1));
        assert_eq!(actions(&mut agent), []);
        let (at, wait) = agent.poll_deadline().unwrap();
        assert_eq!(wait, AgentWait::Rotate);
        agent.handle_deadline(at);
        assert_eq!(actions(&mut agent), [AgentAction::Ask { have }]);
        assert_eq!(agent.poll_deadline(), None);
        let now = if asked_anew { Answer::Current } else { Answer::Whole(map(5)) };
        agent.handle(AgentEvent::Answered(now), at);
        assert_eq!(actions(&mut agent).contains(&AgentAction::Rotate), asked_anew);
    }
}

#[test]
fn a_channel_is_agreed_with_the_key_that_the_map_says_comes_next() {
    let sealing = SealingPublicKey::from_bytes([7; 32]);
    let mut told = map(4);
    told.server.next = Some(NextKeys { sealing, pin: None });
    let mut agent = at_rest(3);
    agent.handle(pushed(&map(3), &told), secs(1));
    actions(&mut agent);
    let (at, wait) = agent.poll_deadline().unwrap();
    assert_eq!(wait, AgentWait::Agree);
    agent.handle_deadline(at);
    assert_eq!(actions(&mut agent), [AgentAction::Agree { server: sealing }]);
    agent.handle(AgentEvent::Agreed(sealing), at);
    assert_eq!(agent.poll_deadline(), None);
    let local: Vec<Endpoint> = vec!["192.168.1.2:51820".parse().unwrap()];
    agent.handle(AgentEvent::Local(local), at);
    actions(&mut agent);
    agent.handle(AgentEvent::Reported, at);
    agent.handle(AgentEvent::Agreed(sealing), at);
    assert!(matches!(&actions(&mut agent)[..], [AgentAction::Report(_)]), "it may have been lost on the way");

    let mut later = Agent::new(Some(told), 7, Duration::ZERO);
    later.report_now(Duration::ZERO);
    assert!(
        actions(&mut later).contains(&AgentAction::Agree { server: sealing }),
        "the shell knows that it has"
    );
}

#[test]
fn a_busy_server_is_given_the_time_it_wants() {
    let mut agent = at_rest(3);
    agent.handle(AgentEvent::AskNow, secs(1));
    actions(&mut agent);
    agent.handle(AgentEvent::AskFailed(AskFailure::Busy(Some(20))), secs(1));
    let (at, wait) = agent.poll_deadline().unwrap();
    assert!(at >= secs(21) && at <= secs(31) && wait == AgentWait::Ask);
}

#[test]
fn a_removed_host_takes_everything_down_and_does_nothing_more() {
    for event in [AgentEvent::Pushed(Down::Removed), AgentEvent::AskFailed(AskFailure::Removed)] {
        let mut agent = at_rest(3);
        agent.handle(event, secs(1));
        agent.handle(AgentEvent::BrokerDown, secs(1));
        assert_eq!(actions(&mut agent), [AgentAction::TakeDown]);
        assert_eq!((agent.poll_deadline(), agent.map()), (None, None));
    }
}

#[test]
fn a_report_is_sent_when_something_in_it_changed_and_again_to_a_server_that_was_away() {
    let mut agent = at_rest(3);
    let local: Vec<Endpoint> = vec!["192.168.1.2:51820".parse().unwrap()];
    agent.handle(AgentEvent::Local(local.clone()), secs(1));
    let report = wire::Report { local: local.clone(), ..wire::Report::default() };
    assert_eq!(actions(&mut agent), [AgentAction::Report(report.clone())]);
    agent.handle(AgentEvent::Local(local.clone()), secs(1));
    agent.handle(AgentEvent::Reported, secs(1));
    agent.handle(AgentEvent::Local(local), secs(2));
    assert_eq!(actions(&mut agent), []);
    assert_eq!(agent.poll_deadline(), None);

    agent.handle(AgentEvent::BrokerDown, secs(3));
    agent.handle(AgentEvent::BrokerUp, secs(4));
    assert!(actions(&mut agent).contains(&AgentAction::Report(report)));
    agent.handle(AgentEvent::ReportFailed, secs(4));
    assert!(matches!(agent.poll_deadline(), Some((at, _)) if at > secs(4)));
}

#[test]
fn a_machine_that_moved_connects_and_asks_anew_at_once_and_one_that_gained_an_address_does_not() {
    let local = |texts: &[&str]| AgentEvent::Local(texts.iter().map(|text| text.parse().unwrap()).collect());
    let mut agent = at_rest(3);
    agent.handle(local(&["192.168.1.2:1"]), secs(1));
    agent.handle(local(&["172.17.0.1:1", "192.168.1.2:1"]), secs(1));
    assert!(matches!(&actions(&mut agent)[..], [AgentAction::Report(_)]));
    agent.handle(local(&[]), secs(2));
    assert_eq!(actions(&mut agent), []);
    agent.handle(AgentEvent::Reported, secs(2));
    actions(&mut agent);
    agent.handle(local(&["10.0.0.2:1"]), secs(3));
    let actions = actions(&mut agent);
    assert!(matches!(&actions[..], [AgentAction::ConnectBroker, AgentAction::Ask { .. }, ..]), "{actions:?}");
}

#[test]
fn generations_carried_out_in_a_burst_are_one_report() {
    let mut agent = at_rest(3);
    for generation in 4..10 {
        agent.handle(AgentEvent::CarriedOut(Generation::from_number(generation), vec![]), secs(1));
        assert_eq!(actions(&mut agent), []);
    }
    let (at, _) = agent.poll_deadline().unwrap();
    agent.handle_deadline(at);
    let actions = actions(&mut agent);
    assert!(
        matches!(&actions[..], [AgentAction::Report(report)] if report.generation == Generation::from_number(9))
    );
}

fn any_event() -> impl Strategy<Value = AgentEvent> {
    let maps = (1u64..8, 1u64..8).prop_map(|(from, to)| delta(&map(from), &with_peer(to, 8)));
    let reply = prop_oneof![
        (0u64..8).prop_map(|generation| Answer::Whole(with_peer(generation, 9))),
        Just(Answer::Current),
        maps.clone().prop_map(Answer::Delta),
    ];
    prop_oneof![
        Just(AgentEvent::BrokerUp),
        Just(AgentEvent::BrokerDown),
        maps.prop_map(|delta| AgentEvent::Pushed(Down::Delta(delta))),
        Just(AgentEvent::PushedUnreadable),
        Just(AgentEvent::BrokersChanged),
        (0u64..8).prop_map(|newest| AgentEvent::Pushed(Down::Fetch(Generation::from_number(newest)))),
        reply.prop_map(AgentEvent::Answered),
        Just(AgentEvent::AskFailed(AskFailure::Unreachable)),
        Just(AgentEvent::Reported),
        Just(AgentEvent::ReportFailed),
        (0u64..8).prop_map(|g| AgentEvent::CarriedOut(Generation::from_number(g), vec![])),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_generations_only_grow_and_what_is_carried_out_is_on_disk(
        events in proptest::collection::vec((any_event(), 0u64..3_000), 0..60),
    ) {
        let mut agent = Agent::new(None, 1, Duration::ZERO);
        let (mut now, mut stored, mut highest) = (Duration::ZERO, None, Generation::NONE);
        for (event, wait) in events {
            now += Duration::from_millis(wait);
            agent.handle(event, now);
            for _ in 0..10 {
                let Some(action) = agent.poll_action() else { break };
                match action {
                    AgentAction::Store => stored = agent.map().cloned(),
                    AgentAction::CarryOut(_) => prop_assert_eq!(agent.map(), stored.as_ref()),
                    AgentAction::TakeDown | AgentAction::ConnectBroker | AgentAction::ServerBack
                    | AgentAction::SayOnline | AgentAction::Ask { .. } | AgentAction::Rotate
                    | AgentAction::Agree { .. } | AgentAction::Report(_) => {}
                }
            }
            prop_assert_eq!(agent.poll_action(), None, "no end of actions");
            let generation = agent.map().map_or(Generation::NONE, |map| map.generation);
            prop_assert!(generation >= highest);
            highest = generation;
        }
    }
}
