//! Stories of gateways: clients, routers, the way to the internet, relays.

use std::collections::BTreeSet;

use control::{ClientEdit, Command, Edit, NetworkEdit, NewClient, NewEgress, NodeEdit};
use model::{ClientId, InternetUse, NodeId, Router, WgPublicKey};
use testkit::world::{Border, End, Service, World};

use crate::{BOTH, FIRST, is_answered, millis, seconds, time_until};

pub(crate) fn edit(world: &mut World, node: NodeId, edit: NodeEdit) {
    world.command(Command::UpdateNode { node, edit });
}

fn let_clients_in(world: &mut World, node: NodeId, internet: bool) {
    let duties =
        NodeEdit { remote_access: Some(true), internet_gateway: Some(internet), ..NodeEdit::default() };
    edit(world, node, duties);
}

fn new_client(world: &World, key: WgPublicKey, gateways: Vec<NodeId>, full_tunnel: bool) -> Command {
    let number = world.intent().clients().count();
    Command::CreateClient(NewClient {
        network: world.network(0),
        name: format!("phone-{number}").parse().expect("a name"),
        key,
        addresses: None,
        gateways,
        owner: None,
        enabled: true,
        tags: BTreeSet::new(),
        expires: None,
        ranges: BTreeSet::new(),
        full_tunnel,
        dns: None,
        mtu: None,
        keepalive: None,
    })
}

fn the_client(world: &World) -> ClientId {
    world.intent().clients().next().expect("there is one").id
}

/// A client in the third site, of these gateways.
pub(crate) fn client(world: &mut World, gateways: &[usize], full_tunnel: bool) -> usize {
    let gateways: Vec<NodeId> = gateways.iter().map(|host| world.node(*host, 0)).collect();
    for gateway in &gateways {
        let_clients_in(world, *gateway, full_tunnel);
    }
    let (client, key) = world.foreign(2);
    let made = new_client(world, key, gateways, full_tunnel);
    world.command(made);
    world.run(seconds(2));
    world.import(client);
    world.run(seconds(12));
    client
}

#[test]
fn a_client_that_is_switched_off_is_cut_off_within_a_second() {
    let mut world = World::new(11, &[Border::Open, Border::OneMapping, Border::PerDestination]);
    let (gateway, other) = (world.join(0, FIRST), world.join(1, FIRST));
    world.run(seconds(30));
    let client = client(&mut world, &[gateway], false);
    let (there, back) = (world.address(other, 0).unwrap(), world.client_address(client).unwrap());
    assert!(is_answered(&mut world, End::Client(client), there, Service::Tcp(80)));
    assert!(is_answered(&mut world, End::Host(other), back, Service::Tcp(22)));
    let id = the_client(&world);
    let off = ClientEdit { enabled: Some(false), ..ClientEdit::default() };
    world.command(Command::UpdateClient { client: id, edit: off });
    let took = time_until(&mut world, false, End::Client(client), there, Service::Tcp(80));
    assert!(took < seconds(1), "{took:?}");
    assert!(!is_answered(&mut world, End::Host(other), back, Service::Ping));
    world.settle();
    world.check();
}

#[test]
fn a_client_that_comes_in_elsewhere_is_found_there() {
    let mut world = World::new(12, &[Border::Open, Border::Open, Border::PerDestination]);
    let (one, other) = (world.join(0, FIRST), world.join(1, FIRST));
    let third = world.join(0, FIRST);
    world.run(seconds(30));
    let client = client(&mut world, &[one, other], false);
    let address = world.client_address(client).unwrap();
    assert!(is_answered(&mut world, End::Host(third), address, Service::Ping));
    world.move_to(one, None);
    world.import_by(client, 1);
    let took = time_until(&mut world, true, End::Host(third), address, Service::Ping);
    assert!(took < seconds(15), "{took:?}");
}

#[test]
fn a_client_whose_time_is_over_is_cut_off() {
    let mut world = World::new(13, &[Border::Open, Border::Open, Border::OneMapping]);
    let gateway = world.join(0, FIRST);
    world.run(seconds(30));
    let client = client(&mut world, &[gateway], false);
    let there = world.address(gateway, 0).unwrap();
    let expires = Edit::Set(world.clock() + seconds(20));
    let id = the_client(&world);
    world
        .command(Command::UpdateClient { client: id, edit: ClientEdit { expires, ..ClientEdit::default() } });
    world.run(seconds(15));
    assert!(is_answered(&mut world, End::Client(client), there, Service::Ping));
    let took = time_until(&mut world, false, End::Client(client), there, Service::Ping);
    assert!(took < seconds(6), "{took:?}");
}

fn egress(world: &World, routers: &[usize], mapped: Option<&str>, nat: bool) -> Command {
    let routers = routers.iter().zip(1..);
    Command::CreateEgress(NewEgress {
        network: world.network(0),
        name: "site".parse().expect("a name"),
        range: "172.16.1.0/24".parse().expect("a range"),
        mapped: mapped.map(|mapped| mapped.parse().expect("a range")),
        routers: routers.map(|(host, priority)| Router { priority, node: world.node(*host, 0) }).collect(),
        nat,
        enabled: true,
    })
}

