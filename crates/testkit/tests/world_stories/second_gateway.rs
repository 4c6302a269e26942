//! Stories of clients that come in by their second gateway: the first one reaches them, and whoever is reached through it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use control::{Command, Edit, NetworkEdit, NewPolicy, NodeEdit};
use model::{Access, Subject};
use testkit::world::{Border, End, Service, World};

use crate::gateways::{client, edit};
use crate::{FIRST, is_answered, seconds, time_until};

/// A client of two gateways, and those who look for it.
struct Scene {
    world: World,
    /// Its gateways, in order.
    gates: [usize; 2],
    phone: usize,
    /// The gateways, a node that is reached through the first, a client of the first alone, and a node besides.
    others: Vec<End>,
}

fn scene(seed: u64) -> Scene {
    let mut world = World::new(seed, &[Border::Open, Border::Open, Border::PerDestination]);
    let gates = [world.join(0, FIRST), world.join(1, FIRST)];
    let (spoke, besides) = (world.join(2, FIRST), world.join(0, FIRST));
    world.run(seconds(30));
    let (node, relay) = (world.node(spoke, 0), world.node(gates[0], 0));
    edit(&mut world, node, NodeEdit { relay: Edit::Set(relay), ..NodeEdit::default() });
    let phone = client(&mut world, &gates, false);
    let tablet = client(&mut world, &gates[..1], false);
    let hosts = gates.iter().chain([&spoke, &besides]).map(|host| End::Host(*host));
    let others = hosts.chain([End::Client(tablet)]).collect();
    Scene { world, gates, phone, others }
}

impl Scene {
    fn address(&self, end: End) -> IpAddr {
        let found = match end {
            End::Host(host) => self.world.address(host, 0),
            End::Client(client) => self.world.client_address(client),
            End::Annex(_) | End::Outside => None,
        };
        found.expect("it has an address")
    }

    fn gate(&self, number: usize) -> End {
        End::Host(self.gates[number])
    }

    fn finds(&mut self, from: End, within: u64) {
        let phone = self.address(End::Client(self.phone));
        let took = time_until(&mut self.world, true, from, phone, Service::Tcp(80));
        assert!(took <= seconds(within), "{from:?} finds it after {took:?}");
    }

    fn all_find_it(&mut self, within: u64) {
        for end in self.others.clone() {
            self.finds(end, within);
            let there = self.address(end);
            assert!(self.phone_asks(there), "it reaches {end:?}");
        }
    }

    fn phone_asks(&mut self, there: IpAddr) -> bool {
        is_answered(&mut self.world, End::Client(self.phone), there, Service::Ping)
    }
}

#[test]
fn the_first_gateway_and_whoever_is_behind_it_reach_a_client_at_the_second() {
    let mut scene = scene(61);
    scene.all_find_it(1);
    for choice in [1, 0, 1] {
        scene.world.import_by(scene.phone, choice);
        scene.all_find_it(8);
    }
    // What is known for long is known.
    scene.world.run(seconds(900));
    scene.all_find_it(0);
    let used = scene.world.client_gateway(scene.phone);
    assert_eq!(used, Some(scene.gates[1]));
    scene.world.settle();
    scene.world.check();
}

#[test]
fn without_the_server_a_client_is_reached_where_it_shakes_hands_and_by_the_map_when_it_is_gone_from_there() {
    let mut scene = scene(62);
    scene.world.import_by(scene.phone, 1);
    scene.all_find_it(8);
    scene.world.run(seconds(60));
    scene.world.stop_server();

    scene.world.import_by(scene.phone, 0);
    let behind = [scene.gate(0), scene.others[2], scene.others[4]];
    for end in behind {
        scene.finds(end, 3);
        let there = scene.address(end);
        assert!(scene.phone_asks(there), "it reaches {end:?}");
    }
    // Neither time nor an agent that starts again changes that.
    for _ in 0..5 {
        scene.world.run(seconds(200));
        scene.world.crash(scene.gates[0], None);
        scene.world.run(seconds(5));
        scene.world.start(scene.gates[0]);
        scene.finds(behind[0], 0);
    }

    // It goes back without a word: to the one gateway at once, to the other as soon as its session is over.
    scene.world.import_by(scene.phone, 1);
    scene.finds(scene.gate(1), 3);
    scene.world.run(seconds(100));
    for end in behind {
        scene.finds(end, 85);
    }

    scene.world.import_by(scene.phone, 0);
    scene.finds(behind[0], 3);
    scene.world.start_server(false);
    scene.world.run(seconds(60));
    scene.all_find_it(0);
    scene.world.settle();
    scene.world.check();
}

#[test]
fn each_of_two_gateways_judges_what_goes_to_a_client_while_it_is_there() {
    let mut scene = scene(63);
    let network = scene.world.network(0);
    let guard = NetworkEdit { access: Some(Access::Deny), ..NetworkEdit::default() };
    scene.world.command(Command::UpdateNetwork { network, edit: guard });
    let phone = scene.world.intent().clients().find(|it| it.gateways.len() == 2).expect("there is one").id;
    let gate = scene.world.node(scene.gates[0], 0);
    scene.world.command(Command::CreatePolicy(NewPolicy {
        network,
        name: "web".parse().expect("a name"),
        enabled: true,
        from: BTreeSet::from([Subject::Node(gate)]),
        to: BTreeSet::from([Subject::Client(phone)]),
        services: BTreeSet::from(["tcp/80".parse().expect("a service")]),
        both: false,
    }));
    let first = scene.gate(0);
    let address = scene.address(End::Client(scene.phone));
    for choice in [0, 1, 0] {
        scene.world.import_by(scene.phone, choice);
        scene.finds(first, 8);
        for end in scene.others.clone() {
            for service in [Service::Tcp(80), Service::Tcp(81), Service::Ping] {
                let may = end == first && service == Service::Tcp(80);
                let asked = is_answered(&mut scene.world, end, address, service);
                assert_eq!(asked, may, "{end:?} asks it for {service:?}");
            }
            let there = scene.address(end);
            assert!(!scene.phone_asks(there), "nobody lets it ask {end:?}");
        }
    }
    scene.world.settle();
    scene.world.check();
}
