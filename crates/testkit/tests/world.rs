//! The World under any trouble: machines join, leave, roam, crash and reboot, connections break, datagrams get lost, the
//! server comes and goes. When it has come to rest, every map is the definition's and every pair is probed.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use testkit::world::{Border, NETWORKS, World};

const MOST_HOSTS: usize = 5;
const SITES: usize = 4;

/// What may happen. Hosts, sites and networks are numbers to be taken modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Join { site: usize, networks: [bool; NETWORKS] },
    Leave(usize),
    Remove(usize),
    Switch { host: usize, network: usize, connected: bool },
    Move { host: usize, site: usize },
    Vanish(usize),
    Crash { host: usize, after: Option<usize> },
    Start(usize),
    Reboot(usize),
    BreakLink(usize),
    StopServer,
    StartServer { forgets: bool },
    RestartNat(usize),
    Loss(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let host = 0..MOST_HOSTS;
    let networks = select(vec![[true, false], [false, true], [true, true]]);
    prop_oneof![
        6 => (0..SITES, networks).prop_map(|(site, networks)| Step::Join { site, networks }),
        1 => host.clone().prop_map(Step::Leave),
        1 => host.clone().prop_map(Step::Remove),
        2 => (host.clone(), 0..NETWORKS, any::<bool>())
            .prop_map(|(host, network, connected)| Step::Switch { host, network, connected }),
        4 => (host.clone(), 0..SITES).prop_map(|(host, site)| Step::Move { host, site }),
        1 => host.clone().prop_map(Step::Vanish),
        2 => (host.clone(), proptest::option::of(0usize..6)).prop_map(|(host, after)| Step::Crash { host, after }),
        2 => host.clone().prop_map(Step::Start),
        1 => host.clone().prop_map(Step::Reboot),
        2 => host.prop_map(Step::BreakLink),
        2 => Just(Step::StopServer),
        3 => any::<bool>().prop_map(|forgets| Step::StartServer { forgets }),
        1 => (0..SITES).prop_map(Step::RestartNat),
        1 => select(vec![0u64, 0, 5, 30]).prop_map(Step::Loss),
        12 => select(vec![1u64, 20, 100, 500, 2_000, 10_000, 60_000, 200_000]).prop_map(Step::Wait),
    ]
}

/// Which machines there are, and which are still members.
#[derive(Default)]
struct Members(Vec<bool>);

impl Members {
    fn pick(&self, number: usize) -> Option<usize> {
        let members: Vec<usize> = (0..self.0.len()).filter(|at| self.0[*at]).collect();
        (!members.is_empty()).then(|| members[number % members.len()])
    }
}

fn take(world: &mut World, members: &mut Members, step: &Step) {
    match *step {
        Step::Join { site, networks } => {
            if world.server_is_up() && members.0.len() < MOST_HOSTS {
                world.join(site, networks);
                members.0.push(true);
            }
        }
        Step::Leave(host) | Step::Remove(host) => {
            let Some(host) = members.pick(host).filter(|_| world.server_is_up()) else { return };
            match step {
                Step::Leave(_) => world.leave(host),
                _ => world.remove(host),
            }
            members.0[host] = false;
        }
        Step::Switch { host, network, connected } => {
            let Some(host) = members.pick(host).filter(|_| world.server_is_up()) else { return };
            world.switch(host, network, connected);
        }
        Step::Move { host, site } => {
            members.pick(host).map(|host| world.move_to(host, Some(site)));
        }
        Step::Vanish(host) => {
            members.pick(host).map(|host| world.move_to(host, None));
        }
        Step::Crash { host, after } => {
            members.pick(host).map(|host| world.crash(host, after));
        }
        Step::Start(host) => {
            members.pick(host).map(|host| world.start(host));
        }
        Step::Reboot(host) => {
            members.pick(host).map(|host| world.reboot(host));
        }
        Step::BreakLink(host) => {
            members.pick(host).map(|host| world.break_link(host));
        }
        Step::StopServer => world.stop_server(),
        Step::StartServer { forgets } => world.start_server(forgets),
        Step::RestartNat(site) => world.restart_nat(site),
        Step::Loss(percent) => (world.loss, world.twice) = (percent, percent),
        Step::Wait(millis) => world.run(Duration::from_millis(millis)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_the_end_exactly_those_reach_each_other_who_should(
        seed in 0u64..1_000,
        steps in proptest::collection::vec(step(), 1..30),
    ) {
        let borders = [Border::Open, Border::OneMapping, Border::OneMapping, Border::PerDestination];
        let mut world = World::new(seed, &borders);
        let mut members = Members::default();
        for step in &steps {
            take(&mut world, &mut members, step);
        }
        world.settle();
        world.check();
    }
}
