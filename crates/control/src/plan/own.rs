//! What a host is told of itself: its networks, what it leads to, and who may open connections to that.
//!
//! It keeps true that a host that does not take part in a network is told nothing of it that it could use there.

use std::collections::BTreeSet;

use model::{Access, Host, HostId, Mtu, NetworkId, Node, Policy, Service, Subject, ToldRecord};
use wire::{Class, EgressDuty, Grant, InternetWay, Membership, Net, OwnHost, Party, ToldUpstream};

use super::Picture;
use super::member::{classes, internet_class, is_there};
use crate::policy::{Member, subjects_of};
use crate::{HostInventory, Intent};

/// The host itself.
pub(super) fn own_host(picture: &Picture<'_>, host: HostId) -> Option<OwnHost> {
    let Host { id, name, mtu, rotate, .. } = picture.intent.host(host)?;
    let seen = picture.inventory.host(host);
    Some(OwnHost {
        id: *id,
        name: name.clone(),
        mtu: mtu.unwrap_or(Mtu::DEFAULT),
        seen: seen.map(HostInventory::seen).unwrap_or_default(),
        nat: seen.map(HostInventory::nat).unwrap_or_default(),
        rotate: *rotate,
    })
}

/// What the host is in, by network id.
pub(super) fn memberships(
    picture: &Picture<'_>,
    host: HostId,
) -> impl Iterator<Item = (NetworkId, Membership)> {
    let nodes = picture.intent.nodes_of_host(host);
    nodes.filter_map(|node| Some((node.network, membership(picture, node)?)))
}

/// One of them, by the definition.
fn membership(picture: &Picture<'_>, node: &Node) -> Option<Membership> {
    let offers = offers(picture.intent, node.network);
    membership_by(picture, node, offers.iter())
}

/// The same, from those offers alone that may concern what the node stands guard over.
pub(super) fn membership_by<'a>(
    picture: &Picture<'_>,
    node: &Node,
    offers: impl Iterator<Item = &'a Offer>,
) -> Option<Membership> {
    let intent = picture.intent;
    let network = intent.network(node.network)?;
    let plain = Membership {
        addresses: node.addresses,
        connected: node.connected,
        pending: node.pending,
        keepalive: network.keepalive,
        ..Membership::plain(network.name.clone(), network.ranges)
    };
    if !node.takes_part() {
        return Some(plain);
    }
    let guarded = network.access == Access::Deny;
    let mut grants = Vec::new();
    // Where there is no guard everything within the network passes as it is.
    if guarded {
        let named = named(intent, node);
        grants.extend(offers.filter_map(|offer| offer.to_those(&named)));
    }
    if node.duties.internet {
        let users = internet_class(network.id, node.host);
        grants.push(Grant {
            from: vec![Party::Class(users)],
            to: vec![Party::Outside],
            services: Vec::new(),
        });
    }
    grants.sort_unstable();
    grants.dedup();
    let way = |used: model::InternetUse| {
        let via = intent.node(used.gateway)?.host;
        Some(InternetWay { via, lan: used.lan })
    };
    Some(Membership {
        via: intent.relay_of(node).map(|relay| relay.host),
        guarded,
        classes: classes(intent, network.id, Member::Node(node.id)),
        grants,
        egress: duties(intent, node),
        internet_gateway: node.duties.internet,
        internet: node.internet.and_then(way),
        domain: network.domain_below(picture.domain),
        records: records(intent, network.id),
        upstreams: upstreams(intent, network.id),
        ..plain
    })
}

fn records(intent: &Intent, network: NetworkId) -> Vec<ToldRecord> {
    let told = intent.dns_records_in_network(network).map(|record| ToldRecord {
        name: record.name.clone(),
        ttl: record.ttl,
        data: record.data.clone(),
    });
    let mut told: Vec<ToldRecord> = told.collect();
    told.sort_unstable();
    told
}

