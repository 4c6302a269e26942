//! Stories of the World: what must go fast and what must not be lost, in virtual time.

mod gateways;
mod names;
mod networks;
mod paths;
mod rules;
mod second_gateway;
#[path = "../world_common/mod.rs"]
mod world_common;

use std::net::IpAddr;
use std::time::Duration;

use testkit::world::{End, NETWORKS, Service, World};

const BOTH: [bool; NETWORKS] = [true, true, false];
const FIRST: [bool; NETWORKS] = [true, false, false];

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Whether somebody is answered now.
fn is_answered(world: &mut World, from: End, to: IpAddr, service: Service) -> bool {
    let question = world.ask(from, to, service);
    world.run(millis(200));
    world.is_answered(question)
}

/// How long it takes until what somebody asks is answered, or is answered no more.
fn time_until(world: &mut World, answered: bool, from: End, to: IpAddr, service: Service) -> Duration {
    let start = world.now();
    for _ in 0..600 {
        let asked = world.now() - start;
        if is_answered(world, from, to, service) == answered {
            return asked;
        }
    }
    panic!("{from:?} asks {to} for {service:?}; never answered as it should be: {answered}");
}
