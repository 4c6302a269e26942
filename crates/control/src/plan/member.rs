//! Members as others see them: what carries them, and how they are told of.
//!
//! Not for who sees whom (`sight`) and not for who may open connections to whom (`policy`).

use model::{Addresses, Client, Egress, Host, HostId, MemberId, NetworkId, Node, NodeId};
use wire::{Class, NatMapping, Net, Peer, PeerNode};

use super::Picture;
use crate::policy::Member;
use crate::{HostInventory, Intent};

/// A member of this network by the id under which hosts know it; none where nothing such takes part in it, or nobody leads
/// there.
pub(super) fn member_of(intent: &Intent, network: NetworkId, id: MemberId) -> Option<Member> {
    let bytes = *id.as_bytes();
    let node = intent.node_of(HostId::from_bytes(bytes), network).map(|node| Member::Node(node.id));
    let client = || intent.client(model::ClientId::from_bytes(bytes)).map(|client| Member::Client(client.id));
    let egress = || intent.egress(model::EgressId::from_bytes(bytes)).map(|egress| Member::Egress(egress.id));
    let member = node.or_else(client).or_else(egress)?;
    is_there(intent, network, member).then_some(member)
}

/// Whether it is a member that can be reached: clients and ranges to which nobody leads cannot.
pub(crate) fn is_there(intent: &Intent, network: NetworkId, member: Member) -> bool {
    let reached = match member {
        Member::Node(_) => true,
        Member::Client(_) | Member::Egress(_) => carriers(intent, member).next().is_some(),
    };
    reached && member.is_in(intent, network)
}

/// The nodes that carry a member, best first: gateways and routers that take part; the relay, whether or not it does.
pub(super) fn carriers(intent: &Intent, member: Member) -> impl Iterator<Item = &Node> {
    let (mut gateways, mut routers, mut relay) = (None, None, None);
    match member {
        Member::Node(id) => relay = intent.node(id).and_then(|node| intent.relay_of(node)),
        Member::Client(id) => gateways = intent.client(id),
        Member::Egress(id) => routers = intent.egress(id),
    }
    let gateways = gateways.into_iter().flat_map(|client| {
        let there = |node: &&Node| node.network == client.network && node.takes_part();
        client.gateways.iter().filter_map(|id| intent.node(*id)).filter(there)
    });
    let routers = routers.into_iter().flat_map(|egress| {
        let there = |node: &&Node| node.network == egress.network && node.takes_part();
        egress.routers.iter().filter_map(|router| intent.node(router.node)).filter(there)
    });
    gateways.chain(routers).chain(relay)
}

/// The hosts through which a member is reached, best first: a client through the gateway that it came in by last, if it did.
pub(super) fn via(picture: &Picture<'_>, member: Member) -> Vec<HostId> {
    let mut via: Vec<HostId> = carriers(picture.intent, member).map(|node| node.host).collect();
    if let Member::Client(client) = member
        && let Some((last, _)) = picture.inventory.client_at(client, &via)
        && let Some(at) = via.iter().position(|host| *host == last)
    {
        via[..=at].rotate_right(1);
    }
    via
}

/// What a node carries and can be reached: clients, egress ranges, nodes whose relay it is.
pub(super) fn carried<'a>(intent: &'a Intent, node: &'a Node) -> impl Iterator<Item = Member> + 'a {
    let clients = intent.clients_of_gateway(node.id).map(|client| Member::Client(client.id));
    let egresses = intent.egresses_of_router(node.id).map(|egress| Member::Egress(egress.id));
    let spokes = spokes(intent, node);
    let all = clients.chain(egresses).chain(spokes);
    all.filter(|member| node.takes_part() && is_there(intent, node.network, *member))
}

/// The nodes whose relay this is.
fn spokes<'a>(intent: &'a Intent, node: &'a Node) -> impl Iterator<Item = Member> + 'a {
    let named = intent.nodes_of_relay(node.id).filter(|it| it.id != node.id);
    let is_hub = intent.network(node.network).is_some_and(|network| network.hub == Some(node.id));
    let rest = is_hub.then(|| intent.nodes_in_network(node.network, None)).into_iter().flatten();
    let rest = rest.filter(|it| it.relay.is_none() && it.id != node.id);
    named.chain(rest).map(|node| Member::Node(node.id))
}

