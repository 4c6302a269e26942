//! Ways to ranges outside of a network.

use control::{Command, Edit, EgressEdit, NewEgress, Rejection};
use model::{EgressId, Router};

use crate::office::{Office, refused};
use crate::server::ranges;

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
