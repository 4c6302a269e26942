//! Registration and enrollment keys.

use control::{Actor, Command, Rejection};
use model::{SealingPublicKey, Uses, WgPublicKey};
use wire::HostSettings;

use crate::server::{Server, machine};

#[test]
fn a_one_use_key_admits_exactly_one_of_twenty() {
    let mut server = Server::new();
    let office = server.network("office", "10.7.0.0/24");
    server.key(1, &[office], Uses::Left(1), None);
    let admitted = (1..=20).filter(|number| server.register(machine(*number, Some(1))).is_ok()).count();
    assert_eq!((admitted, server.intent.host_count()), (1, 1));
}

#[test]
fn unknown_expired_and_spent_keys_are_told_apart() {
    let mut server = Server::new();
    let expires = server.now + std::time::Duration::from_secs(60);
    server.key(1, &[], Uses::Unlimited, Some(expires));
    server.key(2, &[], Uses::Left(1), None);
    server.register(machine(9, Some(2))).unwrap();
    server.wait(60);
    let refused = |server: &mut Server, key| server.register(machine(1, key)).unwrap_err();
    assert_eq!(refused(&mut server, Some(7)), Rejection::UnknownKey);
    let title = |number: u8| format!("key {number}").parse().unwrap();
    assert_eq!(refused(&mut server, Some(1)), Rejection::ExpiredKey { title: title(1), expired: expires });
    assert_eq!(refused(&mut server, Some(2)), Rejection::SpentKey { title: title(2) });
    assert_eq!(refused(&mut server, None), Rejection::KeyNeeded);
    assert_eq!(server.intent.host_count(), 1);
}

#[test]
fn a_machine_whose_answer_got_lost_asks_again_and_spends_nothing() {
    let mut server = Server::new();
    let office = server.network("office", "10.7.0.0/24");
    server.key(1, &[office], Uses::Left(1), None);
    let host = server.register(machine(1, Some(1))).unwrap();
    let nodes = server.nodes(host.id);
    assert_eq!(server.register(machine(1, Some(1))).unwrap(), host);
    assert_eq!((server.uses(1), server.nodes(host.id)), (Uses::Left(0), nodes));
}

#[test]
fn a_known_host_joins_further_networks_with_another_key() {
    let mut server = Server::new();
    let (office, lab) = (server.network("office", "10.7.0.0/24"), server.network("lab", "10.8.0.0/24"));
    server.key(1, &[office], Uses::Left(5), None);
    server.key(2, &[office, lab], Uses::Left(5), None);
    let host = server.register(machine(1, Some(1))).unwrap();
    let before = server.nodes(host.id);
    assert_eq!(server.register(machine(1, Some(2))).unwrap(), host);
    let after = server.nodes(host.id);
    assert_eq!(after.iter().map(|node| node.network).collect::<Vec<_>>(), [office, lab]);
    assert_eq!(after[..1], before);
    assert_eq!((server.uses(1), server.uses(2)), (Uses::Left(4), Uses::Left(4)));
}

#[test]
fn a_known_host_renews_its_keys_without_an_enrollment_key() {
    let mut server = Server::new();
    server.key(1, &[], Uses::Left(1), None);
    let host = server.register(machine(1, Some(1))).unwrap();
    let mut renewed = machine(1, None);
    renewed.wireguard_key = WgPublicKey::from_bytes([0x77; 32]);
    renewed.encapsulated = SealingPublicKey::from_bytes([0x78; 32]);
    let after = server.register(renewed.clone()).unwrap();
    assert_eq!((after.id, after.wireguard_key), (host.id, renewed.wireguard_key));
    assert_eq!(after.sealing.encapsulated, renewed.encapsulated);
    assert!(server.intent.host_by_wireguard_key(&host.wireguard_key).is_none());
}

#[test]
fn two_machines_of_one_disk_image_are_told_so() {
    let mut server = Server::new();
    server.key(1, &[], Uses::Unlimited, None);
    server.register(machine(1, Some(1))).unwrap();
    let mut copy = machine(2, Some(1));
    copy.wireguard_key = WgPublicKey::from_bytes([1; 32]);
    assert_eq!(server.register(copy).unwrap_err(), Rejection::WireguardKeyTaken);
    let other = server.register(machine(3, Some(1))).unwrap();
    let mut copy = machine(3, None);
    copy.wireguard_key = WgPublicKey::from_bytes([1; 32]);
    assert_eq!(server.register(copy).unwrap_err(), Rejection::WireguardKeyTaken);
    assert_eq!(server.intent.host(other.id), Some(&other));
}

