//! The plan: what each host must know. `host_map` is the definition. `Touched`, `Roster` and `deltas` are the fast way to the
//! same, at the cost of what changed and of who hears of it; `Roster::answer` and `catch_up` are, for a host that was away.
//!
//! Not for sending, numbering or keeping maps: that is the server's. It keeps true that a host learns of another member only
//! where policy lets the two talk, or them whom they carry, that sessions are symmetric, and that the same input gives the
//! same map.

mod answer;
mod bucket;
mod client;
mod deltas;
mod host_delta;
mod layout;
mod log;
mod member;
mod own;
mod records;
mod roster;
mod section;
mod selves;
mod shift;
mod sight;
mod touched;
mod views;

use std::collections::BTreeMap;

use model::{DnsName, Generation, HostId, MemberId, NetworkId, Node};
use wire::{HostMap, Membership, Peer, PeerNode, ServerLinks, Way};

pub use answer::Differing;
pub use bucket::Bucket;
pub use client::{ClientEndpoint, ClientRanges, NoEndpoint, client_endpoint, client_ranges};
pub use deltas::{Deltas, MOST_TOLD, deltas, deltas_within};
pub use host_delta::HostDelta;
pub use log::{Log, catch_up};
pub(crate) use member::is_there;
pub use records::Book;
pub use roster::Roster;
pub use touched::Touched;

use crate::policy::Member;
use crate::{Intent, Inventory};

/// All that maps are made of, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// What people want.
    pub intent: &'a Intent,
    /// What was seen.
    pub inventory: &'a Inventory,
    /// The server's doors.
    pub links: &'a ServerLinks,
    /// The server's domain, below which networks without a domain of their own have theirs.
    pub domain: &'a DnsName,
}

/// The server's domain where its settings name none.
pub fn default_domain() -> DnsName {
    "netloom.internal".parse().expect("it is a DNS name")
}

/// All that this host must know; none for a host that does not exist.
pub fn host_map(picture: &Picture<'_>, host: HostId, generation: Generation) -> Option<HostMap> {
    let intent = picture.intent;
    let own = own::own_host(picture, host)?;
    let networks: BTreeMap<NetworkId, Membership> = own::memberships(picture, host).collect();
    let mut seen: BTreeMap<MemberId, (Member, Vec<PeerNode>)> = BTreeMap::new();
    for node in intent.nodes_of_host(host) {
        for member in sight::seen_by(intent, node) {
            let (Some(id), Some(part)) = (member.id(intent), member::as_seen(picture, node.network, member))
            else {
                continue;
            };
            seen.entry(id).or_insert((member, Vec::new())).1.push(part);
        }
    }
    let peer = |(id, (member, nodes)): (MemberId, (Member, Vec<PeerNode>))| {
        let direct = |node: &PeerNode| {
            let membership = networks.get(&node.network);
            membership.is_some_and(|membership| membership.way(host, id, node) == Way::Direct)
        };
        let direct = nodes.iter().any(direct);
        Some((id, member::peer(picture, member, nodes, direct)?))
    };
    let peers: BTreeMap<MemberId, Peer> = seen.into_iter().filter_map(peer).collect();
    Some(HostMap { generation, host: own, server: picture.links.clone(), networks, peers })
}

/// Whether one of the two hosts is told of the other. Then both are.
pub fn may_talk(intent: &Intent, one: HostId, other: HostId) -> bool {
    one != other
        && intent.nodes_of_host(one).any(|node| {
            let seen = sight::seen_by(intent, node);
            intent.node_of(other, node.network).is_some_and(|other| seen.contains(&Member::Node(other.id)))
        })
}

/// The networks in which the host takes part, by id.
fn takes_part(intent: &Intent, host: HostId) -> impl Iterator<Item = NetworkId> {
    intent.nodes_of_host(host).filter(|node| node.takes_part()).map(|node| node.network)
}

/// Who takes part in the network, but for this host.
fn others(intent: &Intent, network: NetworkId, but: Option<HostId>) -> impl Iterator<Item = &Node> {
    intent.nodes_in_network(network, None).filter(move |node| node.takes_part() && Some(node.host) != but)
}
