//! Where a client is sent that several gateways let in, at one of them.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use model::{Addresses, HostId, MemberId, WgPublicKey};
use wire::{HostMap, PeerNode};

use crate::two_networks::{OWN, interface, map, network, peer};

/// The other gateway, and its key.
const OTHER: ([u8; 16], [u8; 32]) = ([1; 16], [1; 32]);

/// A client with which this host has no session.
fn with_client(gateways: Vec<HostId>) -> HostMap {
    let mut map = map(false);
    let (_, mut client) = peer(0, Vec::new());
    let addresses = Addresses { v4: Some(Ipv4Addr::new(10, 0, 0, 50)), v6: None };
    client.key = None;
    client.nodes = vec![PeerNode { via: gateways, ..PeerNode::new(network(0), addresses) }];
    map.peers.insert(MemberId::from_bytes([50; 16]), client);
    map
}

/// Those to whom what is for the client is sent.
fn carriers(map: &HostMap) -> Vec<WgPublicKey> {
    let client: IpNet = "10.0.0.50/32".parse().unwrap();
    let interface = interface(map);
    let peers = interface.peers.iter().filter(|(_, peer)| peer.allowed.contains(&client));
    peers.map(|(key, _)| *key).collect()
}

#[test]
fn a_gateway_sends_no_client_past_itself() {
    let other = HostId::from_bytes(OTHER.0);
    assert_eq!(carriers(&with_client(vec![OWN, other])), [], "the other one would send it back");
    assert_eq!(carriers(&with_client(vec![other, OWN])), [WgPublicKey::from_bytes(OTHER.1)]);
}
