//! Remote access clients.

use std::time::Duration;

use control::{ClientEdit, Command, Edit, NewClient, NodeEdit, Rejection, usual_gateways};
use model::{Addresses, ClientId, HostId, NodeId, Role, UserId, WgPublicKey};

use crate::office::{Office, SWEEP, refused};
use crate::server::machine;

/// What is refused when a client is made so, and part of the sentence.
fn refuses(change: impl FnOnce(&mut NewClient), parts: &[&str]) -> &'static str {
    let mut office = Office::new();
    let mut new = office.new_client("pad", &["ada"]);
    change(&mut new);
    refused(office.give(Command::CreateClient(new)), parts)
}

#[test]
fn a_client_gets_the_next_address_and_no_node_gets_it_too() {
    let mut office = Office::new();
    let pad = office.client("pad", &["ada", "bob", "ada"]);
    let client = office.server.intent.client(pad).unwrap().clone();
    assert_eq!(client.addresses.v4.unwrap().octets()[3], 6);
    assert_eq!((client.enabled, client.gateways.len()), (true, 2));
    let host = office.server.register(machine(9, Some(1))).unwrap().id;
    assert_eq!(office.server.nodes(host)[0].addresses.v4.unwrap().octets()[3], 7);
    let taken = Addresses { v4: client.addresses.v4, v6: None };
    office.edit("cleo", control::NodeEdit { addresses: Some(taken), ..Default::default() }).unwrap_err();
    let mut other = office.new_client("van", &["ada"]);
    other.addresses = Some(taken);
    let result = office.give(Command::CreateClient(other));
    assert_eq!(refused(result, &["10.7.0.6", "client `pad`"]), "address-of-client");
}

#[test]
fn the_usual_gateways_do_what_is_needed_and_those_that_pause_come_last() {
    let mut office = Office::new();
    let usual =
        |office: &Office, full_tunnel| usual_gateways(&office.server.intent, office.network, full_tunnel);
    assert_eq!(usual(&office, false), [office.id("ada"), office.id("bob")]);
    assert_eq!(usual(&office, true), [office.id("ada")]);
    office.edit("ada", NodeEdit { connected: Some(false), ..NodeEdit::default() }).unwrap();
    assert_eq!(usual(&office, false), [office.id("bob"), office.id("ada")]);
    for number in 20..40 {
        let host = office.server.register(machine(number, Some(1))).unwrap().id;
        let node = office.server.nodes(host)[0].id;
        let edit = NodeEdit { remote_access: Some(true), ..NodeEdit::default() };
        office.give(Command::UpdateNode { node, edit }).unwrap();
    }
    let usual = usual(&office, false);
    assert!(usual.len() == 16 && !usual.contains(&office.id("ada")), "no more than one client may have");
    let mut new = office.new_client("pad", &[]);
    new.gateways = usual;
    office.make_client(new);
}

#[test]
fn names_are_one_clients_or_hosts_in_a_network() {
    assert_eq!(
        refuses(|new| new.name = "cleo".parse().unwrap(), &["`cleo`", "a host", "`office`"]),
        "name-in-use"
    );
    let mut office = Office::new();
    office.client("pad", &["ada"]);
    let mut again = office.new_client("pad", &["ada"]);
    again.key = WgPublicKey::from_bytes([250; 32]);
    assert_eq!(refused(office.give(Command::CreateClient(again)), &["a client"]), "name-in-use");
    let (host, name) = (office.host("cleo"), Some("pad".parse().unwrap()));
    let rename = Command::UpdateHost {
        host,
        name,
        mtu: Edit::Keep,
        static_endpoint: Edit::Keep,
        default: None,
        ephemeral: None,
    };
    assert_eq!(refused(office.give(rename), &["`pad`", "a client"]), "name-in-use");
    let mut machine = machine(9, Some(1));
    machine.hostname = "pad".parse().unwrap();
    assert_eq!(office.server.register(machine).unwrap().name.as_str(), "pad-2");
}

#[test]
fn keys_are_one_hosts_or_clients() {
    let host = |new: &mut NewClient| new.key = WgPublicKey::from_bytes([3; 32]);
    assert_eq!(refuses(host, &["host `cleo`", "new pair of keys"]), "client-key-taken");
    let mut office = Office::new();
    let pad = office.client("pad", &["ada"]);
    let key = office.server.intent.client(pad).unwrap().key;
    let copied = NewClient { key, ..office.new_client("van", &["ada"]) };
    assert_eq!(refused(office.give(Command::CreateClient(copied)), &["client `pad`"]), "client-key-taken");
    let mut stolen = machine(9, Some(1));
    stolen.wireguard_key = key;
    assert_eq!(office.server.register(stolen), Err(Rejection::WireguardKeyOfClient));
}

