//! Stories of paths: joining, roaming, restarts.

use std::time::Duration;

use testkit::world::{Border, End, Service, World};

use crate::{BOTH, FIRST, millis};

/// Lets two hosts ping each other ten times a second, both ways, for as long as `during` takes; how many were lost.
fn pings_lost(world: &mut World, one: usize, other: usize, during: &mut dyn FnMut(&mut World, u64)) -> u64 {
    let (there, back) =
        (world.address(other, 0).expect("an address"), world.address(one, 0).expect("an address"));
    let mut sent = Vec::new();
    for tick in 0..600 {
        during(world, tick);
        sent.push(world.ask(End::Host(one), there, Service::Ping));
        sent.push(world.ask(End::Host(other), back, Service::Ping));
        world.run(millis(100));
    }
    world.run(millis(1_000));
    sent.into_iter().filter(|ping| !world.is_answered(*ping)).count() as u64
}

/// How long it takes until a ping from one host to another is answered.
fn time_to_ping(world: &mut World, one: usize, other: usize) -> Duration {
    let start = world.now();
    let mut sent = Vec::new();
    for _ in 0..2_000 {
        let Some(there) = world.address(other, 0) else { panic!("no address") };
        sent.push(world.ask(End::Host(one), there, Service::Ping));
        world.run(millis(10));
        if sent.iter().any(|ping| world.is_answered(*ping)) {
            return world.now() - start;
        }
    }
    panic!("never reached; path: {}", world.path(one, other));
}

#[test]
fn two_hosts_behind_two_nats_reach_each_other_within_a_second_of_joining() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[Border::OneMapping, Border::OneMapping, Border::Open]);
        let one = world.join(0, BOTH);
        world.run(Duration::from_secs(30));
        let other = world.join(1, FIRST);
        let took = time_to_ping(&mut world, other, one);
        assert!(took < millis(500), "seed {seed}: {took:?}");
        world.settle();
        world.check();
        assert!(world.path(one, other).starts_with("direct"), "{}", world.path(one, other));
    }
}

#[test]
fn hosts_behind_one_nat_use_their_lan() {
    let mut world = World::new(1, &[Border::PerDestination]);
    let one = world.join(0, FIRST);
    let other = world.join(0, FIRST);
    world.settle();
    world.check();
    assert_eq!(world.path(one, other), "LAN (192.168.0.11:51820)");
}

#[test]
fn what_two_nats_do_not_allow_is_said_in_words() {
    let mut world = World::new(1, &[Border::PerDestination, Border::PerDestination]);
    let one = world.join(0, FIRST);
    let other = world.join(1, FIRST);
    world.settle();
    world.check();
    assert!(world.path(one, other).starts_with("unreachable: both NATs map per destination"));
}

#[test]
fn a_roam_is_followed_within_two_seconds() {
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 3)] {
        for seed in 0..10 {
            let borders =
                [Border::Open, Border::OneMapping, Border::OneMapping, Border::PerDestination, Border::Open];
            let mut world = World::new(seed, &borders);
            let one = world.join(from, FIRST);
            let other = world.join(if to == 3 { 4 } else { 2 }, FIRST);
            world.run(Duration::from_secs(60));
            world.move_to(one, Some(to));
            let took = time_to_ping(&mut world, other, one);
            assert!(took < millis(500), "from {from} to {to}, seed {seed}: {took:?}");
        }
    }
}

#[test]
fn no_ping_is_lost_while_the_server_is_away_and_comes_back() {
    for forgets in [false, true] {
        let mut world = World::new(3, &[Border::OneMapping, Border::OneMapping]);
        let one = world.join(0, FIRST);
        let other = world.join(1, BOTH);
        world.run(Duration::from_secs(30));
        let lost = pings_lost(&mut world, one, other, &mut |world, tick| match tick {
            50 => world.stop_server(),
            150 => world.start_server(forgets),
            _ => {}
        });
        assert_eq!(lost, 0, "forgets: {forgets}");
        world.settle();
        world.check();
    }
}

#[test]
fn no_ping_is_lost_while_agents_crash_and_start_again() {
    let mut world = World::new(4, &[Border::OneMapping, Border::PerDestination, Border::Open]);
    let one = world.join(0, FIRST);
    let other = world.join(2, FIRST);
    let third = world.join(1, FIRST);
    world.run(Duration::from_secs(30));
    let lost = pings_lost(&mut world, one, other, &mut |world, tick| match tick {
        50 | 200 => world.crash(one, None),
        100 | 250 => world.start(one),
        120 | 300 => world.start(other),
        400 => world.leave(third),
        _ => {}
    });
    assert_eq!(lost, 0);
    world.settle();
    world.check();
}

#[test]
fn no_ping_is_lost_while_others_join_and_leave() {
    let mut world = World::new(5, &[Border::OneMapping, Border::OneMapping, Border::Open]);
    let one = world.join(0, FIRST);
    let other = world.join(1, FIRST);
    world.run(Duration::from_secs(30));
    let lost = pings_lost(&mut world, one, other, &mut |world, tick| match tick {
        50 => drop(world.join(0, BOTH)),
        100 => drop(world.join(2, FIRST)),
        200 => world.leave(2),
        300 => world.remove(3),
        _ => {}
    });
    assert_eq!(lost, 0);
    world.settle();
    world.check();
}

#[test]
fn a_machine_that_reboots_without_its_server_is_back_from_its_stored_map() {
    let mut world = World::new(6, &[Border::Open, Border::OneMapping]);
    let one = world.join(1, FIRST);
    let other = world.join(0, FIRST);
    world.run(Duration::from_secs(30));
    world.stop_server();
    world.run(Duration::from_secs(30));
    world.reboot(one);
    let took = time_to_ping(&mut world, one, other);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_nat_that_restarts_is_followed() {
    let mut world = World::new(7, &[Border::OneMapping, Border::OneMapping]);
    let one = world.join(0, FIRST);
    let other = world.join(1, FIRST);
    world.run(Duration::from_secs(30));
    world.restart_nat(0);
    // The rendezvous sees the new mapping with the next keepalive.
    world.run(Duration::from_secs(25));
    let took = time_to_ping(&mut world, one, other);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