/// Whether the node does something for others, whoever takes part.
pub(super) fn has_duties(intent: &Intent, node: &Node) -> bool {
    intent.network(node.network).is_some_and(|network| network.hub == Some(node.id))
        || intent.nodes_of_relay(node.id).next().is_some()
        || intent.nodes_of_internet(node.id).next().is_some()
        || intent.clients_of_gateway(node.id).next().is_some()
        || intent.egresses_of_router(node.id).next().is_some()
}

/// The numbers of what a member may be named by together with others, ordered.
pub(super) fn classes(intent: &Intent, network: NetworkId, member: Member) -> Vec<Class> {
    let mut classes = Vec::new();
    let internet = |gateway: NodeId| {
        let gateway = intent.node(gateway)?;
        Some(internet_class(network, gateway.host))
    };
    match member {
        Member::Node(id) => {
            let node = intent.node(id);
            let tags = node.map(|node| &node.tags).into_iter().flatten();
            classes.extend(tags.map(|tag| Class::new(network, "tag", tag.as_str().as_bytes())));
            let gateway = node.and_then(|node| node.internet?.gateway);
            classes.extend(gateway.and_then(internet));
        }
        Member::Client(id) => {
            let client = intent.client(id);
            let tags = client.map(|client| &client.tags).into_iter().flatten();
            classes.extend(tags.map(|tag| Class::new(network, "tag", tag.as_str().as_bytes())));
            let owner = client.and_then(|client| client.owner).and_then(|owner| intent.user(owner));
            classes.extend(owner.map(|owner| Class::new(network, "user", owner.id.as_bytes())));
            let groups = owner.map(|owner| &owner.groups).into_iter().flatten();
            classes.extend(groups.map(|group| Class::new(network, "group", group.as_str().as_bytes())));
            let full = client.filter(|client| client.full_tunnel);
            let gateways = full.map(|client| &client.gateways).into_iter().flatten();
            classes.extend(gateways.filter_map(|gateway| internet(*gateway)));
        }
        Member::Egress(_) => {}
    }
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// The class of those who use this host as their internet gateway.
pub(super) fn internet_class(network: NetworkId, gateway: HostId) -> Class {
    Class::new(network, "internet", gateway.as_bytes())
}

/// A member by its part in one network.
pub(super) fn as_seen(picture: &Picture<'_>, network: NetworkId, member: Member) -> Option<PeerNode> {
    let intent = picture.intent;
    let mut seen = PeerNode::new(network, Addresses::default());
    match member {
        Member::Node(id) => seen.addresses = intent.node(id)?.addresses,
        Member::Client(id) => {
            let Client { addresses, ranges, .. } = intent.client(id)?;
            seen.addresses = *addresses;
            seen.ranges = ranges.iter().copied().map(Net).collect();
        }
        Member::Egress(id) => seen.ranges = vec![Net(intent.egress(id).map(Egress::reached_as)?)],
    }
    seen.classes = classes(intent, network, member);
    seen.via = via(picture, member);
    seen.relayed = matches!(member, Member::Node(_)) && !seen.via.is_empty();
    Some(seen)
}

/// A member as those see it who know it by these nodes; `direct` if there is a session with it. Nothing else in it depends
/// on who looks.
pub(super) fn peer(
    picture: &Picture<'_>,
    member: Member,
    nodes: Vec<PeerNode>,
    direct: bool,
) -> Option<Peer> {
    let intent = picture.intent;
    let bare = |name: &model::HostName, key| Peer {
        name: name.clone(),
        key,
        nodes: Vec::new(),
        seen: Vec::new(),
        local: Vec::new(),
        fixed: None,
        nat: NatMapping::Unknown,
    };
    let peer = match member {
        Member::Node(id) => {
            let host = intent.host(intent.node(id)?.host)?;
            let Host { name, wireguard_key, static_endpoint, .. } = host;
            let seen = picture.inventory.host(host.id);
            Peer {
                seen: seen.map(HostInventory::seen).unwrap_or_default(),
                local: seen.map(|seen| seen.local.clone()).unwrap_or_default(),
                fixed: *static_endpoint,
                nat: seen.map(HostInventory::nat).unwrap_or_default(),
                ..bare(name, Some(*wireguard_key))
            }
        }
        Member::Client(id) => {
            let Client { name, key, .. } = intent.client(id)?;
            bare(name, Some(*key))
        }
        Member::Egress(id) => bare(&intent.egress(id)?.name, None),
    };
    Some(peer.by_nodes(nodes, direct))
}