#[test]
fn another_router_takes_over_within_five_seconds_of_the_active_ones_death() {
    for (seed, mapped, nat) in [(21, None, true), (22, None, false), (23, Some("100.64.7.0/24"), true)] {
        let mut world = World::new(seed, &[Border::Open, Border::OneMapping, Border::Open]);
        let routers = [world.join(0, FIRST), world.join(1, FIRST)];
        let asker = world.join(2, FIRST);
        let annex = world.annex("172.16.1.0/24", &routers);
        let made = egress(&world, &routers, mapped, nat);
        world.command(made);
        world.run(seconds(30));
        let there = match mapped {
            Some(_) => "100.64.7.200".parse().unwrap(),
            None => world.annex_address(annex),
        };
        assert!(is_answered(&mut world, End::Host(asker), there, Service::Tcp(443)));
        world.move_to(routers[0], None);
        let took = time_until(&mut world, true, End::Host(asker), there, Service::Tcp(443));
        assert!(took < seconds(5), "{took:?}");
        // It is trusted again only after a while, and then it is the first again.
        world.move_to(routers[0], Some(0));
        world.run(seconds(30));
        world.move_to(routers[1], None);
        assert!(is_answered(&mut world, End::Host(asker), there, Service::Tcp(443)));
        world.settle();
        world.check();
    }
}

#[test]
fn a_router_whose_uplink_dies_while_its_lan_lives_is_left_once_and_for_all() {
    let mut world = World::new(25, &[Border::Open, Border::OneMapping, Border::Open]);
    let routers = [world.join(0, FIRST), world.join(1, FIRST)];
    let asker = world.join(2, FIRST);
    // The routers' own addresses there are told, so the asker knows the first one by an address within the range.
    let annex = world.told_annex("172.16.1.0/24", &routers);
    let made = egress(&world, &routers, None, true);
    world.command(made);
    world.run(seconds(30));
    let there = world.annex_address(annex);
    assert!(is_answered(&mut world, End::Host(asker), there, Service::Tcp(443)));
    world.move_to(routers[0], None);
    let took = time_until(&mut world, true, End::Host(asker), there, Service::Tcp(443));
    assert!(took < seconds(5), "{took:?}");
    // That WireGuard's datagrams never go into their own link is the law of the world.
    for second in 0..300 {
        assert!(is_answered(&mut world, End::Host(asker), there, Service::Ping), "after {second} s");
        world.run(millis(800));
    }
    assert_eq!(world.path(routers[0], routers[1]), "LAN (172.16.1.11:51820)");
    world.move_to(routers[0], Some(0));
    world.run(seconds(60));
    world.settle();
    world.check();
}

/// Everybody fell silent together, so it was the asker who was away.
#[test]
fn a_host_that_was_off_the_net_for_a_moment_goes_on_with_its_best_router() {
    let mut world = World::new(26, &[Border::Open, Border::Open, Border::OneMapping]);
    let (other, first) = (world.join(1, FIRST), world.join(0, FIRST));
    let asker = world.join(2, FIRST);
    let annex = world.annex("172.16.1.0/24", &[first, other]);
    let made = egress(&world, &[first, other], None, true);
    world.command(made);
    world.run(seconds(30));
    let there = world.annex_address(annex);
    for away in [1, 2, 3, 5, 8] {
        world.move_to(asker, None);
        world.run(seconds(away));
        world.move_to(asker, Some(2));
        let took = time_until(&mut world, true, End::Host(asker), there, Service::Tcp(443));
        assert!(took < seconds(4), "{took:?}");
        // Were the other one in use, this would go unanswered.
        world.move_to(other, None);
        assert!(is_answered(&mut world, End::Host(asker), there, Service::Ping), "after {away} s away");
        world.move_to(other, Some(1));
        world.run(seconds(40));
    }
}

#[test]
fn a_router_whose_agent_alone_is_gone_is_left_as_well() {
    let mut world = World::new(24, &[Border::Open, Border::Open, Border::PerDestination]);
    let routers = [world.join(0, FIRST), world.join(1, FIRST)];
    let asker = world.join(2, FIRST);
    let annex = world.annex("172.16.1.0/24", &routers);
    let made = egress(&world, &routers, None, true);
    world.command(made);
    world.run(seconds(30));
    let there = world.annex_address(annex);
    world.crash(routers[0], None);
    for _ in 0..50 {
        assert!(is_answered(&mut world, End::Host(asker), there, Service::Ping), "nothing is lost");
    }
    world.reboot(routers[0]);
    world.crash(routers[0], None);
    assert!(is_answered(&mut world, End::Host(asker), there, Service::Ping), "the other one is in use");
}

