//! What a plain WireGuard client is set up with: where its gateway is, and what it sends there.
//!
//! Not for the text of its configuration (`api::WgQuick`), nor for what its gateway is told of it. It keeps true that a client
//! is given no range that policy keeps from it, no endpoint that could not help it, and no way to that endpoint through itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Where a client finds its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The UDP port that a NAT before the gateway has to let through to it: it is seen at none of its own addresses.
    pub forward: Option<u16>,
}

/// Where the gateway can be reached: as people said, else where it is seen, IPv4 first. What is seen of one behind a NAT with
/// a mapping for each destination helps no client.
pub fn client_endpoint(
    fixed: Option<Endpoint>,
    seen: Option<&HostInventory>,
) -> Result<ClientEndpoint, NoEndpoint> {
    if let Some(endpoint) = fixed {
        return Ok(ClientEndpoint { endpoint, forward: None });
    }
    let seen = seen.ok_or(NoEndpoint::Unseen)?;
    if seen.nat() == NatMapping::PerDestination {
        return Err(NoEndpoint::PerDestination);
    }
    let endpoint = seen.seen().into_iter().next().ok_or(NoEndpoint::Unseen)?;
    let is_own = seen.local.iter().any(|own| own.ip() == endpoint.ip());
    let forward = seen.local.first().filter(|_| !is_own).map(|own| own.port());
    Ok(ClientEndpoint { endpoint, forward })
}

/// What a client sends to its gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRanges {
    /// The ranges.
    pub ranges: Vec<IpNet>,
    /// The range out of which the gateway's own address was cut: sent into the tunnel, the tunnel would not come about.
    pub cut: Option<IpNet>,
}

/// What the client sends to its gateway at this address: the network's ranges, and those outside and behind other clients with
/// whom policy lets it talk, or everything. All of both families then: what the gateway does not let through goes nowhere else,
/// and every app keeps the gateway's own address out of that by itself.
pub fn client_ranges(intent: &Intent, client: &Client, network: &Network, gateway: IpAddr) -> ClientRanges {
    if client.full_tunnel {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
        let ranges = vec![v4.into(), Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into()];
        return ClientRanges { ranges, cut: None };
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
    let cut = ranges.iter().find(|range| range.contains(&gateway)).copied();
    let without = |range: IpNet| if range.contains(&gateway) { without(range, gateway) } else { vec![range] };
    ClientRanges { ranges: ranges.into_iter().flat_map(without).collect(), cut }
}

/// All of a range but one address of it, in order.
fn without(range: IpNet, address: IpAddr) -> Vec<IpNet> {
    let (mut left, mut rest) = (Vec::new(), range);
    while let Ok(halves) = rest.subnets(rest.prefix_len() + 1) {
        for half in halves {
            if half.contains(&address) { rest = half } else { left.push(half) }
        }
    }
    left.sort_unstable();
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_cut_out_of_a_range_and_no_other() {
        for (range, address) in
            [("192.168.7.0/24", "192.168.7.9"), ("fd00::/120", "fd00::ff"), ("10.0.0.1/32", "10.0.0.1")]
        {
            let (range, address): (IpNet, IpAddr) = (range.parse().unwrap(), address.parse().unwrap());
            let left = without(range, address);
            assert!(left.iter().all(|one| !one.contains(&address)), "{left:?}");
            let hosts = |net: &IpNet| 1_u32 << (net.max_prefix_len() - net.prefix_len());
            assert_eq!(left.iter().map(hosts).sum::<u32>() + 1, hosts(&range), "{left:?}");
            assert!(left.iter().all(|one| range.contains(one)), "{left:?}");
        }
    }
}
