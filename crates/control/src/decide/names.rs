//! Names that must not collide within a network: those of its hosts, of its clients and of DNS records, for all become names
//! in one domain; and names that nobody may have.

use model::{DnsName, Host, HostName, MemberId, Network, NetworkId, Node};

use crate::{Intent, NodeAt, Rejection};

/// The name of a host as a DNS name: every host name is a DNS label.
pub(super) fn label(name: &HostName) -> DnsName {
    name.as_str().parse().expect("a host name is a DNS label")
}

/// What machines look for by itself in the domain they search: who answers would be taken for the machine itself (RFC 6761,
/// 6.3), tell it its proxy, or be its IPv6 tunnel (RFC 5214).
const RESERVED: [&str; 3] = ["localhost", "wpad", "isatap"];

pub(super) fn is_reserved(name: &HostName) -> bool {
    RESERVED.contains(&name.as_str())
}

/// Refuses a name that nobody may have.
pub(super) fn check_reserved(name: &HostName) -> Result<(), Rejection> {
    if is_reserved(name) {
        return Err(Rejection::NameReserved { name: name.clone() });
    }
    Ok(())
}

/// Refuses a name that nobody may have. Who has such a name since before it was reserved, keeps it.
pub(super) fn check_new(before: Option<&HostName>, name: &HostName) -> Result<(), Rejection> {
    if before == Some(name) { Ok(()) } else { check_reserved(name) }
}

/// A node, as sentences name it.
pub(super) fn at(intent: &Intent, node: &Node) -> NodeAt {
    NodeAt { host: of_host(intent, node), network: of_network(intent, node.network) }
}

pub(super) fn of_host(intent: &Intent, node: &Node) -> HostName {
    intent.host(node.host).expect("nodes go with their host").name.clone()
}

pub(super) fn of_network(intent: &Intent, network: NetworkId) -> model::NetworkName {
    intent.network(network).expect("what is in a network goes with it").name.clone()
}

/// The host with a node in the network that has the name.
pub(super) fn host_named<'a>(intent: &'a Intent, network: NetworkId, name: &HostName) -> Option<&'a Host> {
    intent.host_by_name(name).filter(|host| intent.node_of(host.id, network).is_some())
}

/// Whose the name is in the network already, besides `own`'s.
pub(super) fn holder(
    intent: &Intent,
    network: NetworkId,
    name: &HostName,
    own: Option<MemberId>,
) -> Option<&'static str> {
    if host_named(intent, network, name).is_some_and(|host| own.is_none_or(|own| own != host.id)) {
        return Some("a host");
    }
    let client = intent.client_by_name(network, name);
    if client.is_some_and(|client| own.is_none_or(|own| own != client.id)) {
        return Some("a client");
    }
    intent.dns_records_at(network, Some(&label(name))).next().map(|_| "a DNS record")
}

/// Refuses a name that is somebody's in the network, besides `own`'s.
pub(super) fn check(
    intent: &Intent,
    network: &Network,
    name: &HostName,
    own: Option<MemberId>,
) -> Result<(), Rejection> {
    match holder(intent, network.id, name, own) {
        None => Ok(()),
        Some(holder) => {
            Err(Rejection::NameInUse { name: name.clone(), network: network.name.clone(), holder })
        }
    }
}
