//! Ways to ranges outside of a network.

use control::{Command, Edit, EgressEdit, NewEgress, Rejection};
use model::{Addresses, EgressId, NetworkId, Router, Uses};

use crate::office::{Office, refused};
use crate::server::{machine, ranges};

fn refuses(office: &mut Office, new: NewEgress, parts: &[&str]) -> &'static str {
    refused(office.give(Command::CreateEgress(new)), parts)
}

#[test]
fn a_range_is_one_that_a_router_can_lead_to() {
    let mut office = Office::new();
    for (range, code, part) in [
        ("0.0.0.0/0", "range-too-large", "internet gateway"),
        ("128.0.0.0/1", "range-too-large", "internet gateway"),
        ("192.168.1.9/24", "not-a-range", "192.168.1.0/24"),
        ("127.0.0.0/24", "range-reserved", "127.0.0.0/8"),
        ("239.0.0.0/8", "range-reserved", "multicast"),
        ("169.254.169.254/32", "range-reserved", "link-local"),
        ("fd00:3::/64", "range-family", "`office`"),
        ("10.0.0.0/8", "ranges-overlap", "network `office`"),
        ("10.7.0.64/26", "ranges-overlap", "10.7.0.0/24"),
    ] {
        let new = office.new_egress("shop", range, &["ada"]);
        assert_eq!(refuses(&mut office, new, &[range, part]), code);
    }
    office.egress("shop", "192.168.1.0/24", &["ada"]);
}

#[test]
fn no_two_are_reached_as_the_same_but_a_mapped_range_tells_them_apart() {
    let mut office = Office::new();
    office.egress("shop", "192.168.1.0/24", &["ada"]);
    let same = office.new_egress("branch", "192.168.1.0/24", &["bob"]);
    let parts = ["192.168.1.0/24", "egress range `shop`", "`office`", "`mapped`"];
    assert_eq!(refuses(&mut office, same.clone(), &parts), "range-overlaps-egress");
    let mapped = |text: &str| NewEgress { mapped: Some(text.parse().unwrap()), ..same.clone() };
    assert_eq!(
        refuses(&mut office, mapped("10.99.0.0/16"), &["192.168.1.0/24", "10.99.0.0/16"]),
        "mapped-unequal"
    );
    assert_eq!(refuses(&mut office, mapped("10.7.0.0/24"), &["network `office`"]), "ranges-overlap");
    assert_eq!(refuses(&mut office, mapped("192.168.1.0/24"), &["`shop`"]), "range-overlaps-egress");
    office.give(Command::CreateEgress(mapped("10.99.1.0/24"))).unwrap();
    let network = Command::CreateNetwork {
        name: "lab".parse().unwrap(),
        ranges: Some(ranges("10.99.0.0/16")),
        keepalive: None,
        access: None,
        approval: false,
        domain: None,
    };
    assert_eq!(refused(office.give(network), &["10.99.1.0/24", "`branch`"]), "range-overlaps-egress");
    let branch = office.server.intent.egress_by_name(office.network, &"branch".parse().unwrap()).unwrap().id;
    let edit = EgressEdit { mapped: Edit::Clear, ..EgressEdit::default() };
    assert_eq!(
        refused(office.give(Command::UpdateEgress { egress: branch, edit }), &["`shop`"]),
        "range-overlaps-egress"
    );
}

#[test]
fn networks_that_choose_ranges_themselves_stay_clear_of_sites() {
    let mut office = Office::new();
    for second in 64..96 {
        let name = format!("site-{second}");
        office.egress(&name, &format!("10.{second}.0.0/16"), &["ada"]);
    }
    let lab = Command::CreateNetwork {
        name: "lab".parse().unwrap(),
        ranges: None,
        keepalive: None,
        access: None,
        approval: false,
        domain: None,
    };
    office.give(lab).unwrap();
    let chosen = office.server.intent.network_by_name(&"lab".parse().unwrap()).unwrap().ranges.v4().unwrap();
    assert!(!(64..96).contains(&chosen.network().octets()[1]), "{chosen}");
}

