//! The World under any trouble: machines join, leave, roam, crash and reboot, connections break, datagrams get lost, the
//! server comes and goes, and people change rules, gateways, clients, ranges and keys meanwhile. Nothing gets through that no
//! intent allows that may still count, names are answered by what each machine was told; and when the world has come to rest,
//! every map is the definition's and every pair is asked for everything.

mod world_common;

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use testkit::world::{Border, NETWORKS, Numbers, Wish, World};

const MOST_HOSTS: usize = 5;
const SITES: usize = 4;

/// What may happen. Hosts are numbers to be taken modulo how many there are.
#[derive(Debug, Clone, Copy)]
enum Step {
    Join { site: usize, networks: [bool; NETWORKS] },
    Host(usize, Happening),
    StopServer,
    StartServer { forgets: bool },
    RestartNat(usize),
    Loss(u64),
    Wait(u64),
    Wish(Wish, Numbers),
}

/// What may happen to a host.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Leaves,
    IsRemoved,
    Switches { network: usize, connected: bool },
    Moves { site: usize },
    Vanishes,
    Crashes { after: Option<usize> },
    Starts,
    Reboots,
    LosesItsLink,
    IsEphemeral(bool),
    JoinsAgain { networks: [bool; NETWORKS] },
}

fn some_networks() -> impl Strategy<Value = [bool; NETWORKS]> {
    select(vec![[true, false, false], [false, true, false], [true, true, false], [false, true, true]])
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => Just(Happening::Leaves),
        1 => Just(Happening::IsRemoved),
        2 => (0..NETWORKS, any::<bool>())
            .prop_map(|(network, connected)| Happening::Switches { network, connected }),
        4 => (0..SITES).prop_map(|site| Happening::Moves { site }),
        1 => Just(Happening::Vanishes),
        2 => proptest::option::of(0usize..6).prop_map(|after| Happening::Crashes { after }),
        2 => Just(Happening::Starts),
        1 => Just(Happening::Reboots),
        2 => Just(Happening::LosesItsLink),
        2 => any::<bool>().prop_map(Happening::IsEphemeral),
        2 => some_networks().prop_map(|networks| Happening::JoinsAgain { networks }),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        6 => Just(Wish::Policy),
        2 => Just(Wish::Access),
        2 => Just(Wish::Tags),
        1 => Just(Wish::Groups),
        4 => Just(Wish::Duties),
        3 => Just(Wish::Relay),
        3 => Just(Wish::Internet),
        4 => Just(Wish::Client),
        2 => Just(Wish::ClientRest),
        3 => Just(Wish::Import),
        4 => Just(Wish::Egress),
        2 => Just(Wish::EgressRest),
        1 => Just(Wish::Expiry),
        1 => Just(Wish::Approval),
        1 => Just(Wish::Rotate),
        1 => Just(Wish::Renumber),
        3 => Just(Wish::Name),
        1 => Just(Wish::Domain),
        5 => Just(Wish::Record),
        2 => Just(Wish::Upstream),
    ]
}

fn wish_step() -> impl Strategy<Value = Step> {
    let numbers = (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| Numbers { a, b, c });
    (wish(), numbers).prop_map(|(wish, numbers)| Step::Wish(wish, numbers))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SITES, some_networks()).prop_map(|(site, networks)| Step::Join { site, networks }),
        16 => (0..MOST_HOSTS, happening()).prop_map(|(host, happening)| Step::Host(host, happening)),
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

fn take(world: &mut World, members: &mut Members, step: Step) {
    match step {
        Step::Join { site, networks } => {
            if world.server_is_up() && members.0.len() < MOST_HOSTS {
                world.join(site, networks);
                members.0.push(true);
            }
        }
        Step::Host(number, happening) => {
            if let Some(host) = members.pick(number) {
                happen(world, members, host, happening);
            }
        }
        Step::StopServer => world.stop_server(),
        Step::StartServer { forgets } => world.start_server(forgets),
        Step::RestartNat(site) => world.restart_nat(site),
        Step::Loss(percent) => (world.loss, world.twice) = (percent, percent),
        Step::Wait(millis) => {
            world.ask_around(12);
            world.run(Duration::from_millis(millis));
        }
        Step::Wish(wish, numbers) => {
            if world.server_is_up() {
                world.wish(wish, numbers);
            }
        }
    }
}

