//! Routers that die, come back and lose packets, in a world of virtual time.

use std::collections::BTreeMap;

use model::{Addresses, Generation, HostName, Mtu, NetworkId, NetworkName, Ranges, WgPublicKey};
use proptest::prelude::*;
use wire::{Membership, NatMapping, Net, OwnHost, Peer, PeerNode, ServerLinks};

use super::*;

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const RANGE: MemberId = MemberId::from_bytes([200; 16]);
const STEP: Duration = Duration::from_millis(50);

fn host(number: u8) -> HostId {
    HostId::from_bytes([number; 16])
}

fn peer(key: Option<u8>, node: PeerNode) -> Peer {
    Peer {
        name: HostName::nearest("peer"),
        key: key.map(|number| WgPublicKey::from_bytes([number; 32])),
        nodes: vec![node],
        seen: vec![],
        local: vec![],
        fixed: None,
        nat: NatMapping::Unknown,
    }
}

fn map(routers: &[u8]) -> HostMap {
    let name: NetworkName = "net".parse().unwrap();
    let ranges = Ranges::new(Some("10.1.0.0/24".parse().unwrap()), None).unwrap();
    let address = |number: u8| Addresses { v4: Some([10, 1, 0, number].into()), v6: None };
    let mut peers: BTreeMap<MemberId, Peer> = routers
        .iter()
        .map(|number| (host(*number).into(), peer(Some(*number), PeerNode::new(NETWORK, address(*number)))))
        .collect();
    let range = PeerNode {
        ranges: vec![Net("192.168.7.0/24".parse().unwrap())],
        via: routers.iter().map(|number| host(*number)).collect(),
        ..PeerNode::new(NETWORK, Addresses::default())
    };
    peers.insert(RANGE, peer(None, range));
    HostMap {
        generation: Generation::from_number(1),
        host: OwnHost {
            id: host(99),
            name: HostName::nearest("own"),
            mtu: Mtu::DEFAULT,
            seen: vec![],
            nat: NatMapping::Unknown,
            rotate: false,
        },
        server: ServerLinks::default(),
        networks: [(NETWORK, Membership { addresses: address(99), ..Membership::plain(name, ranges) })]
            .into(),
        peers,
    }
}

struct World {
    routers: Routers,
    map: HostMap,
    now: Duration,
    /// Who answers.
    alive: BTreeSet<HostId>,
    /// Nonces on their way back.
    answers: Vec<(Duration, IpAddr, Nonce)>,
    round_trip: Duration,
    /// How much longer it takes to the first router and back.
    farther: Duration,
    /// Of each hundred round trips so many are lost.
    loss: u64,
    random: u64,
    switches: Vec<(Duration, HostId)>,
    probes: usize,
}

impl World {
    fn new(routers: &[u8]) -> Self {
        let mut world = Self {
            routers: Routers::new(7),
            map: map(routers),
            now: Duration::from_secs(5),
            alive: routers.iter().map(|number| host(*number)).collect(),
            answers: vec![],
            round_trip: Duration::from_millis(100),
            farther: Duration::ZERO,
            loss: 0,
            random: 1,
            switches: vec![],
            probes: 0,
        };
        world.routers.handle_map(&world.map, world.now);
        world.settle();
        world
    }

    fn settle(&mut self) {
        while let Some(action) = self.routers.poll_action() {
            match action {
                RouterAction::Probe { host, from, to, nonce } => {
                    assert_eq!(from, IpAddr::from([10, 1, 0, 99]));
                    assert_eq!(to, IpAddr::from([10, 1, 0, host.as_bytes()[0]]));
                    self.probes += 1;
                    self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let lost = (self.random >> 33) % 100 < self.loss;
                    if self.alive.contains(&host) && !lost {
                        let farther = if host == self::host(1) { self.farther } else { Duration::ZERO };
                        self.answers.push((self.now + self.round_trip + farther, to, nonce));
                    }
                }
                RouterAction::Use { member, host } => {
                    assert_eq!(member, RANGE);
                    self.switches.push((self.now, host));
                }
            }
        }
    }

    fn run(&mut self, seconds: u32) {
        self.steps(seconds * 20);
    }

    /// Lets so many times fifty milliseconds pass.
    fn steps(&mut self, steps: u32) {
        for _ in 0..steps {
            self.now += STEP;
            let (due, later) = self.answers.drain(..).partition(|(at, ..)| *at <= self.now);
            self.answers = later;
            let due: Vec<(Duration, IpAddr, Nonce)> = due;
            for (_, from, nonce) in due {
                self.routers.handle_answer(from, nonce, self.now);
                self.settle();
            }
            if self.routers.poll_deadline().is_some_and(|at| at <= self.now) {
                self.routers.handle_deadline(self.now);
                self.settle();
            }
        }
    }

    fn used(&self) -> HostId {
        self.routers.chosen()[&RANGE]
    }
}

