//! Who is reached through whom.

use control::{Command, Edit, NetworkEdit, NodeEdit};
use model::NodeId;

use crate::office::{Office, refused};

fn hub(office: &mut Office, name: &str) -> Result<control::Change, control::Rejection> {
    let edit = NetworkEdit { hub: Edit::Set(office.id(name)), ..NetworkEdit::default() };
    let network = office.network;
    office.give(Command::UpdateNetwork { network, edit })
}

/// Without gateways, so that everybody may be a spoke.
fn plain() -> Office {
    let mut office = Office::new();
    for name in ["ada", "bob"] {
        let none =
            NodeEdit { remote_access: Some(false), internet_gateway: Some(false), ..NodeEdit::default() };
        office.edit(name, none).unwrap();
    }
    office
}

#[test]
fn a_relay_is_another_node_that_is_reached_directly() {
    let mut office = plain();
    office.relay("cleo", "ada").unwrap();
    assert_eq!(refused(office.relay("ada", "ada"), &["host `ada`"]), "through-itself");
    let chain = office.relay("dan", "cleo");
    assert_eq!(refused(chain, &["host `dan`", "`cleo`", "`ada`", "chain"]), "relay-chain");
    let chain = office.relay("ada", "bob");
    assert_eq!(refused(chain, &["host `ada`", "`bob`", "the relay of `cleo`", "chain"]), "relayed-serves");
    let nobody = NodeEdit { relay: Edit::Set(NodeId::from_bytes([9; 16])), ..NodeEdit::default() };
    assert_eq!(refused(office.edit("dan", nobody), &[]), "no-such-node");
    office.edit("cleo", NodeEdit { relay: Edit::Clear, ..NodeEdit::default() }).unwrap();
    office.relay("ada", "bob").unwrap();
}

#[test]
fn who_is_relayed_is_no_way_for_others() {
    let mut office = Office::new();
    let result = office.relay("bob", "ada");
    assert_eq!(refused(result, &["host `bob`", "`ada`", "a remote access gateway"]), "relayed-serves");
    office.egress("shop", "192.168.1.0/24", &["dan"]);
    assert_eq!(refused(office.relay("dan", "ada"), &["a router of `shop`"]), "relayed-serves");
    office.relay("cleo", "ada").unwrap();
    for edit in [
        NodeEdit { remote_access: Some(true), ..NodeEdit::default() },
        NodeEdit { internet_gateway: Some(true), ..NodeEdit::default() },
    ] {
        assert_eq!(refused(office.edit("cleo", edit), &["host `cleo`", "`ada`"]), "relayed-serves");
    }
    let new = office.new_egress("branch", "192.168.2.0/24", &["cleo"]);
    let result = office.give(Command::CreateEgress(new));
    assert_eq!(refused(result, &["host `cleo`", "a router of `branch`"]), "relayed-serves");
    assert_eq!(refused(hub(&mut office, "cleo"), &["host `cleo`", "the hub"]), "relayed-serves");
}

#[test]
fn a_hub_has_no_ways_among_its_spokes() {
    let mut office = Office::new();
    office.egress("shop", "192.168.1.0/24", &["dan"]);
    let parts = ["`ada`", "`office`", "`bob` (a remote access gateway)", "`dan` (a router of `shop`)"];
    assert_eq!(refused(hub(&mut office, "ada"), &parts), "hub-serves");
    let mut office = plain();
    office.relay("cleo", "bob").unwrap();
    assert_eq!(refused(hub(&mut office, "ada"), &["`bob` (the relay of `cleo`)"]), "hub-serves");
    hub(&mut office, "bob").unwrap();
    let result = office.edit("dan", NodeEdit { remote_access: Some(true), ..NodeEdit::default() });
    assert_eq!(refused(result, &["host `dan`", "`bob`"]), "relayed-serves");
    assert_eq!(refused(office.relay("dan", "eve"), &["`eve`", "`bob`"]), "relay-chain");
    office.edit("bob", NodeEdit { remote_access: Some(true), ..NodeEdit::default() }).unwrap();
    let lab = office.server.network("lab", "10.8.0.0/24");
    let edit = NetworkEdit { hub: Edit::Set(office.id("bob")), ..NetworkEdit::default() };
    let result = office.give(Command::UpdateNetwork { network: lab, edit });
    assert_eq!(refused(result, &["host `bob` in network `office`", "`lab`"]), "node-elsewhere");
}