#[test]
fn routers_are_nodes_of_the_network_each_once() {
    let mut office = Office::new();
    let new = office.new_egress("shop", "192.168.1.0/24", &[]);
    assert_eq!(refuses(&mut office, new.clone(), &["router"]), "none-given");
    let ada = office.id("ada");
    let twice = [1, 2].map(|priority| Router { priority, node: ada }).into();
    let twice = NewEgress { routers: twice, ..new.clone() };
    assert_eq!(refuses(&mut office, twice, &["host `ada`", "twice"]), "router-twice");
    let lab = office.server.network("lab", "10.8.0.0/24");
    let elsewhere = NewEgress { network: lab, ..office.new_egress("shop", "192.168.1.0/24", &["ada"]) };
    assert_eq!(refuses(&mut office, elsewhere, &["host `ada`", "`lab`"]), "node-elsewhere");
    let many = (0..17).map(|priority| Router { priority, node: ada }).collect();
    assert_eq!(refuses(&mut office, NewEgress { routers: many, ..new }, &["16 routers"]), "too-many");
}

#[test]
fn names_are_one_egress_ranges_in_a_network() {
    let mut office = Office::new();
    let shop = office.egress("shop", "192.168.1.0/24", &["ada"]);
    let again = office.new_egress("shop", "192.168.2.0/24", &["ada"]);
    assert_eq!(refuses(&mut office, again, &["`shop`", "`office`"]), "egress-name-taken");
    let same = EgressEdit { name: Some("shop".parse().unwrap()), ..EgressEdit::default() };
    assert!(office.give(Command::UpdateEgress { egress: shop, edit: same }).unwrap().is_empty());
    let egress = EgressId::from_bytes([9; 16]);
    assert_eq!(office.give(Command::DeleteEgress { egress }), Err(Rejection::NoSuchEgress { egress }));
}

const SITE: &str = "192.168.7.0/24";

fn mapped(office: &Office, name: &str, to: &str, routers: &[&str]) -> NewEgress {
    NewEgress { mapped: Some(to.parse().unwrap()), ..office.new_egress(name, SITE, routers) }
}

#[test]
fn a_router_leads_to_a_range_under_one_name() {
    let mut office = Office::new();
    office.give(Command::CreateEgress(mapped(&office, "one", "10.91.0.0/24", &["ada", "bob"]))).unwrap();
    let parts = ["host `ada`", SITE, "`one`", "10.91.0.0/24"];
    let second = mapped(&office, "two", "10.92.0.0/24", &["cleo", "ada"]);
    assert_eq!(refuses(&mut office, second, &parts), "led-to-already");
    let plain = office.new_egress("two", SITE, &["ada"]);
    assert_eq!(refuses(&mut office, plain, &parts), "led-to-already");
    office.give(Command::CreateEgress(mapped(&office, "two", "10.92.0.0/24", &["cleo"]))).unwrap();
    let egress = office.server.intent.egress_by_name(office.network, &"two".parse().unwrap()).unwrap().id;
    let routers = [Router { priority: 1, node: office.id("bob") }].into();
    let edit = EgressEdit { routers: Some(routers), ..EgressEdit::default() };
    assert_eq!(
        refused(office.give(Command::UpdateEgress { egress, edit }), &["host `bob`"]),
        "led-to-already"
    );
}

fn network(name: &str, v4: &str) -> Command {
    let (name, ranges) = (name.parse().unwrap(), Some(ranges(v4)));
    Command::CreateNetwork { name, ranges, keepalive: None, access: None, approval: false, domain: None }
}

fn add(office: &mut Office, name: &str, network: NetworkId) -> Result<control::Change, Rejection> {
    let (host, tags) = (office.host(name), Default::default());
    office.give(Command::AddNode { host, network, addresses: None, tags })
}