#[test]
fn a_host_that_was_asked_for_another_key_has_it_once_and_nobody_else_s() {
    let mut server = Server::new();
    server.key(1, &[], Uses::Unlimited, None);
    let (host, other) =
        (server.register(machine(1, Some(1))).unwrap(), server.register(machine(2, Some(1))).unwrap());
    server.give(Actor::System, Command::RotateKeys { host: Some(host.id) }).unwrap();
    assert!(server.intent.host(host.id).unwrap().rotate);
    let own = |key| (Actor::Host(host.id), Command::OwnKey(key));
    let (actor, taken) = own(other.wireguard_key);
    assert_eq!(server.give(actor, taken).unwrap_err(), Rejection::WireguardKeyTaken);
    let new = WgPublicKey::from_bytes([77; 32]);
    for _ in 0..2 {
        // An answer that was lost makes it ask again.
        let (actor, change) = own(new);
        server.give(actor, change).unwrap();
        let after = server.intent.host(host.id).unwrap();
        assert!(!after.rotate && after.wireguard_key == new);
    }
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_keeps_it() {
    let mut server = Server::new();
    server.key(1, &[], Uses::Unlimited, None);
    let names: Vec<String> =
        (1..=9).map(|number| server.register(machine(number, Some(1))).unwrap().name.to_string()).collect();
    assert_eq!(names[..3], ["web", "web-2", "web-3"]);
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), 9);
    let mut again = machine(2, None);
    again.settings.name = Some("web".parse().unwrap());
    assert_eq!(server.register(again.clone()).unwrap().name.as_str(), "web-2");
    again.settings.name = Some("Mail".parse().unwrap());
    assert_eq!(server.register(again).unwrap().name.as_str(), "mail");
}

#[test]
fn settings_name_the_host_and_what_they_leave_open_stays() {
    let mut server = Server::new();
    server.key(1, &[], Uses::Unlimited, None);
    let mut first = machine(1, Some(1));
    let endpoint = "203.0.113.7:51820".parse().unwrap();
    first.settings =
        HostSettings { name: Some("db".parse().unwrap()), mtu: None, static_endpoint: Some(endpoint) };
    assert_eq!(server.register(first).unwrap().name.as_str(), "db");
    let after = server.register(machine(1, None)).unwrap();
    assert_eq!((after.name.as_str(), after.static_endpoint), ("db", Some(endpoint)));
}

#[test]
fn a_network_without_free_addresses_admits_nobody_and_spends_nothing() {
    let mut server = Server::new();
    let tiny = server.network("tiny", "10.7.0.0/30");
    server.key(1, &[tiny], Uses::Left(9), None);
    server.register(machine(1, Some(1))).unwrap();
    server.register(machine(2, Some(1))).unwrap();
    let refused = server.register(machine(3, Some(1))).unwrap_err();
    assert_eq!(refused.code(), "no-address-left");
    assert_eq!((server.uses(1), server.intent.host_count()), (Uses::Left(7), 2));
}

#[test]
fn a_host_agrees_another_channel_once_and_keeps_all_else() {
    let mut server = Server::new();
    server.key(1, &[], Uses::Unlimited, None);
    let host = server.register(machine(1, Some(1))).unwrap();
    let key = |number| model::SealingPublicKey::from_bytes([number; 32]);
    let agreed = Command::OwnChannel { server: key(50), encapsulated: key(51) };
    assert_eq!(server.give(Actor::Host(host.id), agreed.clone()).unwrap().records.len(), 1);
    let after = server.intent.host(host.id).unwrap().clone();
    assert_eq!((after.sealing.server, after.sealing.encapsulated), (Some(key(50)), key(51)));
    assert_eq!(model::Host { sealing: host.sealing, ..after }, host);
    assert!(server.give(Actor::Host(host.id), agreed).unwrap().is_empty(), "said again");
}
