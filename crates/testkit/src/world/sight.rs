//! Whose keys a host is to have, from an intent alone: whom policy lets talk to it or to what it carries, and who carries
//! those. Brute force; no code of the planner.
//!
//! Not for what else it is told. It keeps true that a key is had only where there is to be a session.

use std::collections::BTreeSet;

use model::{Node, WgPublicKey};

use super::NETWORKS;
use super::model::{Member, Model};

impl<'a> Model<'a> {
    /// The keys with which a host is to have a session.
    pub(super) fn keys_of(&self, host: usize) -> BTreeSet<WgPublicKey> {
        let mut keys = BTreeSet::new();
        for network in 0..NETWORKS {
            let Some(own) = self.node(host, network).filter(|node| node.takes_part()) else { continue };
            let members = self.members(network);
            let told = self.told(network, own, &members);
            keys.extend(told.into_iter().filter_map(|member| self.session(own, member)));
        }
        keys
    }

    /// Whoever takes part and can be reached.
    pub(super) fn members(&self, network: usize) -> Vec<Member<'a>> {
        let id = self.world.networks[network];
        let there = |node: &model::NodeId| self.intent.node(*node).is_some_and(Node::takes_part);
        let nodes = self.intent.nodes_in_network(id, None).filter(|node| node.takes_part());
        let clients = self.intent.clients_in_network(id);
        let clients = clients.filter(|client| client.is_let_in() && client.gateways.iter().any(there));
        let egresses = self.intent.egresses_in_network(id).filter(|egress| egress.enabled);
        let egresses = egresses.filter(|egress| egress.routers.iter().any(|router| there(&router.node)));
        let (nodes, clients) = (nodes.map(Member::Node), clients.map(Member::Client));
        nodes.chain(clients).chain(egresses.map(Member::Egress)).collect()
    }

    fn carries(&self, carrier: Member<'_>, member: Member<'_>) -> bool {
        let Member::Node(carrier) = carrier else { return false };
        match member {
            Member::Node(node) => self.relay(node).is_some_and(|relay| relay.id == carrier.id),
            Member::Client(client) => client.gateways.contains(&carrier.id),
            Member::Egress(egress) => egress.routers.iter().any(|router| router.node == carrier.id),
        }
    }

    fn are_partners(&self, network: usize, one: Member<'_>, other: Member<'_>) -> bool {
        let uses = |one: Member<'_>, other: Member<'_>| match (one, other) {
            (Member::Node(one), Member::Node(other)) => {
                one.internet.is_some_and(|used| used.gateway == Some(other.id))
            }
            (_, _) => false,
        };
        let knows = self.picture(network).may_know(&one.name(), &other.name());
        knows || uses(one, other) || uses(other, one)
    }

    pub(super) fn told(&self, network: usize, own: &'a Node, members: &[Member<'a>]) -> Vec<Member<'a>> {
        let me = Member::Node(own);
        let is_me = |member: &Member<'_>| matches!(member, Member::Node(node) if node.id == own.id);
        let others: Vec<Member<'a>> = members.iter().copied().filter(|member| !is_me(member)).collect();
        let mut mine: Vec<Member<'a>> = others.iter().copied().filter(|it| self.carries(me, *it)).collect();
        mine.push(me);
        let is_first = |member: &Member<'a>| {
            let carried = self.carries(me, *member);
            let named = |one: &Member<'_>| one.name() == member.name();
            carried || mine.iter().any(|one| !named(one) && self.are_partners(network, *one, *member))
        };
        let first: Vec<Member<'a>> = others.iter().copied().filter(is_first).collect();
        let leads = |member: &Member<'_>| {
            self.carries(*member, me) || first.iter().any(|one| self.carries(*member, *one))
        };
        others.into_iter().filter(|member| is_first(member) || leads(member)).collect()
    }

    /// The key of a member with which there is to be a session.
    fn session(&self, own: &Node, member: Member<'_>) -> Option<WgPublicKey> {
        let relay = self.relay(own).map(|relay| relay.id);
        match member {
            Member::Node(node) => {
                let direct = match (relay, self.relay(node)) {
                    (Some(relay), _) => relay == node.id,
                    (None, Some(theirs)) => theirs.id == own.id,
                    (None, None) => true,
                };
                let host = self.intent.host(node.host).filter(|_| direct)?;
                Some(host.wireguard_key)
            }
            Member::Client(client) => {
                let direct = relay.is_none() && client.gateways.contains(&own.id);
                direct.then_some(client.key)
            }
            Member::Egress(_) => None,
        }
    }
}
