//! An intent as policy's independent evaluator sees it (`oracle`): names and rules, read off the records.
//!
//! Not for who can reach whom. It shares no code with the planner or the policy compiler: members are called by their ids,
//! so that nothing else can be taken for them.

use std::collections::{BTreeMap, BTreeSet};

use control::Intent;
use model::{Access, NetworkId, Service, Subject};

use super::packet;
use crate::oracle::{Kind, Member, Party, Picture, Ports, Rule};

/// The picture of one network.
pub(super) fn of(intent: &Intent, network: NetworkId) -> Picture {
    let guarded = intent.network(network).is_some_and(|network| network.access == Access::Deny);
    let mut members = BTreeMap::new();
    for node in intent.nodes_in_network(network, None) {
        let active = node.connected && !node.pending;
        let tags = node.tags.iter().map(ToString::to_string).collect();
        members.insert(node.id.to_string(), member(Kind::Node, tags, None, active));
    }
    for client in intent.clients_in_network(network) {
        let tags = client.tags.iter().map(ToString::to_string).collect();
        let owner = client.owner.map(|owner| owner.to_string());
        members.insert(client.id.to_string(), member(Kind::Client, tags, owner, client.is_let_in()));
    }
    for egress in intent.egresses_in_network(network) {
        members.insert(egress.id.to_string(), member(Kind::Egress, BTreeSet::new(), None, egress.enabled));
    }
    let rules = intent.policies_in_network(network).map(|policy| {
        let rule = Rule {
            enabled: policy.enabled,
            from: policy.from.iter().map(party).collect(),
            to: policy.to.iter().map(party).collect(),
            services: policy.services.iter().map(ports).collect(),
            both: policy.both,
        };
        (policy.id.to_string(), rule)
    });
    let groups = intent.users(None).map(|user| {
        (user.id.to_string(), user.groups.iter().map(ToString::to_string).collect::<BTreeSet<String>>())
    });
    Picture { guarded, members, rules: rules.collect(), groups: groups.collect() }
}

const fn member(kind: Kind, tags: BTreeSet<String>, owner: Option<String>, active: bool) -> Member {
    Member { kind, addresses: Vec::new(), tags, owner, active }
}

fn party(subject: &Subject) -> Party {
    match subject {
        Subject::Everything => Party::Everything,
        Subject::Node(id) => Party::Member(Kind::Node, id.to_string()),
        Subject::Client(id) => Party::Member(Kind::Client, id.to_string()),
        Subject::Egress(id) => Party::Member(Kind::Egress, id.to_string()),
        Subject::Tag(tag) => Party::Tag(tag.to_string()),
        Subject::User(user) => Party::User(user.to_string()),
        Subject::Group(group) => Party::Group(group.to_string()),
    }
}

fn ports(service: &Service) -> Ports {
    Ports {
        protocol: service.protocol().to_string(),
        ranges: service.ports().iter().map(|range| (range.first(), range.last())).collect(),
    }
}

/// A service in the words of the evaluator.
pub(super) const fn words(service: packet::Service) -> (&'static str, u16) {
    match service {
        packet::Service::Ping => ("icmp", 0),
        packet::Service::Tcp(port) => ("tcp", port),
        packet::Service::Udp(port) => ("udp", port),
    }
}