fn upstreams(intent: &Intent, network: NetworkId) -> Vec<ToldUpstream> {
    let told = intent
        .upstreams_in_network(network)
        .map(|upstream| ToldUpstream { domain: upstream.domain.clone(), servers: upstream.servers.clone() });
    let mut told: Vec<ToldUpstream> = told.collect();
    told.sort_by(|one, other| one.domain.cmp(&other.domain));
    told
}

/// The ranges outside of the network that the node leads to.
fn duties(intent: &Intent, node: &Node) -> Vec<EgressDuty> {
    let egresses = intent.egresses_of_router(node.id).filter(|egress| egress.enabled);
    let duty = egresses.map(|egress| EgressDuty {
        id: egress.id.into(),
        range: Net(egress.range),
        mapped: egress.mapped.map(Net),
        nat: egress.nat,
    });
    duty.collect()
}

/// The node, its clients and its egress ranges: what it stands guard over. Nodes that it relays stand guard themselves.
pub(super) fn ends(intent: &Intent, node: &Node) -> Vec<Member> {
    let clients = intent.clients_of_gateway(node.id).map(|client| Member::Client(client.id));
    let egresses = intent.egresses_of_router(node.id).map(|egress| Member::Egress(egress.id));
    let there = |member: &Member| is_there(intent, node.network, *member);
    std::iter::once(Member::Node(node.id)).chain(clients.chain(egresses).filter(there)).collect()
}

/// What policies may name that by over which the node stands guard.
fn named(intent: &Intent, node: &Node) -> BTreeSet<Subject> {
    let ends = ends(intent, node).into_iter();
    ends.flat_map(|end| subjects_of(intent, end)).chain([Subject::Everything]).collect()
}

/// One direction of a policy, in the words of maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    from: Vec<Party>,
    to: Vec<(Subject, Party)>,
    services: Vec<Service>,
}

impl Offer {
    /// What it grants where these are to be reached; none if it does not speak of them.
    fn to_those(&self, named: &BTreeSet<Subject>) -> Option<Grant> {
        let to = self.to.iter().filter(|(subject, _)| named.contains(subject));
        let mut to: Vec<Party> = to.map(|(_, party)| *party).collect();
        to.sort_unstable();
        (!to.is_empty()).then(|| Grant { from: self.from.clone(), to, services: self.services.clone() })
    }
}

/// What the enabled policies of a network offer: each direction, in the order of `Rules`.
pub(super) fn offers(intent: &Intent, network: NetworkId) -> Vec<Offer> {
    let offer = |policy: &Policy, from: &BTreeSet<Subject>, to: &BTreeSet<Subject>| {
        let party = |subject: &Subject| Some((subject.clone(), party(intent, network, subject)?));
        Offer {
            from: parties(intent, network, from.iter()),
            to: to.iter().filter_map(party).collect(),
            services: policy.services.iter().cloned().collect(),
        }
    };
    let enabled = intent.policies_in_network(network).filter(|policy| policy.enabled);
    let both = enabled.flat_map(|policy| {
        let back = policy.both.then(|| offer(policy, &policy.to, &policy.from));
        std::iter::once(offer(policy, &policy.from, &policy.to)).chain(back)
    });
    both.collect()
}

fn parties<'a>(
    intent: &Intent,
    network: NetworkId,
    subjects: impl Iterator<Item = &'a Subject>,
) -> Vec<Party> {
    let mut parties: Vec<Party> = subjects.filter_map(|subject| party(intent, network, subject)).collect();
    parties.sort_unstable();
    parties
}

fn party(intent: &Intent, network: NetworkId, subject: &Subject) -> Option<Party> {
    let class = |kind, name: &[u8]| Party::Class(Class::new(network, kind, name));
    Some(match subject {
        Subject::Everything => Party::Everything,
        Subject::Node(id) => Party::Member(intent.node(*id)?.host.into()),
        Subject::Client(id) => Party::Member((*id).into()),
        Subject::Egress(id) => Party::Member((*id).into()),
        Subject::Tag(tag) => class("tag", tag.as_str().as_bytes()),
        Subject::User(user) => class("user", user.as_bytes()),
        Subject::Group(group) => class("group", group.as_str().as_bytes()),
    })
}
