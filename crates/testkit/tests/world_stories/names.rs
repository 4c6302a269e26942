//! Stories of names: who is answered for, and for how long.

use std::collections::BTreeSet;

use control::{Command, Edit, NetworkEdit, NewPolicy};
use model::{Access, RecordData, Subject};
use testkit::world::{Border, World};

use crate::gateways::client;
use crate::world_common::names;
use crate::{BOTH, FIRST, seconds};

const BORDERS: [Border; 3] = [Border::Open, Border::OneMapping, Border::Open];

/// Whether a host answers for a name (`host1.net0`), or an address's.
fn answers(world: &World, host: usize, name: &str) -> bool {
    let answered = world.answered(host).expect("its agent answers");
    let (name, of) = (format!("{name}.netloom.internal "), format!(" PTR {name}.netloom.internal"));
    answered.records.iter().any(|line| line.starts_with(&name) || line.ends_with(&of))
}

fn rename(world: &mut World, host: usize, name: &str) {
    let name = Some(name.parse().expect("a name"));
    let (mtu, static_endpoint) = (Edit::Keep, Edit::Keep);
    let host = world.host(host);
    world.command(Command::UpdateHost { host, name, mtu, static_endpoint, default: None, ephemeral: None });
}

#[test]
fn while_the_server_is_dead_names_are_answered_also_by_agents_that_start_anew() {
    let mut world = World::new(71, &BORDERS);
    world.name(names);
    let (one, other) = (world.join(0, BOTH), world.join(1, BOTH));
    client(&mut world, &[one], false);
    let data = RecordData::Txt { text: "hello".to_owned() };
    let (network, name) = (world.network(0), Some("note".parse().expect("a name")));
    world.command(Command::CreateDnsRecord { network, name, ttl: 60, data });
    rename(&mut world, other, "web");
    world.run(seconds(5));
    world.stop_server();
    for start in [World::start, World::reboot, |_: &mut World, _| {}] {
        for host in [one, other] {
            start(&mut world, host);
            world.run(seconds(1));
            for name in ["host0.net0", "host0.net1", "web.net0", "web.net1", "phone-0.net0", "note.net0"] {
                assert!(answers(&world, host, name), "host {host} does not answer for {name}");
            }
            assert!(!answers(&world, host, "host1.net0"), "it is called otherwise now");
        }
        world.run(seconds(3_600));
    }
    world.check_names_without_a_server();
    world.settle();
    world.check();
}

#[test]
fn a_name_that_policy_hides_is_not_answered_until_a_rule_lets_them_talk_and_no_longer_than_that() {
    let mut world = World::new(72, &BORDERS);
    world.name(names);
    let hosts = [world.join(0, FIRST), world.join(1, FIRST), world.join(2, FIRST)];
    let network = world.network(0);
    world.run(seconds(30));
    assert!(answers(&world, hosts[0], "host2.net0"));
    let edit = NetworkEdit { access: Some(Access::Deny), ..NetworkEdit::default() };
    world.command(Command::UpdateNetwork { network, edit });
    world.run(seconds(2));
    let sees = |world: &World| {
        let pairs = hosts.iter().flat_map(|one| hosts.iter().map(move |other| (*one, *other)));
        let sees = |(one, other): &(usize, usize)| answers(world, *one, &format!("host{other}.net0"));
        pairs.filter(|(one, other)| one != other).filter(sees).collect::<Vec<_>>()
    };
    assert_eq!(sees(&world), [], "nobody may talk to anybody");
    let [from, to, _] = hosts.map(|host| BTreeSet::from([Subject::Node(world.node(host, 0))]));
    let (name, services) = ("web".parse().expect("a name"), BTreeSet::from(["tcp/80".parse().expect("one")]));
    world.command(Command::CreatePolicy(NewPolicy {
        network,
        name,
        enabled: true,
        from,
        to,
        services,
        both: false,
    }));
    world.run(seconds(2));
    assert_eq!(sees(&world), [(0, 1), (1, 0)], "these two are partners, and the third is nobody's");
    let policy = world.intent().policies_in_network(network).next().expect("there is one").id;
    world.command(Command::DeletePolicy { policy });
    world.run(seconds(2));
    assert_eq!(sees(&world), []);
    world.settle();
    world.check();
}
