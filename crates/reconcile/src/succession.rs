//! A peer that takes the place of another one, because a host has made itself a new key: it is where the other one was.
//!
//! Not for the choice of paths, which goes on from there. It keeps true that only a peer which takes addresses over from one
//! that goes in the same breath takes its endpoint over too.

use std::collections::BTreeSet;

use ipnet::IpNet;
use model::Endpoint;

use crate::{Actual, Op};

/// Gives peers that come the endpoints of those whose addresses they have.
pub fn carry_endpoints_over(ops: &mut [Op], actual: &Actual) {
    let Some(device) = actual.device() else { return };
    let gone = ops.iter().filter_map(|op| {
        let Op::RemovePeer(key) = op else { return None };
        device.peers.get(key)
    });
    let gone: Vec<(Endpoint, BTreeSet<IpNet>)> = gone
        .filter(|peer| !peer.allowed.is_empty() && peer.last_handshake.is_some())
        .filter_map(|peer| Some((peer.endpoint?, peer.allowed.clone())))
        .collect();
    if gone.is_empty() {
        return;
    }
    for op in ops {
        let Op::AddPeer(_, peer) = op else { continue };
        let before = gone.iter().find(|(_, allowed)| !allowed.is_disjoint(&peer.allowed));
        peer.endpoint = before.map(|(endpoint, _)| *endpoint).or(peer.endpoint);
    }
}
