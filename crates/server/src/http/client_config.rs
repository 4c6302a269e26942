//! What goes into a client's configuration: looked up in intent and inventory, for one of its gateways.
//!
//! Not for its text (`api::WgQuick`), nor for where the gateway is and what is sent there (`control::plan`). It keeps true that
//! whoever asks is told what to do where nobody knows where the gateway is.

use std::net::IpAddr;

use api::{Problem, ProblemKind, WgQuick};
use control::plan::{ClientEndpoint, ClientRanges, NoEndpoint, client_endpoint, client_ranges};
use control::{HostInventory, Intent, Inventory};
use ipnet::IpNet;
use model::{Client, DnsName, Endpoint, HostName, Node};

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
    let ClientEndpoint { endpoint, forward } =
        endpoint(&host.name, host.static_endpoint, inventory.host(host.id))?;
    let ClientRanges { ranges, cut } = client_ranges(intent, client, network, endpoint.ip());
    let forward = forward.map(|port| behind_nat(&host.name, endpoint, port));
    let cut = cut.map(|range| left_out(&host.name, endpoint, range));
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
        endpoint,
        allowed: ranges,
        keepalive: client.keepalive.unwrap_or(network.keepalive),
        notes: forward.into_iter().chain(cut).collect(),
    })
}

fn behind_nat(name: &HostName, endpoint: Endpoint, port: u16) -> String {
    format!(
        "gateway {name} is behind a NAT, which shows it as {endpoint}: forward UDP port {} there to port {port} of {name}, or set \
         an endpoint (netloom host update {name} --static-endpoint ADDRESS:PORT) and take the configuration again",
        endpoint.port()
    )
}

fn left_out(name: &HostName, endpoint: Endpoint, range: IpNet) -> String {
    format!(
        "{} lies in {range} and is where gateway {name} is reached: this one address is not sent into the tunnel",
        endpoint.ip()
    )
}

/// Whom the client says, else the gateway, at its addresses of the families that the client has.
fn dns(client: &Client, gateway: &Node) -> Vec<IpAddr> {
    let own = |ip: &IpAddr| client.addresses.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
    client.dns.clone().unwrap_or_else(|| gateway.addresses.iter().filter(own).collect())
}

/// Where the gateway can be reached, or what to do where nobody knows.
fn endpoint(
    name: &HostName,
    fixed: Option<Endpoint>,
    seen: Option<&HostInventory>,
) -> Result<ClientEndpoint, Problem> {
    let set = || format!("set an endpoint (`netloom host update {name} --static-endpoint ADDRESS:PORT`)");
    let refused = |detail| Problem::coded(ProblemKind::Conflict, "gateway-without-endpoint", detail);
    client_endpoint(fixed, seen).map_err(|why| match why {
        NoEndpoint::PerDestination => refused(format!(
            "nobody can tell where the gateway `{name}` can be reached: its NAT has another mapping for every \
             destination; forward a port there and {}, or name another gateway, and ask again",
            set()
        )),
        NoEndpoint::Unseen => refused(format!(
            "nobody knows yet where the gateway `{name}` can be reached: start its agent, or {}, and ask again",
            set()
        )),
    })
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
        assert_eq!(endpoint(&name, None, inventory.host(host)).unwrap().endpoint, one);
        let _effect = inventory.observe_seen(host, Door::Second, other, now);
        let problem = endpoint(&name, None, inventory.host(host)).unwrap_err();
        let text = format!("{problem:?}");
        assert!(text.contains("gateway-without-endpoint") && text.contains("every destination"), "{text}");
        assert_eq!(endpoint(&name, Some(fixed), inventory.host(host)).unwrap().endpoint, fixed);
    }

    #[test]
    fn a_gateway_that_is_seen_at_none_of_its_own_addresses_needs_its_port_forwarded() {
        let (host, now) = (HostId::from_bytes([1; 16]), Timestamp::from_millis(1));
        let name = "gw".parse().unwrap();
        let [seen, own, public]: [Endpoint; 3] =
            ["203.0.113.7:9999", "192.168.1.7:51820", "203.0.113.7:51820"].map(|text| text.parse().unwrap());
        let mut inventory = Inventory::default();
        let _effect = inventory.observe_seen(host, Door::First, seen, now);
        let forward =
            |inventory: &Inventory, fixed| endpoint(&name, fixed, inventory.host(host)).unwrap().forward;
        assert_eq!(forward(&inventory, None), None, "nobody knows its own addresses yet");
        let report = |local| wire::Report { local, ..wire::Report::default() };
        let _effect = inventory.observe_report(host, &report(vec![own]), now);
        assert_eq!(forward(&inventory, None), Some(51820));
        let note = behind_nat(&name, seen, 51820);
        assert!(note.contains("forward UDP port 9999") && note.contains("--static-endpoint"), "{note}");
        assert_eq!(forward(&inventory, Some(public)), None, "somebody says where it is");
        let _effect = inventory.observe_report(host, &report(vec![own, public]), now);
        assert_eq!(forward(&inventory, None), None);
    }
}
