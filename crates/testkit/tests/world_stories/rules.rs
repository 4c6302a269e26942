//! Stories of rules, approval, expiry and keys.

use std::collections::BTreeSet;

use control::{Command, Edit, NetworkEdit, NewPolicy, NodeEdit};
use model::{Access, Service as Named, Subject};
use testkit::world::{Border, End, Service, World};

use crate::{BOTH, FIRST, is_answered, millis, seconds, time_until};

fn network_edit(world: &mut World, edit: NetworkEdit) {
    let network = world.network(0);
    world.command(Command::UpdateNetwork { network, edit });
}

fn allow(world: &mut World, name: &str, from: Subject, to: Subject, service: Option<&str>) {
    let services: BTreeSet<Named> = service.iter().map(|text| text.parse().expect("a service")).collect();
    world.command(Command::CreatePolicy(NewPolicy {
        network: world.network(0),
        name: name.parse().expect("a name"),
        enabled: true,
        from: BTreeSet::from([from]),
        to: BTreeSet::from([to]),
        services,
        both: false,
    }));
}

#[test]
fn what_a_rule_no_longer_allows_ends_at_once_also_on_connections_that_are_open() {
    let mut world = World::new(51, &[Border::Open, Border::OneMapping]);
    let (one, other) = (world.join(0, FIRST), world.join(1, FIRST));
    network_edit(&mut world, NetworkEdit { access: Some(Access::Deny), ..NetworkEdit::default() });
    world.run(seconds(30));
    let (there, back) = (world.address(other, 0).unwrap(), world.address(one, 0).unwrap());
    assert!(!is_answered(&mut world, End::Host(one), there, Service::Tcp(80)));
    let (from, to) = (Subject::Node(world.node(one, 0)), Subject::Node(world.node(other, 0)));
    allow(&mut world, "web", from, to, Some("tcp/80"));
    let took = time_until(&mut world, true, End::Host(one), there, Service::Tcp(80));
    assert!(took < seconds(2), "{took:?}");
    assert!(!is_answered(&mut world, End::Host(one), there, Service::Tcp(81)));
    assert!(!is_answered(&mut world, End::Host(other), back, Service::Tcp(80)), "one way");
    let open = world.ask_on(End::Host(one), there, Service::Tcp(80), 5_000);
    world.run(millis(300));
    assert!(world.is_answered(open));
    let policy = world.intent().policies_in_network(world.network(0)).next().unwrap().id;
    world.command(Command::DeletePolicy { policy });
    world.run(seconds(1));
    let again = world.ask_on(End::Host(one), there, Service::Tcp(80), 5_000);
    world.run(seconds(1));
    assert!(!world.is_answered(again));
    world.check_keys();
    world.settle();
    world.check();
}

#[test]
fn a_newcomer_waits_until_somebody_lets_it_in() {
    let mut world = World::new(52, &[Border::Open, Border::Open]);
    let one = world.join(0, FIRST);
    network_edit(&mut world, NetworkEdit { approval: Some(true), ..NetworkEdit::default() });
    let other = world.join(1, FIRST);
    world.run(seconds(30));
    let there = world.address(one, 0).unwrap();
    assert!(!is_answered(&mut world, End::Host(other), there, Service::Ping));
    world.check_keys();
    let node = world.node(other, 0);
    world.command(Command::UpdateNode { node, edit: NodeEdit { approve: true, ..NodeEdit::default() } });
    let took = time_until(&mut world, true, End::Host(other), there, Service::Ping);
    assert!(took < seconds(1), "{took:?}");
    world.settle();
    world.check();
}

#[test]
fn a_node_whose_time_is_over_is_gone() {
    let mut world = World::new(53, &[Border::Open, Border::Open]);
    let (one, other) = (world.join(0, BOTH), world.join(1, BOTH));
    world.run(seconds(30));
    let (there, elsewhere) = (world.address(one, 0).unwrap(), world.address(one, 1).unwrap());
    let (node, expires) = (world.node(one, 0), Edit::Set(world.clock() + seconds(20)));
    world.command(Command::UpdateNode { node, edit: NodeEdit { expires, ..NodeEdit::default() } });
    world.run(seconds(18));
    assert!(is_answered(&mut world, End::Host(other), there, Service::Ping));
    let took = time_until(&mut world, false, End::Host(other), there, Service::Ping);
    assert!(took < seconds(3), "{took:?}");
    assert!(is_answered(&mut world, End::Host(other), elsewhere, Service::Ping), "its other node stays");
    world.settle();
    world.check();
}