#[test]
fn a_gateway_is_a_node_of_the_network_that_lets_clients_in() {
    let mut office = Office::new();
    let none = NewClient { gateways: Vec::new(), ..office.new_client("pad", &[]) };
    assert_eq!(refused(office.give(Command::CreateClient(none)), &["remote access gateway"]), "none-given");
    let cleo = office.new_client("pad", &["cleo"]);
    let result = office.give(Command::CreateClient(cleo));
    assert_eq!(refused(result, &["host `cleo` in network `office`", "duty"]), "not-a-gateway");
    let nobody = NodeId::from_bytes([9; 16]);
    assert_eq!(refuses(|new| new.gateways = vec![nobody], &["there is no node"]), "no-such-node");
    let lab = office.server.network("lab", "10.8.0.0/24");
    let elsewhere = NewClient { network: lab, ..office.new_client("pad", &["ada"]) };
    let result = office.give(Command::CreateClient(elsewhere));
    assert_eq!(
        refused(result, &["host `ada` in network `office`", "not of network `lab`"]),
        "node-elsewhere"
    );
    let everything = NewClient { full_tunnel: true, ..office.new_client("pad", &["ada", "bob"]) };
    let result = office.give(Command::CreateClient(everything));
    assert_eq!(
        refused(result, &["`pad`", "host `bob`", "no internet gateway"]),
        "full-tunnel-needs-internet"
    );
}

#[test]
fn what_lies_behind_a_client_is_nobody_elses() {
    let with = |text: &'static str| move |new: &mut NewClient| new.ranges = [text.parse().unwrap()].into();
    assert_eq!(refuses(with("10.7.0.0/26"), &["10.7.0.0/24", "network `office`"]), "ranges-overlap");
    assert_eq!(refuses(with("192.168.1.7/24"), &["192.168.1.0/24"]), "not-a-range");
    assert_eq!(refuses(with("0.0.0.0/0"), &["internet gateway"]), "range-too-large");
    assert_eq!(refuses(with("224.0.0.0/8"), &["multicast"]), "range-reserved");
    assert_eq!(refuses(with("fd00:9::/64"), &["`office`"]), "range-family");
    let both = |new: &mut NewClient| {
        new.ranges = ["192.168.0.0/16", "192.168.4.0/24"].map(|text| text.parse().unwrap()).into();
    };
    assert_eq!(refuses(both, &["192.168.4.0/24", "192.168.0.0/16"]), "range-overlaps-client");
    let mut office = Office::new();
    let behind = NewClient {
        ranges: ["192.168.1.0/24".parse().unwrap()].into(),
        ..office.new_client("pad", &["ada"])
    };
    office.make_client(behind.clone());
    let second = NewClient { ranges: behind.ranges, ..office.new_client("van", &["ada"]) };
    let result = office.give(Command::CreateClient(second));
    assert_eq!(refused(result, &["client `pad`", "`office`"]), "range-overlaps-client");
    let site = office.new_egress("shop", "192.168.0.0/16", &["ada"]);
    let result = office.give(Command::CreateEgress(site));
    assert_eq!(refused(result, &["192.168.1.0/24", "client `pad`"]), "range-overlaps-client");
}

#[test]
fn there_are_bounds() {
    let tags = |new: &mut NewClient| new.tags = (0..65).map(|n| format!("t{n}").parse().unwrap()).collect();
    assert_eq!(refuses(tags, &["64 tags", "65"]), "too-many");
    let ranges = |new: &mut NewClient| {
        new.ranges = (0..65).map(|n| format!("192.168.{n}.0/24").parse().unwrap()).collect();
    };
    assert_eq!(refuses(ranges, &["64 ranges", "65"]), "too-many");
    let gateways =
        |new: &mut NewClient| new.gateways = (0..17).map(|n| NodeId::from_bytes([n; 16])).collect();
    assert_eq!(refuses(gateways, &["16 gateways", "17"]), "too-many");
    let dns = |new: &mut NewClient| new.dns = Some(vec![[9, 9, 9, 9].into(); 9]);
    assert_eq!(refuses(dns, &["8 name servers"]), "too-many");
    let owner = |new: &mut NewClient| new.owner = Some(UserId::from_bytes([9; 16]));
    assert_eq!(refuses(owner, &["there is no user"]), "no-such-user");
}