#[test]
fn a_router_is_in_no_network_of_the_range_that_it_leads_to() {
    let mut office = Office::new();
    let lab = office.server.network("lab", SITE);
    add(&mut office, "bob", lab).unwrap();
    let parts = ["`bob`", SITE, "`site`", "`lab`"];
    let there = mapped(&office, "site", "10.91.0.0/24", &["bob"]);
    assert_eq!(refuses(&mut office, there, &parts), "leads-to-own-network");

    office.give(Command::CreateEgress(mapped(&office, "site", "10.91.0.0/24", &["ada"]))).unwrap();
    let parts = ["`ada`", SITE, "`site`", "`lab`"];
    assert_eq!(refused(add(&mut office, "ada", lab), &parts), "leads-to-own-network");
    office.server.key(2, &[lab], Uses::Unlimited, None);
    let joins = office.server.register(machine(1, Some(2))).unwrap_err();
    assert_eq!(joins.code(), "leads-to-own-network");
    add(&mut office, "cleo", lab).unwrap();

    office.give(Command::DeleteNetwork { network: lab, force: true }).unwrap();
    let (host, default) = (office.host("ada"), Some(true));
    let (mtu, static_endpoint) = (Edit::Keep, Edit::Keep);
    office
        .give(Command::UpdateHost { host, name: None, mtu, static_endpoint, default, ephemeral: None })
        .unwrap();
    assert_eq!(refused(office.give(network("lab", SITE)), &["`ada`", "`lab`"]), "leads-to-own-network");
    office.give(network("depot", "192.168.8.0/24")).unwrap();
}

#[test]
fn a_range_holds_no_endpoint_at_which_its_router_is_always_reached() {
    let mut office = Office::new();
    let host = office.host("ada");
    let at = |text: &str| Command::UpdateHost {
        host,
        name: None,
        mtu: Edit::Keep,
        static_endpoint: Edit::Set(text.parse().unwrap()),
        default: None,
        ephemeral: None,
    };
    office.give(at("192.168.7.9:51820")).unwrap();
    let site = office.new_egress("site", SITE, &["bob", "ada"]);
    let parts = [SITE, "192.168.7.9:51820", "`ada`"];
    assert_eq!(refuses(&mut office, site.clone(), &parts), "range-holds-router");
    office.give(at("203.0.113.9:51820")).unwrap();
    office.give(Command::CreateEgress(site)).unwrap();
    assert_eq!(refused(office.give(at("192.168.7.9:51820")), &parts), "range-holds-router");
    // Members go there by the mapped range: the endpoint's own address is none of it.
    office.give(Command::CreateEgress(mapped(&office, "other", "10.91.0.0/24", &["cleo"]))).unwrap();
    let host = office.host("cleo");
    let Command::UpdateHost { name, mtu, static_endpoint, default, ephemeral, .. } = at("192.168.7.8:1")
    else {
        unreachable!()
    };
    office.give(Command::UpdateHost { host, name, mtu, static_endpoint, default, ephemeral }).unwrap();
}

#[test]
fn who_joins_again_with_another_address_is_told_that_it_keeps_its_own() {
    let mut office = Office::new();
    let mut machine = machine(1, Some(1));
    machine.addresses = vec!["10.7.0.1".parse().unwrap()];
    office.server.register(machine.clone()).unwrap();
    let lab = office.server.network("lab", "10.8.0.0/24");
    office.server.key(2, &[office.network, lab], Uses::Unlimited, None);
    machine.enrollment = crate::server::machine(1, Some(2)).enrollment;
    machine.addresses = vec!["10.8.0.9".parse().unwrap(), "10.7.0.77".parse().unwrap()];
    let refusal = office.server.register(machine.clone()).unwrap_err();
    let sentence = refusal.to_string();
    assert!(["`office`", "10.7.0.1", "10.7.0.77"].iter().all(|part| sentence.contains(part)), "{sentence}");
    assert_eq!(refusal.code(), "address-kept");
    machine.addresses.pop();
    office.server.register(machine).unwrap();
    let node = office.server.intent.node_of(office.host("ada"), lab).unwrap();
    assert_eq!(node.addresses, Addresses { v4: "10.8.0.9".parse().ok(), v6: None });
}