#[test]
fn a_dead_router_is_left_within_four_seconds_and_trusted_again_after_ten() {
    let mut world = World::new(&[1, 2]);
    world.run(20);
    assert_eq!((world.used(), world.switches.len()), (host(1), 0));
    let died = world.now;
    world.alive.remove(&host(1));
    world.run(5);
    assert_eq!(world.used(), host(2));
    assert!(world.switches[0].0 - died <= Duration::from_secs(4), "{:?}", world.switches[0].0 - died);

    let back = world.now;
    world.alive.insert(host(1));
    world.run(9);
    assert_eq!(world.used(), host(2));
    world.run(4);
    assert_eq!(world.used(), host(1));
    assert!(world.switches[1].0 - back >= Duration::from_secs(10));
}

#[test]
fn a_router_that_comes_and_goes_is_not_followed() {
    let mut world = World::new(&[1, 2]);
    for _ in 0..20 {
        world.alive.remove(&host(1));
        world.run(5);
        world.alive.insert(host(1));
        world.run(5);
    }
    assert_eq!(world.switches.len(), 1);
}

#[test]
fn without_any_other_one_that_came_back_is_used_soon_and_the_first_if_all_are_dead() {
    let mut world = World::new(&[1, 2]);
    world.alive.clear();
    world.run(10);
    assert_eq!(world.used(), host(1));
    world.alive.insert(host(2));
    world.run(1);
    assert_eq!(world.used(), host(1), "the first may answer too");
    world.run(2);
    assert_eq!(world.used(), host(2));
}

#[test]
fn answers_that_come_late_are_answers() {
    let mut world = World::new(&[1, 2]);
    world.round_trip = Duration::from_millis(1_500);
    world.run(120);
    assert_eq!(world.switches, []);
}

#[test]
fn a_range_with_one_router_is_not_probed_and_a_range_that_goes_is_forgotten() {
    let mut world = World::new(&[1]);
    world.run(5);
    assert_eq!((world.probes, world.routers.poll_deadline()), (0, None));
    let mut world = World::new(&[1, 2]);
    world.run(2);
    assert!((2..=8).contains(&world.probes), "{}", world.probes);
    world.map.peers.remove(&RANGE);
    world.routers.handle_members(&world.map, &BTreeSet::from([RANGE]), world.now);
    assert_eq!((world.routers.poll_deadline(), world.routers.chosen().len()), (None, 0));
}

#[test]
fn a_router_that_the_map_takes_away_is_left_at_once() {
    let mut world = World::new(&[1, 2, 3]);
    world.run(3);
    world.map = map(&[2, 3]);
    world.routers.handle_map(&world.map, world.now);
    world.settle();
    assert_eq!(world.used(), host(2));
    assert_eq!(world.switches.len(), 1);
}

#[test]
fn an_answer_that_nobody_asked_for_proves_nothing() {
    let mut world = World::new(&[1, 2]);
    world.alive.remove(&host(1));
    for number in 0..100u64 {
        world.routers.handle_answer([10, 1, 0, 1].into(), number, world.now);
        world.run(1);
    }
    assert_eq!(world.used(), host(2));
}

proptest! {
    #[test]
    fn a_short_loss_of_all_moves_nothing_whenever_it_is_and_however_late_the_better_one_answers(
        // Otherwise all are asked at the same moments.
        apart in prop::collection::vec(0u64..20, 2),
        before in 0u32..40,
        away in 1u32..400,
        farther in 0u64..350,
    ) {
        let mut world = World::new(&[1]);
        for (steps, routers) in apart.into_iter().zip([&[1u8, 2][..], &[1, 2, 3]]) {
            world.steps(u32::try_from(steps).unwrap());
            world.map = map(routers);
            world.alive.extend(routers.iter().map(|number| host(*number)));
            world.routers.handle_map(&world.map, world.now);
            world.settle();
        }
        world.farther = Duration::from_millis(farther);
        world.steps(100 + before);
        let all = std::mem::take(&mut world.alive);
        world.steps(away);
        world.alive = all;
        world.run(60);
        prop_assert_eq!(world.switches, vec![]);
    }

    #[test]
    fn whatever_happens_the_best_that_lives_is_used_in_the_end_and_a_dead_one_no_longer_than_five_seconds(
        history in prop::collection::vec((prop::collection::btree_set(1u8..4, 0..4), 1u32..30), 1..12),
        loss in 0u64..5,
        seed in any::<u64>(),
    ) {
        let mut world = World::new(&[1, 2, 3]);
        (world.loss, world.random) = (loss, seed);
        for (alive, seconds) in history {
            world.alive = alive.into_iter().map(host).collect();
            let lived = world.alive.contains(&world.used());
            world.run(seconds);
            if seconds >= 5 && loss == 0 && !world.alive.is_empty() {
                prop_assert!(world.alive.contains(&world.used()), "it lived before: {lived}");
            }
        }
        world.loss = 0;
        world.run(30);
        let best = world.alive.first().copied().unwrap_or(host(1));
        prop_assert_eq!(world.used(), best);
    }
}
