//! Networks, nodes and addresses.

use std::net::Ipv4Addr;

use control::plan::{Deltas, Picture, Roster, Touched, default_domain, deltas};
use control::{Command, Intent, Record, Rejection};
use model::{
    Addresses, Host, HostId, Network, NetworkId, Node, NodeId, SealingIdentity, SealingPublicKey,
    SigningPublicKey, Timestamp, Uses, WgPublicKey,
};

use crate::server::{Server, digest, machine, ranges};

fn v4(last: u8) -> Option<Addresses> {
    Some(Addresses { v4: Some(Ipv4Addr::new(10, 7, 0, last)), v6: None })
}

#[test]
fn networks_without_ranges_get_free_ones() {
    let mut server = Server::new();
    let made: Vec<Network> = (0..40)
        .map(|number| {
            let name = format!("net-{number}").parse().unwrap();
            let change = server
                .system(Command::CreateNetwork {
                    name,
                    ranges: None,
                    keepalive: None,
                    access: None,
                    approval: false,
                    domain: None,
                })
                .unwrap();
            change.made::<Network>().unwrap().clone()
        })
        .collect();
    assert!(made.iter().all(|network| network.ranges.v4().unwrap().prefix_len() == 16));
    assert!(made.iter().all(|network| network.ranges.v6().unwrap().network().is_unique_local()));
}

#[test]
fn all_of_ten_in_use_is_told() {
    let mut server = Server::new();
    server.network("big", "10.0.0.0/8");
    let refused = server.system(Command::CreateNetwork {
        name: "x".parse().unwrap(),
        ranges: None,
        keepalive: None,
        access: None,
        approval: false,
        domain: None,
    });
    assert_eq!(refused, Err(Rejection::NoRangeLeft));
}

#[test]
fn an_overlap_names_both_ranges_and_the_network() {
    let mut server = Server::new();
    server.network("office", "10.7.0.0/16");
    let create = |text| Command::CreateNetwork {
        name: "lab".parse().unwrap(),
        ranges: Some(ranges(text)),
        keepalive: None,
        access: None,
        approval: false,
        domain: None,
    };
    for text in ["10.7.3.0/24", "10.0.0.0/8", "10.7.0.0/16"] {
        let sentence = server.system(create(text)).unwrap_err().to_string();
        assert!([text, "10.7.0.0/16", "office"].iter().all(|part| sentence.contains(part)), "{sentence}");
    }
    assert!(server.system(create("10.8.0.0/16")).is_ok());
}

#[test]
fn addresses_are_handed_out_lowest_first_and_again_when_free() {
    let mut server = Server::new();
    let office = server.network("office", "10.7.0.0/24");
    server.key(1, &[office], Uses::Unlimited, None);
    let hosts: Vec<_> = (1..=3).map(|number| server.register(machine(number, Some(1))).unwrap().id).collect();
    let addresses: Vec<_> =
        hosts.iter().map(|host| server.nodes(*host)[0].addresses.v4.unwrap().octets()[3]).collect();
    assert_eq!(addresses, [1, 2, 3]);
    server.system(Command::RemoveHost { host: hosts[1] }).unwrap();
    let next = server.register(machine(4, Some(1))).unwrap().id;
    assert_eq!(server.nodes(next)[0].addresses, v4(2).unwrap());
}

#[test]
fn an_address_chosen_by_hand_must_be_free_and_a_hosts() {
    let mut server = Server::new();
    let office = server.network("office", "10.7.0.0/24");
    server.key(1, &[office], Uses::Unlimited, None);
    server.key(2, &[], Uses::Unlimited, None);
    server.register(machine(1, Some(1))).unwrap();
    let host = server.register(machine(2, Some(2))).unwrap().id;
    let mut add = |addresses| {
        server.system(Command::AddNode { host, network: office, addresses, tags: Default::default() })
    };
    let code = |result: Result<_, Rejection>| result.unwrap_err().code();
    assert_eq!(code(add(v4(0))), "address-reserved");
    assert_eq!(code(add(v4(255))), "address-reserved");
    assert_eq!(code(add(v4(1))), "address-taken");
    let outside = Addresses { v4: Some(Ipv4Addr::new(10, 8, 0, 9)), v6: None };
    assert_eq!(code(add(Some(outside))), "address-outside");
    let v6 = Addresses { v4: None, v6: Some("fd00::1".parse().unwrap()) };
    assert_eq!(code(add(Some(v6))), "address-outside");
    add(v4(77)).unwrap();
    assert!(add(None).unwrap().is_empty());
    assert!(add(v4(77)).unwrap().is_empty());
    assert_eq!(code(add(v4(78))), "node-exists");
}