fn happen(world: &mut World, members: &mut Members, host: usize, happening: Happening) {
    let up = world.server_is_up();
    if let Happening::JoinsAgain { networks } = happening {
        // Whoever was removed, for having been away or by somebody.
        let removed = (0..members.0.len()).find(|host| up && world.rejoin(*host, networks));
        removed.into_iter().for_each(|host| members.0[host] = true);
        return;
    }
    if !world.is_member(host) {
        members.0[host] = false;
        return;
    }
    match happening {
        // These need a server.
        Happening::Leaves | Happening::IsRemoved | Happening::Switches { .. } | Happening::IsEphemeral(_)
            if !up => {}
        Happening::Leaves => {
            world.leave(host);
            members.0[host] = false;
        }
        Happening::IsRemoved => {
            world.remove(host);
            members.0[host] = false;
        }
        Happening::Switches { network, connected } => world.switch(host, network, connected),
        Happening::Moves { site } => world.move_to(host, Some(site)),
        Happening::Vanishes => world.move_to(host, None),
        Happening::Crashes { after } => world.crash(host, after),
        Happening::Starts => world.start(host),
        Happening::Reboots => world.reboot(host),
        Happening::LosesItsLink => world.break_link(host),
        Happening::IsEphemeral(ephemeral) => world.make_ephemeral(host, ephemeral),
        Happening::JoinsAgain { .. } => unreachable!("it was dealt with before"),
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
        world.name(world_common::names);
        let mut members = Members::default();
        for step in steps {
            take(&mut world, &mut members, step);
        }
        world.settle();
        world.check();
        world.check_names_without_a_server();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_wished_meanwhile_nothing_gets_through_that_nobody_allows_and_in_the_end_all_that_somebody_does(
        seed in 0u64..1_000,
        sites in proptest::collection::vec(0..SITES, 2..MOST_HOSTS),
        steps in proptest::collection::vec(prop_oneof![1 => step(), 2 => wish_step()], 1..60),
    ) {
        live(seed, &sites, &steps);
    }
}

/// Machines join at these sites, and then this happens.
fn live(seed: u64, sites: &[usize], steps: &[Step]) {
    let borders = [Border::Open, Border::OneMapping, Border::Open, Border::PerDestination];
    let mut world = World::new(seed, &borders);
    world.name(world_common::names);
    let mut members = Members::default();
    for &site in sites {
        let networks = [true, site.is_multiple_of(2), site == 0];
        take(&mut world, &mut members, Step::Join { site, networks });
    }
    for step in steps {
        take(&mut world, &mut members, *step);
        world.check_keys();
        world.check_names();
    }
    world.settle();
    world.check();
    world.check_names_without_a_server();
}

fn wishes(wish: Wish, [a, b, c]: [u8; 3]) -> Step {
    Step::Wish(wish, Numbers { a, b, c })
}

#[test]
fn a_key_that_is_wished_for_again_before_the_host_heard_that_the_server_has_the_last_one_is_made() {
    let steps = [
        wishes(Wish::Rotate, [56, 0, 1]),
        Step::StopServer,
        Step::Wait(10_000),
        Step::Wait(2_000),
        Step::StartServer { forgets: false },
        Step::Wait(500),
        wishes(Wish::Rotate, [0, 0, 0]),
    ];
    live(752, &[1, 1], &steps);
}

#[test]
fn a_link_that_is_made_anew_after_a_reboot_gets_its_settings() {
    let steps = [wishes(Wish::Relay, [58, 43, 1]), Step::Wait(500), Step::Host(4, Happening::Reboots)];
    live(191, &[1, 1, 0, 0], &steps);
}
