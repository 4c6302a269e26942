//! The rest of a host's life: approval, defaults, tags and addresses at join, new addresses, new keys, expiry.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use control::{Change, Command, Edit, NetworkEdit, NodeEdit, Rejection};
use model::{Addresses, Tag, Uses, WgPublicKey};

use crate::office::{Office, SWEEP, refused};
use crate::server::{digest, machine, ranges};

fn approval(office: &mut Office) {
    let (network, approval) = (office.network, Some(true));
    office
        .give(Command::UpdateNetwork { network, edit: NetworkEdit { approval, ..NetworkEdit::default() } })
        .unwrap();
}

fn network(name: &str, v4: &str) -> Command {
    Command::CreateNetwork {
        name: name.parse().unwrap(),
        ranges: Some(ranges(v4)),
        keepalive: None,
        access: None,
        approval: true,
        domain: None,
    }
}

fn default(office: &mut Office, name: &str) -> Result<Change, Rejection> {
    let host = office.host(name);
    office.give(Command::UpdateHost {
        host,
        name: None,
        mtu: Edit::Keep,
        static_endpoint: Edit::Keep,
        default: Some(true),
        ephemeral: None,
    })
}

#[test]
fn who_joins_by_a_key_waits_where_somebody_is_to_let_it_in() {
    let mut office = Office::new();
    approval(&mut office);
    let host = office.server.register(machine(9, Some(1))).unwrap();
    let name = host.name.as_str();
    assert!(office.node(name).pending && !office.node("ada").pending);
    let result = office.relay("ada", name);
    assert_eq!(refused(result, &[name, "`office`", "approve it first"]), "node-pending");
    office.edit(name, NodeEdit { approve: true, ..NodeEdit::default() }).unwrap();
    assert!(!office.node(name).pending);
    let lab = office.server.network("lab", "10.8.0.0/24");
    let edit = NetworkEdit { approval: Some(true), ..NetworkEdit::default() };
    office.give(Command::UpdateNetwork { network: lab, edit }).unwrap();
    let add = Command::AddNode { host: host.id, network: lab, addresses: None, tags: BTreeSet::new() };
    office.give(add).unwrap();
    assert!(!office.server.intent.node_of(host.id, lab).unwrap().pending);
}

#[test]
fn a_default_host_is_in_every_new_network_at_once() {
    let mut office = Office::new();
    default(&mut office, "ada").unwrap();
    default(&mut office, "bob").unwrap();
    office.give(network("lab", "10.8.0.0/24")).unwrap();
    let lab = office.server.intent.network_by_name(&"lab".parse().unwrap()).unwrap().id;
    let nodes: Vec<_> = office.server.intent.nodes_in_network(lab, None).cloned().collect();
    assert_eq!(
        nodes.iter().map(|node| node.host).collect::<Vec<_>>(),
        [office.host("ada"), office.host("bob")]
    );
    assert!(nodes.iter().all(|node| !node.pending));
    default(&mut office, "cleo").unwrap();
    let tiny = office.give(network("tiny", "10.9.0.0/30"));
    assert_eq!(refused(tiny, &["10.9.0.0/30", "`tiny`"]), "no-address-left");
}

#[test]
fn a_key_gives_tags_and_short_lives() {
    let mut office = Office::new();
    let networks = vec![office.network];
    let create = |tags: BTreeSet<Tag>| Command::CreateEnrollmentKey {
        title: "robots".parse().unwrap(),
        digest: digest(2),
        networks: networks.clone(),
        uses: Uses::Unlimited,
        expires: None,
        tags,
        ephemeral: true,
    };
    let many = (0..65).map(|number| format!("t{number}").parse().unwrap()).collect();
    assert_eq!(refused(office.give(create(many)), &["64 tags"]), "too-many");
    office.give(create(["robot".parse().unwrap()].into())).unwrap();
    let host = office.server.register(machine(9, Some(2))).unwrap();
    assert!(host.ephemeral);
    assert_eq!(office.server.nodes(host.id)[0].tags, ["robot".parse().unwrap()].into());
}