#[test]
fn a_network_in_use_goes_only_by_force_and_takes_its_own_keys_along() {
    let mut server = Server::new();
    let (office, lab) = (server.network("office", "10.7.0.0/24"), server.network("lab", "10.8.0.0/24"));
    server.key(1, &[office], Uses::Unlimited, None);
    server.key(2, &[office, lab], Uses::Unlimited, None);
    server.key(3, &[], Uses::Unlimited, None);
    let host = server.register(machine(1, Some(2))).unwrap().id;
    let refused = server.system(Command::DeleteNetwork { network: office, force: false });
    assert_eq!(refused, Err(Rejection::NetworkInUse { network: "office".parse().unwrap(), nodes: 1 }));
    server.system(Command::DeleteNetwork { network: office, force: true }).unwrap();
    assert!(server.intent.enrollment_key_by_digest(&digest(1)).is_none());
    assert_eq!(server.intent.enrollment_key_by_digest(&digest(2)).unwrap().networks, [lab]);
    assert_eq!(server.intent.enrollment_key_by_digest(&digest(3)).unwrap().networks, []);
    assert_eq!(server.nodes(host).iter().map(|node| node.network).collect::<Vec<_>>(), [lab]);
}

#[test]
fn a_key_leads_into_networks_that_exist_each_once() {
    let mut server = Server::new();
    let office = server.network("office", "10.7.0.0/24");
    server.key(1, &[office, office], Uses::Unlimited, None);
    assert_eq!(server.intent.enrollment_key_by_digest(&digest(1)).unwrap().networks, [office]);
    let nowhere = NetworkId::from_bytes([9; 16]);
    let create = |networks, uses, expires| Command::CreateEnrollmentKey {
        title: "two".parse().unwrap(),
        digest: digest(2),
        networks,
        uses,
        expires,
        tags: Default::default(),
        ephemeral: false,
    };
    let now = server.now;
    let mut code = |command| server.system(command).unwrap_err().code();
    assert_eq!(code(create(vec![nowhere], Uses::Unlimited, None)), "no-such-network");
    assert_eq!(code(create(vec![office; 65], Uses::Unlimited, None)), "too-many-networks");
    assert_eq!(code(create(vec![], Uses::Left(0), None)), "no-uses");
    assert_eq!(code(create(vec![], Uses::Unlimited, Some(now))), "expiry-passed");
}

#[test]
fn a_crowd_that_loses_its_network_is_told_to_fetch() {
    let mut server = Server::new();
    let office = server.network("office", "10.7.0.0/16");
    let network = server.intent.network(office).unwrap().clone();
    let mut records = vec![Record::Network(network)];
    for number in 0..2_100_u16 {
        let [high, low] = number.to_be_bytes();
        let (host, node) = crowd(office, high, low);
        records.extend([Record::Host(host), Record::Node(node)]);
    }
    let before = Intent::from_records(1, records).unwrap();
    server.intent = before.clone();
    let change = server.system(Command::DeleteNetwork { network: office, force: true }).unwrap();

    let touched = Touched::by_change(&before, &server.intent, &change);
    let (inventory, links) = Default::default();
    let domain = default_domain();
    let picture = |intent| Picture { intent, inventory: &inventory, links: &links, domain: &domain };
    let (before, after) = (picture(&before), picture(&server.intent));
    let rosters = (Roster::of(&before), Roster::of(&after));
    let Deltas { changed, new, removed } = deltas(&before, &after, &rosters.0, &rosters.1, &touched);
    assert_eq!((changed.len(), new.len(), removed.len()), (0, 2_100, 0));
}

/// One of many hosts in a network.
fn crowd(network: NetworkId, high: u8, low: u8) -> (Host, Node) {
    let key = |kind| {
        let mut key = [kind; 32];
        (key[0], key[1]) = (high, low);
        key
    };
    let id = |kind| {
        let mut id = [kind; 16];
        (id[0], id[1]) = (high, low);
        id
    };
    let sealing = SealingPublicKey::from_bytes(key(3));
    let created = Timestamp::from_millis(1_800_000_000_000);
    let host = Host {
        id: HostId::from_bytes(id(1)),
        name: format!("host-{high}-{low}").parse().unwrap(),
        wireguard_key: WgPublicKey::from_bytes(key(1)),
        signing_key: SigningPublicKey::from_bytes(key(2)),
        sealing: SealingIdentity { key: sealing, encapsulated: sealing, server: None },
        mtu: None,
        static_endpoint: None,
        default: false,
        ephemeral: false,
        rotate: false,
        rotate_since: None,
        rekeyed: None,
        created,
    };
    let addresses = Addresses { v4: Some(Ipv4Addr::new(10, 7, high + 1, low)), v6: None };
    let node = Node {
        id: NodeId::from_bytes(id(2)),
        host: host.id,
        network,
        addresses,
        connected: true,
        pending: false,
        tags: Default::default(),
        duties: Default::default(),
        relay: None,
        internet: None,
        expires: None,
        created,
    };
    (host, node)
}