#[test]
fn a_client_that_expired_comes_back_with_a_new_expiry_alone() {
    let mut office = Office::new();
    let now = office.server.now;
    assert_eq!(refuses(|new| new.expires = Some(now), &["has passed"]), "expiry-passed");
    let expires = now + Duration::from_secs(60);
    let new = NewClient { expires: Some(expires), ..office.new_client("pad", &["ada"]) };
    let client = office.make_client(new);
    assert!(office.give(SWEEP).unwrap().is_empty());
    office.server.wait(60);
    assert_eq!(office.give(SWEEP).unwrap().records.len(), 1);
    let now = |office: &Office| office.server.intent.client(client).unwrap().clone();
    assert!(now(&office).enabled && !now(&office).is_let_in());
    assert!(office.give(SWEEP).unwrap().is_empty());
    let on = ClientEdit { enabled: Some(true), ..ClientEdit::default() };
    let result = office.give(Command::UpdateClient { client, edit: on.clone() });
    assert_eq!(refused(result, &["`pad`", &expires.to_string(), "new expiry"]), "client-expired");
    let expires = Edit::Set(office.server.now + Duration::from_secs(1));
    let longer = ClientEdit { expires, ..ClientEdit::default() };
    office.give(Command::UpdateClient { client, edit: longer }).unwrap();
    assert!(now(&office).is_let_in(), "nobody has to switch it on as well");
    office.server.wait(1);
    office.give(SWEEP).unwrap();
    assert!(!now(&office).is_let_in());
    let off = ClientEdit { enabled: Some(false), expires: Edit::Clear, ..ClientEdit::default() };
    office.give(Command::UpdateClient { client, edit: off }).unwrap();
    assert!(!now(&office).is_let_in(), "somebody switched it off");
}

#[test]
fn a_client_is_made_switched_off_and_gets_other_addresses() {
    let mut office = Office::new();
    let new = NewClient { enabled: false, ..office.new_client("pad", &["ada"]) };
    let client = office.make_client(new);
    assert!(!office.server.intent.client(client).unwrap().is_let_in());
    let at = |text: &str| {
        let addresses = Some(Addresses { v4: text.parse().ok(), v6: None });
        Command::UpdateClient { client, edit: ClientEdit { addresses, ..ClientEdit::default() } }
    };
    office.give(at("10.7.0.77")).unwrap();
    assert_eq!(office.server.intent.client(client).unwrap().addresses.v4, "10.7.0.77".parse().ok());
    assert!(office.give(at("10.7.0.77")).unwrap().is_empty());
    assert_eq!(refused(office.give(at("10.7.0.1")), &["10.7.0.1", "`ada`"]), "address-taken");
    assert_eq!(refused(office.give(at("10.8.0.1")), &["10.8.0.1", "`office`"]), "address-outside");
}

#[test]
fn an_edit_changes_what_it_names_and_is_held_to_the_same_rules() {
    let mut office = Office::new();
    let anna = office.server.user("anna", Role::Administrator);
    let client = office.client("pad", &["ada"]);
    let before = office.server.intent.client(client).unwrap().clone();
    let edit = ClientEdit { owner: Edit::Set(anna), ..ClientEdit::default() };
    office.give(Command::UpdateClient { client, edit }).unwrap();
    let after = office.server.intent.client(client).unwrap().clone();
    assert_eq!(after, model::Client { owner: Some(anna), ..before });
    let edit = ClientEdit { gateways: Some(vec![office.id("cleo")]), ..ClientEdit::default() };
    assert_eq!(refused(office.give(Command::UpdateClient { client, edit }), &["`cleo`"]), "not-a-gateway");
    let nobody = ClientId::from_bytes([9; 16]);
    let edit = ClientEdit::default();
    assert_eq!(refused(office.give(Command::UpdateClient { client: nobody, edit }), &[]), "no-such-client");
    assert_eq!(refused(office.give(Command::DeleteClient { client: nobody }), &[]), "no-such-client");
    let host = HostId::from_bytes([9; 16]);
    assert_eq!(refused(office.give(Command::RotateKeys { host: Some(host) }), &[]), "no-such-host");
}