#[test]
fn addresses_asked_for_at_join_are_given_or_refused() {
    let mut office = Office::new();
    let join = |office: &mut Office, number, addresses: &[&str]| {
        let mut machine = machine(number, Some(1));
        machine.addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        office.server.register(machine)
    };
    let host = join(&mut office, 9, &["10.7.0.77"]).unwrap();
    assert_eq!(office.server.nodes(host.id)[0].addresses.v4, Some(Ipv4Addr::new(10, 7, 0, 77)));
    // Asked again: it has that one already, and keeps it.
    assert_eq!(join(&mut office, 9, &["10.7.0.77"]).unwrap(), host);
    assert_eq!(join(&mut office, 9, &["10.7.0.78"]).unwrap_err().code(), "address-kept");
    assert_eq!(office.server.nodes(host.id)[0].addresses.v4, Some(Ipv4Addr::new(10, 7, 0, 77)));
    let sentence = join(&mut office, 10, &["10.7.0.77"]).unwrap_err();
    assert_eq!(sentence.code(), "address-taken");
    assert_eq!(join(&mut office, 10, &["10.8.0.1"]).unwrap_err().code(), "address-nowhere");
    assert_eq!(join(&mut office, 10, &["10.7.0.80", "10.7.0.81"]).unwrap_err().code(), "address-nowhere");
    assert_eq!(join(&mut office, 10, &["10.7.0.255"]).unwrap_err().code(), "address-reserved");
    assert_eq!(join(&mut office, 10, &["10.7.0.80"; 129]).unwrap_err().code(), "too-many");
}

#[test]
fn a_node_moves_to_a_free_address() {
    let mut office = Office::new();
    let to = |last: u8| {
        let addresses = Some(Addresses { v4: Some(Ipv4Addr::new(10, 7, 0, last)), v6: None });
        NodeEdit { addresses, ..NodeEdit::default() }
    };
    assert_eq!(refused(office.edit("ada", to(2)), &["10.7.0.2", "`bob`"]), "address-taken");
    assert_eq!(refused(office.edit("ada", to(0)), &["10.7.0.0"]), "address-reserved");
    let v6 = Some(Addresses { v4: None, v6: Some("fd00::1".parse().unwrap()) });
    let result = office.edit("ada", NodeEdit { addresses: v6, ..NodeEdit::default() });
    assert_eq!(refused(result, &["fd00::1", "`office`"]), "address-outside");
    assert!(office.edit("ada", to(1)).unwrap().is_empty());
    office.edit("ada", to(99)).unwrap();
    assert_eq!(office.node("ada").addresses.v4, Some(Ipv4Addr::new(10, 7, 0, 99)));
    office.edit("bob", to(1)).unwrap();
}

#[test]
fn a_host_that_was_asked_for_a_new_key_brings_one() {
    let mut office = Office::new();
    assert_eq!(office.give(Command::RotateKeys { host: None }).unwrap().records.len(), 5);
    assert!(office.give(Command::RotateKeys { host: None }).unwrap().is_empty());
    assert!(office.server.register(machine(1, None)).unwrap().rotate);
    let mut fresh = machine(1, None);
    fresh.wireguard_key = WgPublicKey::from_bytes([99; 32]);
    assert!(!office.server.register(fresh).unwrap().rotate);
    let host = Some(office.host("ada"));
    assert_eq!(office.give(Command::RotateKeys { host }).unwrap().records.len(), 1);
}

#[test]
fn a_node_expires_and_its_host_stays() {
    let mut office = Office::new();
    let now = office.server.now;
    let at = |expires| NodeEdit { expires, ..NodeEdit::default() };
    assert_eq!(refused(office.edit("cleo", at(Edit::Set(now))), &["has passed"]), "expiry-passed");
    let soon = now + Duration::from_secs(60);
    office.edit("cleo", at(Edit::Set(soon))).unwrap();
    office.edit("dan", at(Edit::Set(soon))).unwrap();
    office.edit("dan", at(Edit::Clear)).unwrap();
    office.server.wait(59);
    assert!(office.give(SWEEP).unwrap().is_empty());
    office.server.wait(1);
    assert_eq!(office.give(SWEEP).unwrap().records.len(), 1);
    assert_eq!((office.server.intent.host_count(), office.server.intent.nodes(None).count()), (5, 4));
}
