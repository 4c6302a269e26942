//! Stories of hosts in more than one network: what they do for one they do not do for the other.

use control::{Command, Edit, NewEgress, NodeEdit};
use model::{InternetUse, Router};
use testkit::world::{Border, End, NETWORKS, Service, World};

use crate::gateways::{client, edit};
use crate::{BOTH, FIRST, is_answered, seconds};

const SECOND: [bool; NETWORKS] = [false, true, false];
const SITE: &str = "172.16.1.0/24";

fn leads_to_the_site(world: &mut World, router: usize, network: usize, mapped: Option<&str>, nat: bool) {
    let made = Command::CreateEgress(NewEgress {
        network: world.network(network),
        name: "site".parse().expect("a name"),
        range: SITE.parse().expect("a range"),
        mapped: mapped.map(|mapped| mapped.parse().expect("a range")),
        routers: [Router { priority: 1, node: world.node(router, network) }].into(),
        nat,
        enabled: true,
    });
    world.command(made);
}

#[test]
fn a_site_that_has_another_range_in_one_of_two_networks_reaches_both_and_is_reached_from_both() {
    for nat in [[false, false], [false, true], [true, false]] {
        let mut world = World::new(61, &[Border::Open, Border::OneMapping, Border::Open]);
        let router = world.join(0, BOTH);
        let askers = [world.join(1, FIRST), world.join(2, SECOND)];
        let annex = world.annex(SITE, &[router]);
        let named = "100.64.7.200".parse().expect("an address");
        leads_to_the_site(&mut world, router, 0, None, nat[0]);
        leads_to_the_site(&mut world, router, 1, Some("100.64.7.0/24"), nat[1]);
        world.run(seconds(30));
        for (network, there) in [world.annex_address(annex), named].into_iter().enumerate() {
            let asker = askers[network];
            assert!(
                is_answered(&mut world, End::Host(asker), there, Service::Tcp(443)),
                "in network {network}"
            );
            let back = world.address(asker, network).expect("it has one");
            assert!(
                is_answered(&mut world, End::Annex(annex), back, Service::Tcp(22)),
                "to network {network}"
            );
        }
        world.settle();
        world.check();
    }
}

#[test]
fn a_router_that_goes_out_through_an_internet_gateway_still_leads_to_its_site() {
    for lan in [false, true] {
        let mut world = World::new(62, &[Border::Open, Border::Open, Border::OneMapping]);
        let (router, gateway, asker) = (world.join(0, FIRST), world.join(1, FIRST), world.join(2, FIRST));
        let annex = world.annex(SITE, &[router]);
        leads_to_the_site(&mut world, router, 0, None, true);
        let [node, out] = [router, gateway].map(|host| world.node(host, 0));
        edit(&mut world, out, NodeEdit { internet_gateway: Some(true), ..NodeEdit::default() });
        let internet = Edit::Set(InternetUse { gateway: Some(out), lan });
        edit(&mut world, node, NodeEdit { internet, ..NodeEdit::default() });
        world.run(seconds(30));
        let (there, back) = (world.annex_address(annex), world.address(asker, 0).expect("it has one"));
        assert!(is_answered(&mut world, End::Host(asker), there, Service::Tcp(443)), "LAN: {lan}");
        assert!(is_answered(&mut world, End::Annex(annex), back, Service::Tcp(443)), "LAN: {lan}");
        assert!(is_answered(&mut world, End::Host(router), there, Service::Ping), "LAN: {lan}");
        world.settle();
        world.check();
    }
}

#[test]
fn a_full_tunnel_is_no_way_into_the_other_networks_of_its_gateway() {
    let mut world = World::new(63, &[Border::Open, Border::Open, Border::OneMapping]);
    let (gateway, other) = (world.join(0, BOTH), world.join(1, SECOND));
    world.run(seconds(30));
    let client = client(&mut world, &[gateway], true);
    let outside = world.outside();
    assert!(is_answered(&mut world, End::Client(client), outside, Service::Tcp(443)));
    for (host, network, answered) in [(gateway, 0, true), (gateway, 1, false), (other, 1, false)] {
        let there = world.address(host, network).expect("it has one");
        assert_eq!(is_answered(&mut world, End::Client(client), there, Service::Ping), answered, "{there}");
    }
    world.settle();
    world.check();
}
