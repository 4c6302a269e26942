//! What becomes of those that name what is removed.

use std::slice::from_ref;
use std::time::Duration;

use control::{Actor, Change, ClientEdit, Command, Edit, EgressEdit, NetworkEdit, NodeEdit, Record};
use model::{Access, InternetUse, Role, Router, Subject};
use wire::Leave;

use crate::office::{Office, SWEEP, refused};

fn remove_node(office: &mut Office, name: &str) -> Result<Change, control::Rejection> {
    let node = office.id(name);
    office.give(Command::RemoveNode { node })
}

/// The kinds of what a change removes, in order.
fn removed(change: &Change) -> Vec<&'static str> {
    let gone = change.records.iter().filter(|record| record.after.is_none());
    gone.map(|record| record.key().unwrap().kind.as_str()).collect()
}

#[test]
fn a_node_that_others_cannot_do_without_is_not_taken_out() {
    let mut office = Office::new();
    let pad = office.client("pad", &["ada", "bob"]);
    office.client("van", &["ada"]);
    let shop = office.egress("shop", "192.168.1.0/24", &["bob", "cleo"]);
    office.egress("branch", "192.168.2.0/24", &["cleo"]);
    office.relay("eve", "dan").unwrap();
    let parts = ["host `ada` in network `office`", "`van`", "only gateway"];
    assert_eq!(refused(remove_node(&mut office, "ada"), &parts), "last-gateway");
    assert_eq!(refused(remove_node(&mut office, "cleo"), &["`branch`", "only router"]), "last-router");
    assert_eq!(refused(remove_node(&mut office, "dan"), &["`eve`", "host `dan`"]), "relay-in-use");
    remove_node(&mut office, "bob").unwrap();
    let intent = &office.server.intent;
    assert_eq!(intent.client(pad).unwrap().gateways, [office.id("ada")]);
    assert_eq!(intent.egress(shop).unwrap().routers.len(), 1);
}

#[test]
fn a_hub_and_an_internet_gateway_in_use_are_not_taken_out() {
    let mut office = Office::new();
    office.through("cleo", "ada").unwrap();
    let result = remove_node(&mut office, "ada");
    assert_eq!(refused(result, &["`cleo`", "host `ada`"]), "internet-gateway-in-use");
    let mut office = Office::new();
    office.edit("bob", NodeEdit { remote_access: Some(false), ..NodeEdit::default() }).unwrap();
    let edit = NetworkEdit { hub: Edit::Set(office.id("ada")), ..NetworkEdit::default() };
    let network = office.network;
    office.give(Command::UpdateNetwork { network, edit }).unwrap();
    assert_eq!(refused(remove_node(&mut office, "ada"), &["host `ada`", "hub"]), "hub-in-use");
    let host = office.host("ada");
    office.give(Command::RemoveHost { host }).unwrap();
    assert_eq!(office.server.intent.network(network).unwrap().hub, None);
}

/// The way out of somebody whose internet gateway is gone.
const SHUT: InternetUse = InternetUse { gateway: None, lan: false };

/// An office in which everybody needs `ada`.
fn in_need() -> Office {
    let mut office = Office::new();
    let van = office.client("van", &["ada"]);
    office.client("pad", &["ada", "bob"]);
    let branch = office.egress("branch", "192.168.2.0/24", &["ada"]);
    office.relay("eve", "ada").unwrap();
    office.through("cleo", "ada").unwrap();
    let [ada, dan] = ["ada", "dan"].map(|name| Subject::Node(office.id(name)));
    office.policy("to ada", from_ref(&dan), from_ref(&ada));
    office.policy("from both", &[dan.clone(), ada], &[Subject::Everything]);
    office.policy("to van", &[Subject::Everything], &[Subject::Client(van)]);
    office.policy("to branch", from_ref(&dan), &[Subject::Egress(branch), dan.clone()]);
    let (network, service, expect) = (office.network, "tcp/443".parse().unwrap(), Access::Allow);
    let test = Command::CreatePolicyTest { network, from: dan, to: Subject::Client(van), service, expect };
    office.give(test).unwrap();
    office
}