/// Three hosts ping each other for a while; at each tick of a tenth of a second something may happen.
fn ping_meanwhile(seed: u64, ticks: usize, mut happen: impl FnMut(&mut World, &[usize; 3], usize)) {
    let mut world = World::new(seed, &[Border::OneMapping, Border::OneMapping, Border::Open]);
    let hosts = [world.join(0, BOTH), world.join(1, BOTH), world.join(2, BOTH)];
    world.run(seconds(30));
    let addresses = hosts.map(|host| world.address(host, 0).expect("it has joined"));
    let mut asked = Vec::new();
    for tick in 0..ticks {
        happen(&mut world, &hosts, tick);
        for (from, to) in hosts.iter().flat_map(|from| hosts.iter().map(move |to| (*from, *to))) {
            if from != to {
                asked.push(world.ask(End::Host(from), addresses[to], Service::Ping));
            }
        }
        world.run(millis(100));
    }
    world.run(seconds(6));
    let lost = asked.iter().filter(|question| !world.is_answered(**question)).count();
    assert_eq!(lost, 0, "seed {seed}");
    let old = hosts.iter().zip(1..).filter(|(_, byte)| {
        let key = model::WgPublicKey::from_bytes([*byte; 32]);
        world.intent().host_by_wireguard_key(&key).is_some()
    });
    assert_eq!(old.count(), 0, "all have new keys");
    world.settle();
    world.check();
}

#[test]
fn no_ping_is_lost_while_one_host_after_the_other_changes_its_key() {
    for seed in 54..58 {
        ping_meanwhile(seed, 100, |world, hosts, tick| {
            if tick % 30 == 10
                && let Some(host) = hosts.get(tick / 30)
            {
                let host = Some(world.host(*host));
                world.command(Command::RotateKeys { host });
            }
        });
    }
}

#[test]
fn no_ping_is_lost_while_all_hosts_change_their_keys() {
    for seed in 54..86 {
        ping_meanwhile(seed, 120, |world, _, tick| {
            if tick == 10 {
                world.command(Command::RotateKeys { host: None });
            }
        });
    }
}

#[test]
fn a_change_of_keys_outlives_a_server_that_goes_away_and_agents_that_crash() {
    for seed in 60..72 {
        let mut world = World::new(seed, &[Border::OneMapping, Border::Open]);
        let hosts = [world.join(0, BOTH), world.join(1, BOTH)];
        world.run(seconds(30));
        world.command(Command::RotateKeys { host: None });
        world.run(millis(10 * (seed - 59)));
        world.stop_server();
        world.crash(hosts[0], Some(usize::try_from(seed - 60).unwrap()));
        world.run(seconds(3));
        world.start(hosts[0]);
        world.run(seconds(20));
        world.start_server(false);
        // Longer than the longest pause before another try.
        world.run(seconds(1_000));
        world.settle();
        world.check();
    }
}

#[test]
fn an_ephemeral_machine_that_is_away_is_removed_and_comes_back_by_a_key() {
    let mut world = World::new(58, &[Border::Open, Border::OneMapping]);
    let (one, other) = (world.join(0, FIRST), world.join(1, FIRST));
    world.make_ephemeral(other, true);
    world.run(seconds(1_000));
    assert!(world.is_member(other), "it is there");
    world.move_to(other, None);
    world.run(seconds(200));
    world.stop_server();
    world.start_server(true);
    world.run(seconds(200));
    assert!(world.is_member(other), "after a start all have time to come back");
    world.run(seconds(200));
    assert!(!world.is_member(other));
    world.check_keys();
    world.move_to(other, Some(1));
    assert!(!world.rejoin(other, FIRST), "it does not know yet that it was removed");
    world.run(seconds(120));
    assert!(world.rejoin(other, FIRST));
    let there = world.address(one, 0).unwrap();
    let took = time_until(&mut world, true, End::Host(other), there, Service::Ping);
    assert!(took < seconds(2), "{took:?}");
    world.settle();
    world.check();
}
