//! What a plain WireGuard client is set up with: where its gateway is, and what it sends there.
//!
//! Not for the text of its configuration (`api::WgQuick`), nor for what its gateway is told of it. It keeps true that a client
//! is given no range that policy keeps from it, and no endpoint that could not help it.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Client, Endpoint, Network};
use wire::NatMapping;

use crate::policy::{Member, may_talk};
use crate::{HostInventory, Intent};

/// Why nobody can tell a client where its gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// Its NAT has another mapping for every destination.
    PerDestination,
    /// Nobody has seen it yet.
    Unseen,
}

/// Where the gateway can be reached: as people said, else where it is seen, IPv4 first. What is seen of one behind a NAT with
/// a mapping for each destination helps no client.
pub fn client_endpoint(
    fixed: Option<Endpoint>,
    seen: Option<&HostInventory>,
) -> Result<Endpoint, NoEndpoint> {
    if let Some(fixed) = fixed {
        return Ok(fixed);
    }
    if seen.is_some_and(|seen| seen.nat() == NatMapping::PerDestination) {
        return Err(NoEndpoint::PerDestination);
    }
    seen.and_then(|seen| seen.seen().into_iter().next()).ok_or(NoEndpoint::Unseen)
}

/// What the client sends to its gateway: the network's ranges, and those outside and behind other clients with whom policy
/// lets it talk, or everything. All of both families then: what the gateway does not let through goes nowhere else.
pub fn client_ranges(intent: &Intent, client: &Client, network: &Network) -> Vec<IpNet> {
    if client.full_tunnel {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
        return vec![v4.into(), Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into()];
    }
    let talks = |other| may_talk(intent, network.id, Member::Client(client.id), other);
    let egresses = intent.egresses_in_network(network.id);
    let outside = egresses.filter(|egress| talks(Member::Egress(egress.id))).map(model::Egress::reached_as);
    let others = intent.clients_in_network(network.id).filter(|other| other.id != client.id);
    let others = others.filter(|other| talks(Member::Client(other.id)));
    let behind = others.flat_map(|other| other.ranges.iter().copied());
    let mut ranges: Vec<IpNet> = network.ranges.iter().collect();
    for range in outside.chain(behind) {
        if !ranges.iter().any(|known| known.contains(&range)) {
            ranges.push(range);
        }
    }
    ranges
}