fn check_without_ada(office: &Office, change: &Change) {
    let intent = &office.server.intent;
    let names: Vec<_> =
        intent.policies_in_network(office.network).map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["from both", "to van", "to branch"]);
    assert_eq!(intent.policy_tests_in_network(office.network).count(), 1);
    let gateways = |name: &str| {
        let client = intent.client_by_name(office.network, &name.parse().unwrap()).unwrap();
        (client.enabled, client.gateways.clone())
    };
    assert_eq!((gateways("van"), gateways("pad")), ((true, Vec::new()), (true, vec![office.id("bob")])));
    let branch = intent.egress_by_name(office.network, &"branch".parse().unwrap()).unwrap();
    assert!(branch.enabled && branch.routers.is_empty());
    assert_eq!((office.node("eve").relay, office.node("cleo").internet), (None, Some(SHUT)));
    let mut gone = removed(change);
    gone.sort_unstable();
    gone.retain(|kind| *kind != "host");
    assert_eq!(gone, ["node", "policy"]);
}

#[test]
fn what_cannot_be_refused_takes_nobody_along() {
    let mut office = in_need();
    let host = office.host("ada");
    let change = office.give(Command::RemoveHost { host }).unwrap();
    check_without_ada(&office, &change);

    let mut office = in_need();
    let ada = Actor::Host(office.host("ada"));
    let change =
        office.server.give(ada, Command::OwnLeave(Leave::Network("office".parse().unwrap()))).unwrap();
    check_without_ada(&office, &change);
    assert!(office.server.intent.host_by_name(&"ada".parse().unwrap()).is_some());

    let mut office = in_need();
    let ada = Actor::Host(office.host("ada"));
    let change = office.server.give(ada, Command::OwnLeave(Leave::Server)).unwrap();
    check_without_ada(&office, &change);

    let mut office = in_need();
    let expires = Edit::Set(office.server.now + Duration::from_secs(5));
    office.edit("ada", NodeEdit { expires, ..NodeEdit::default() }).unwrap();
    office.server.wait(5);
    let change = office.give(SWEEP).unwrap();
    check_without_ada(&office, &change);
    assert!(office.server.intent.host_by_name(&"ada".parse().unwrap()).is_some());
    assert!(office.give(SWEEP).unwrap().is_empty());
}

#[test]
fn a_network_goes_with_all_that_is_in_it() {
    let mut office = in_need();
    let network = office.network;
    let domain = Command::CreateUpstream {
        network,
        domain: "corp".parse().unwrap(),
        servers: vec![([9, 9, 9, 9], 53).into()],
    };
    office.give(domain).unwrap();
    let (name, data) = (None, model::RecordData::A { address: [10, 7, 0, 9].into() });
    office.give(Command::CreateDnsRecord { network, name, ttl: 60, data }).unwrap();
    assert_eq!(
        refused(office.give(Command::DeleteNetwork { network, force: false }), &["5 nodes"]),
        "network-in-use"
    );
    office.give(Command::DeleteNetwork { network, force: true }).unwrap();
    let left: Vec<Record> = office.server.intent.records().collect();
    assert!(left.iter().all(|record| matches!(record, Record::Host(_))), "{left:?}");
}

#[test]
fn the_clients_of_somebody_who_goes_are_switched_off() {
    let mut office = Office::new();
    office.server.user("anna", Role::Administrator);
    let ben = office.server.user("ben", Role::Auditor);
    let new = control::NewClient { owner: Some(ben), ..office.new_client("pad", &["ada"]) };
    let pad = office.make_client(new);
    office.policy("ben's", &[Subject::User(ben)], &[Subject::Everything]);
    office.policy("ben's too", &[Subject::User(ben), Subject::Client(pad)], &[Subject::Everything]);
    let change = office.give(Command::DeleteUser { user: ben }).unwrap();
    assert_eq!(removed(&change), ["user", "policy"]);
    let client = office.server.intent.client(pad).unwrap();
    assert_eq!((client.owner, client.enabled), (None, false));
    office.give(Command::DeleteClient { client: pad }).unwrap();
    assert_eq!(office.server.intent.policies_in_network(office.network).count(), 0);
}