fn use_internet(world: &mut World, host: usize, gateway: usize) {
    let (node, gateway) = (world.node(host, 0), world.node(gateway, 0));
    edit(world, gateway, NodeEdit { internet_gateway: Some(true), ..NodeEdit::default() });
    let internet = Edit::Set(InternetUse { gateway: Some(gateway), lan: false });
    edit(world, node, NodeEdit { internet, ..NodeEdit::default() });
}

#[test]
fn nothing_leaves_beside_a_tunnel_whatever_happens_to_its_gateway_and_agent() {
    let mut world = World::new(31, &[Border::Open, Border::OneMapping, Border::Open]);
    let (gateway, host) = (world.join(0, BOTH), world.join(1, BOTH));
    world.run(seconds(30));
    let outside = world.outside();
    assert!(is_answered(&mut world, End::Host(host), outside, Service::Tcp(443)));
    use_internet(&mut world, host, gateway);
    world.run(seconds(2));
    // Whoever hears of it otherwise than by the gateway is against the law of the world.
    assert!(is_answered(&mut world, End::Host(host), outside, Service::Tcp(443)));
    world.move_to(gateway, None);
    for tick in 0..60 {
        assert!(!is_answered(&mut world, End::Host(host), outside, Service::Tcp(443)), "at {tick}");
        match tick {
            10 | 30 => world.crash(host, None),
            20 => world.start(host),
            40 => world.start(host),
            50 => world.move_to(host, Some(2)),
            _ => {}
        }
    }
    // A server that can be reached can always take the gateway away again.
    let node = world.node(host, 0);
    edit(&mut world, node, NodeEdit { internet: Edit::Clear, ..NodeEdit::default() });
    let took = time_until(&mut world, true, End::Host(host), outside, Service::Tcp(443));
    assert!(took < seconds(2), "{took:?}");
    world.move_to(gateway, Some(0));
    world.settle();
    world.check();
}

#[test]
fn nothing_leaves_of_whom_the_internet_gateway_was_taken_until_it_is_to_have_none() {
    let mut world = World::new(33, &[Border::Open, Border::OneMapping]);
    let (gateway, host) = (world.join(0, BOTH), world.join(1, BOTH));
    world.run(seconds(30));
    let outside = world.outside();
    use_internet(&mut world, host, gateway);
    world.run(seconds(2));
    assert!(is_answered(&mut world, End::Host(host), outside, Service::Tcp(443)));
    let id = world.host(gateway);
    world.command(Command::RemoveHost { host: id });
    for tick in 0..20 {
        assert!(!is_answered(&mut world, End::Host(host), outside, Service::Tcp(443)), "at {tick}");
        match tick {
            5 => world.crash(host, None),
            10 => world.start(host),
            _ => {}
        }
    }
    let node = world.node(host, 0);
    edit(&mut world, node, NodeEdit { internet: Edit::Clear, ..NodeEdit::default() });
    let took = time_until(&mut world, true, End::Host(host), outside, Service::Tcp(443));
    assert!(took < seconds(2), "{took:?}");
    world.settle();
    world.check();
}

#[test]
fn a_client_with_a_full_tunnel_reaches_the_internet_by_its_gateway() {
    let mut world = World::new(32, &[Border::Open, Border::Open, Border::OneMapping]);
    let gateway = world.join(0, FIRST);
    world.run(seconds(30));
    let client = client(&mut world, &[gateway], true);
    let outside = world.outside();
    assert!(is_answered(&mut world, End::Client(client), outside, Service::Udp(4500)));
    world.move_to(gateway, None);
    assert!(!is_answered(&mut world, End::Client(client), outside, Service::Udp(4500)));
    world.move_to(gateway, Some(0));
    world.settle();
    world.check();
}

#[test]
fn spokes_reach_each_other_through_their_hub_and_only_while_it_is_there() {
    let mut world = World::new(41, &[Border::Open, Border::PerDestination, Border::PerDestination]);
    let (hub, one, other) = (world.join(0, FIRST), world.join(1, FIRST), world.join(2, FIRST));
    world.run(seconds(60));
    let there = world.address(other, 0).unwrap();
    assert!(!is_answered(&mut world, End::Host(one), there, Service::Ping), "NATs stand between them");
    let node = world.node(hub, 0);
    let hub_is = NetworkEdit { hub: Edit::Set(node), ..NetworkEdit::default() };
    world.command(Command::UpdateNetwork { network: world.network(0), edit: hub_is });
    let took = time_until(&mut world, true, End::Host(one), there, Service::Ping);
    assert!(took < seconds(2), "{took:?}");
    world.move_to(hub, None);
    assert!(!is_answered(&mut world, End::Host(one), there, Service::Ping));
    world.move_to(hub, Some(0));
    let took = time_until(&mut world, true, End::Host(one), there, Service::Ping);
    assert!(took < seconds(10), "{took:?}");
    world.settle();
    world.check();
}