#[test]
fn one_reaches_the_internet_through_one_gateway_and_the_own_relay() {
    let mut office = Office::new();
    assert_eq!(refused(office.through("cleo", "bob"), &["host `bob`"]), "not-an-internet-gateway");
    assert_eq!(refused(office.through("ada", "ada"), &["host `ada`"]), "through-itself");
    office.edit("dan", NodeEdit { internet_gateway: Some(true), ..NodeEdit::default() }).unwrap();
    assert_eq!(refused(office.through("dan", "ada"), &["host `dan`", "`ada`"]), "internet-gateway-uses");
    office.relay("cleo", "ada").unwrap();
    let result = office.through("cleo", "dan");
    assert_eq!(refused(result, &["host `cleo`", "`ada`", "`dan`"]), "relayed-internet");
    office.through("cleo", "ada").unwrap();
    office.through("eve", "ada").unwrap();
    let result = office.edit("eve", NodeEdit { internet_gateway: Some(true), ..NodeEdit::default() });
    assert_eq!(refused(result, &["host `eve`", "`ada`"]), "internet-gateway-uses");
    let result = office.relay("eve", "dan");
    assert_eq!(refused(result, &["host `eve`", "`dan`", "`ada`"]), "relayed-internet");
}

#[test]
fn a_host_has_one_way_to_the_internet_over_all_networks_or_is_one() {
    let mut office = Office::new();
    let (home, lab) = (office.network, office.server.network("lab", "10.8.0.0/24"));
    for name in ["ada", "bob", "cleo"] {
        let host = office.host(name);
        office.give(Command::AddNode { host, network: lab, addresses: None, tags: [].into() }).unwrap();
    }
    let serves = |serves| NodeEdit { internet_gateway: Some(serves), ..NodeEdit::default() };
    office.network = lab;
    office.edit("bob", serves(true)).unwrap();
    // A loop: in the office `bob` would go through `ada`, and here `ada` through `bob`.
    let parts = ["host `ada` in network `office`", "host `bob` in network `lab`"];
    assert_eq!(refused(office.through("ada", "bob"), &parts), "internet-gateway-uses-elsewhere");
    office.through("cleo", "bob").unwrap();
    office.network = home;
    let parts = ["host `bob` in network `lab`", "host `ada` in network `office`"];
    assert_eq!(refused(office.through("bob", "ada"), &parts), "internet-gateway-uses-elsewhere");
    let parts = ["host `cleo`", "host `ada` in network `office`", "host `bob` in network `lab`"];
    assert_eq!(refused(office.through("cleo", "ada"), &parts), "internet-used-twice");
    let parts = ["host `cleo` in network `office`", "host `bob` in network `lab`"];
    assert_eq!(refused(office.edit("cleo", serves(true)), &parts), "internet-gateway-uses-elsewhere");
    office.network = lab;
    office.edit("cleo", NodeEdit { internet: Edit::Clear, ..NodeEdit::default() }).unwrap();
    office.network = home;
    office.through("cleo", "ada").unwrap();
}

#[test]
fn duties_that_others_need_are_not_taken_away() {
    let mut office = Office::new();
    office.client("pad", &["ada", "bob"]);
    let full = control::NewClient { full_tunnel: true, ..office.new_client("van", &["ada"]) };
    office.make_client(full);
    office.through("cleo", "ada").unwrap();
    let off =
        |remote_access, internet_gateway| NodeEdit { remote_access, internet_gateway, ..NodeEdit::default() };
    let result = office.edit("bob", off(Some(false), None));
    assert_eq!(refused(result, &["host `bob`", "`pad`"]), "gateway-in-use");
    let result = office.edit("ada", off(None, Some(false)));
    assert_eq!(refused(result, &["`cleo`", "`van`", "host `ada`"]), "internet-gateway-in-use");
}