#[test]
fn an_egress_range_leaves_the_policies_that_speak_of_it() {
    let mut office = Office::new();
    let shop = office.egress("shop", "192.168.1.0/24", &["ada"]);
    office.policy("shop", &[Subject::Everything], &[Subject::Egress(shop)]);
    let change = office.give(Command::DeleteEgress { egress: shop }).unwrap();
    assert_eq!(removed(&change), ["egress", "policy"]);
}

#[test]
fn who_lost_all_gateways_is_changed_as_before_and_works_with_another() {
    let mut office = in_need();
    let host = office.host("ada");
    office.give(Command::RemoveHost { host }).unwrap();
    let id = |office: &Office, name: &str| {
        office.server.intent.client_by_name(office.network, &name.parse().unwrap()).unwrap().id
    };
    let client = id(&office, "van");
    let egress = office.server.intent.egress_by_name(office.network, &"branch".parse().unwrap()).unwrap().id;
    let rename = ClientEdit { name: Some("bus".parse().unwrap()), ..ClientEdit::default() };
    office.give(Command::UpdateClient { client, edit: rename }).unwrap();
    let edit = EgressEdit { nat: Some(false), ..EgressEdit::default() };
    office.give(Command::UpdateEgress { egress, edit }).unwrap();
    let none = ClientEdit { gateways: Some(Vec::new()), ..ClientEdit::default() };
    assert_eq!(
        refused(office.give(Command::UpdateClient { client, edit: none }), &["gateway"]),
        "none-given"
    );
    let none = EgressEdit { routers: Some(Default::default()), ..EgressEdit::default() };
    assert_eq!(refused(office.give(Command::UpdateEgress { egress, edit: none }), &["router"]), "none-given");
    let bob = office.id("bob");
    let back = ClientEdit { gateways: Some(vec![bob]), ..ClientEdit::default() };
    office.give(Command::UpdateClient { client, edit: back }).unwrap();
    let routers = [Router { priority: 1, node: bob }].into();
    let back = EgressEdit { routers: Some(routers), ..EgressEdit::default() };
    office.give(Command::UpdateEgress { egress, edit: back }).unwrap();
    assert_eq!(office.server.intent.client(client).unwrap().gateways, [bob]);
}

#[test]
fn who_lost_its_internet_gateway_goes_nowhere_until_it_gets_another_or_is_to_have_none() {
    let mut office = in_need();
    let lab = office.server.network("lab", "10.8.0.0/24");
    for name in ["cleo", "dan"] {
        let (host, tags) = (office.host(name), Default::default());
        office.give(Command::AddNode { host, network: lab, addresses: None, tags }).unwrap();
    }
    let host = office.host("ada");
    office.give(Command::RemoveHost { host }).unwrap();
    assert_eq!(office.node("cleo").internet, Some(SHUT));
    // It still counts as a way out: there is no other beside it, and it is none for others.
    let serves = |serves| NodeEdit { internet_gateway: Some(serves), ..NodeEdit::default() };
    let parts = ["host `cleo`", "one that was removed from network `office`"];
    assert_eq!(refused(office.edit("cleo", serves(true)), &parts), "internet-gateway-uses");
    let node = |office: &Office, name: &str| office.server.intent.node_of(office.host(name), lab).unwrap().id;
    let [cleo, dan] = ["cleo", "dan"].map(|name| node(&office, name));
    office.give(Command::UpdateNode { node: dan, edit: serves(true) }).unwrap();
    let through = NodeEdit {
        internet: Edit::Set(InternetUse { gateway: Some(dan), lan: true }),
        ..NodeEdit::default()
    };
    let result = office.give(Command::UpdateNode { node: cleo, edit: through });
    assert_eq!(
        refused(result, &["host `cleo`", "host `dan` in network `lab`", parts[1]]),
        "internet-used-twice"
    );

    office.edit("dan", serves(true)).unwrap();
    office.through("cleo", "dan").unwrap();
    assert_eq!(office.node("cleo").internet.unwrap().gateway, Some(office.id("dan")));
    let host = office.host("dan");
    office.give(Command::RemoveHost { host }).unwrap();
    office.edit("cleo", NodeEdit { internet: Edit::Clear, ..NodeEdit::default() }).unwrap();
    assert_eq!(office.node("cleo").internet, None);
}
