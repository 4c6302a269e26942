//! What goes into a client's configuration: looked up in intent and inventory, for one of its gateways.
//!
//! Not for its text (`api::WgQuick`). It keeps true that a client is given no range that policy keeps from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::{Problem, ProblemKind, WgQuick};
use control::policy::{Member, may_talk};
use control::{HostInventory, Intent, Inventory};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Client, DnsName, Endpoint, HostName, Network, Node};
use wire::NatMapping;

/// The configuration of a client that comes in by this gateway.
pub(super) fn of(
    (intent, inventory): (&Intent, &Inventory),
    server: &DnsName,
    client: &Client,
    gateway: &Node,
    private_key: Option<[u8; 32]>,
) -> Result<WgQuick, Problem> {
    let gone = || Problem::new(ProblemKind::NotFound, "the gateway was removed just now");
    let host = intent.host(gateway.host).ok_or_else(gone)?;
    let network = intent.network(client.network).ok_or_else(gone)?;
    Ok(WgQuick {
        client: client.name.clone(),
        network: network.name.clone(),
        gateway: host.name.clone(),
        private_key,
        addresses: client.addresses.iter().collect(),
        dns: dns(client, gateway),
        search: client.dns.is_none().then(|| network.domain_below(server)).flatten(),
        mtu: client.mtu,
        gateway_key: host.wireguard_key,
        endpoint: endpoint(&host.name, host.static_endpoint, inventory.host(host.id))?,
        allowed: allowed(intent, client, network),
        keepalive: client.keepalive.unwrap_or(network.keepalive),
    })
}

/// Whom the client says, else the gateway, at its addresses of the families that the client has.
fn dns(client: &Client, gateway: &Node) -> Vec<IpAddr> {
    let own = |ip: &IpAddr| client.addresses.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
    client.dns.clone().unwrap_or_else(|| gateway.addresses.iter().filter(own).collect())
}

/// Where the gateway can be reached: as people said, else where it is seen, IPv4 first. What is seen of one behind a NAT with a
/// mapping for each destination helps no client.
fn endpoint(
    name: &HostName,
    fixed: Option<Endpoint>,
    seen: Option<&HostInventory>,
) -> Result<Endpoint, Problem> {
    if let Some(fixed) = fixed {
        return Ok(fixed);
    }
    let set = format!("set an endpoint (`netloom host update {name} --static-endpoint ADDRESS:PORT`)");
    let refused = |detail| Err(Problem::coded(ProblemKind::Conflict, "gateway-without-endpoint", detail));
    if seen.is_some_and(|seen| seen.nat() == NatMapping::PerDestination) {
        return refused(format!(
            "nobody can tell where the gateway `{name}` can be reached: its NAT has another mapping for every \
             destination; forward a port there and {set}, or name another gateway, and ask again"
        ));
    }
    match seen.and_then(|seen| seen.seen().into_iter().next()) {
        Some(endpoint) => Ok(endpoint),
        None => refused(format!(
            "nobody knows yet where the gateway `{name}` can be reached: start its agent, or {set}, and ask again"
        )),
    }
}

/// What the client sends to its gateway: the network's ranges, and those outside and behind other clients with whom policy
/// lets it talk, or everything. All of both families then: what the gateway does not let through goes nowhere else.
fn allowed(intent: &Intent, client: &Client, network: &Network) -> Vec<IpNet> {
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

#[cfg(test)]
mod tests {
    use control::Door;
    use model::{HostId, Timestamp};

    use super::*;

    #[test]
    fn what_is_seen_behind_a_nat_with_a_mapping_for_each_destination_is_given_to_no_client() {
        let (host, now) = (HostId::from_bytes([1; 16]), Timestamp::from_millis(1));
        let name = "gw".parse().unwrap();
        let [one, other, fixed]: [Endpoint; 3] =
            ["203.0.113.7:9", "203.0.113.7:10", "198.51.100.1:51820"].map(|text| text.parse().unwrap());
        let mut inventory = Inventory::default();
        let _effect = inventory.observe_seen(host, Door::First, one, now);
        assert_eq!(endpoint(&name, None, inventory.host(host)).unwrap(), one);
        let _effect = inventory.observe_seen(host, Door::Second, other, now);
        let problem = endpoint(&name, None, inventory.host(host)).unwrap_err();
        let text = format!("{problem:?}");
        assert!(text.contains("gateway-without-endpoint") && text.contains("every destination"), "{text}");
        assert_eq!(endpoint(&name, Some(fixed), inventory.host(host)).unwrap(), fixed);
    }
}
