//! What a host is told of itself: its networks, what it leads to, and who may open connections to that.
//!
//! It keeps true that a host that does not take part in a network is told nothing of it that it could use there.

use std::sync::Arc;

use model::{Access, DnsName, Host, HostId, Mtu, NetworkId, Node, Policy, PolicyId, Service, Subject};
use wire::{Class, EgressDuty, Grant, InternetWay, Membership, Net, OwnHost, Party, ToldUpstream};

use super::Picture;
use super::member::{classes, internet_class, is_there};
use super::records::records;
use crate::policy::{Member, speaks_of};
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
    let shared = Shared::of(picture, node.network)?;
    let offers = offers(picture.intent, node.network);
    let grants = grants(picture.intent, node, &ends(picture.intent, node), offers.iter());
    let told = apart(picture, node).map(|own| shared.with(own, grants))?;
    let records = if told.takes_part() { records(picture.intent, node.network) } else { Vec::new() };
    Some(Membership { records, ..told })
}

/// What all who take part in a network are told alike, but for its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    domain: Option<DnsName>,
    upstreams: Vec<ToldUpstream>,
}

impl Shared {
    pub(super) fn of(picture: &Picture<'_>, network: NetworkId) -> Option<Self> {
        let it = picture.intent.network(network)?;
        Some(Self { domain: it.domain_below(picture.domain), upstreams: upstreams(picture.intent, network) })
    }

    /// The whole of what a host is told, by what it is told apart from the others and by its grants. Who does not take part is
    /// told nothing of this.
    pub(super) fn with(&self, own: Membership, grants: Vec<Grant>) -> Membership {
        if !own.takes_part() {
            return own;
        }
        let Self { domain, upstreams } = self.clone();
        Membership { grants, domain, upstreams, ..own }
    }
}

/// What a host is told of its part in a network, but for its grants and what all are told alike.
pub(super) fn apart(picture: &Picture<'_>, node: &Node) -> Option<Membership> {
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
    let way = |used: model::InternetUse| {
        let via = used.gateway.and_then(|gateway| intent.node(gateway)).map(|gateway| gateway.host);
        InternetWay { via, lan: used.lan }
    };
    Some(Membership {
        via: intent.relay_of(node).map(|relay| relay.host),
        guarded: network.access == Access::Deny,
        classes: classes(intent, network.id, Member::Node(node.id)),
        egress: duties(intent, node),
        internet_gateway: node.duties.internet,
        internet: node.internet.map(way),
        ..plain
    })
}

/// Who may open connections to these, over which the node stands guard: by those of the offers that lead there, and to the
/// outside. Where there is no guard there are no offers, and everything within the network passes as it is.
fn grants<'a>(
    intent: &Intent,
    node: &Node,
    ends: &[Member],
    offers: impl Iterator<Item = &'a Offer>,
) -> Vec<Grant> {
    let offers = offers.filter_map(|offer| offer.to_those(intent, ends));
    let mut grants: Vec<Grant> = offers.chain(outside(node)).collect();
    grants.sort_unstable();
    grants.dedup();
    grants
}

/// What an internet gateway grants to its users.
pub(super) fn outside(node: &Node) -> Option<Grant> {
    let users = || Party::Class(internet_class(node.network, node.host));
    let gateway = node.duties.internet && node.takes_part();
    gateway.then(|| Grant { from: vec![users()], to: vec![Party::Outside], services: Vec::new() })
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

/// One direction of a policy, in the words of maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// The policy, and whether it is its way back.
    pub(super) source: (PolicyId, bool),
    from: Vec<Party>,
    to: Vec<(Subject, Party)>,
    services: Vec<Service>,
}

impl Offer {
    /// Those whom it names of whom these are some.
    fn to(&self, intent: &Intent, ends: &[Member]) -> Vec<Party> {
        let speaks = |subject: &Subject| ends.iter().any(|end| speaks_of(intent, subject, *end));
        let to = self.to.iter().filter(|(subject, _)| speaks(subject));
        let mut to: Vec<Party> = to.map(|(_, party)| *party).collect();
        to.sort_unstable();
        to
    }

    /// The same, where these are some of those whom it names: none, if it names no others.
    pub(super) fn to_some(&self, intent: &Intent, ends: &[Member]) -> Option<Vec<Party>> {
        (self.to.len() > 1).then(|| self.to(intent, ends))
    }

    /// What it grants to those; to all whom it names, where none are said.
    pub(super) fn grant(&self, to: Option<Vec<Party>>) -> Grant {
        let to = to.unwrap_or_else(|| self.to.iter().map(|(_, party)| *party).collect());
        Grant { from: self.from.clone(), to, services: self.services.clone() }
    }

    /// What it grants where these are to be reached; none if it does not speak of them.
    fn to_those(&self, intent: &Intent, ends: &[Member]) -> Option<Grant> {
        let to = self.to(intent, ends);
        (!to.is_empty()).then(|| self.grant(Some(to)))
    }

    /// Whether one of the others grants what this does, where these are to be reached.
    pub(super) fn is_among(&self, others: &[&Arc<Self>], intent: &Intent, ends: &[Member]) -> bool {
        let alike = |other: &&&Arc<Self>| self.from == other.from && self.services == other.services;
        let to = self.to(intent, ends);
        to.is_empty() || others.iter().filter(alike).any(|other| other.to(intent, ends) == to)
    }
}

/// What the enabled policies of a network offer: each direction, in the order of `Rules`; nothing where everything passes anyway.
pub(super) fn offers(intent: &Intent, network: NetworkId) -> Vec<Offer> {
    if intent.network(network).is_none_or(|network| network.access == Access::Allow) {
        return Vec::new();
    }
    let offer = |policy: &Policy, back: bool| {
        let (from, to) = if back { (&policy.to, &policy.from) } else { (&policy.from, &policy.to) };
        let party = |subject: &Subject| Some((subject.clone(), party(intent, network, subject)?));
        Offer {
            source: (policy.id, back),
            from: parties(intent, network, from.iter()),
            to: to.iter().filter_map(party).collect(),
            services: policy.services.iter().cloned().collect(),
        }
    };
    let enabled = intent.policies_in_network(network).filter(|policy| policy.enabled);
    let both = enabled.flat_map(|policy| {
        let back = policy.both.then(|| offer(policy, true));
        std::iter::once(offer(policy, false)).chain(back)
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
