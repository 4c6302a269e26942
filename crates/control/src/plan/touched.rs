//! What a change may touch: a superset of what it does touch, at a cost that follows from the change and not from how
//! many hosts see it.
//!
//! Not for what changes: `Roster` and `deltas` look at that, and only at what is named here.

use std::collections::BTreeSet;

use model::{
    Access, Client, DnsName, DnsRecord, Egress, Host, HostId, MemberId, Network, NetworkId, Node, NodeId,
    Policy, PolicyId, User,
};

use crate::{Change, Intent, Noun, Record, RecordChange};

/// What a change may touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Hosts that may have changed themselves, or in what they are a part of.
    pub(super) own: BTreeSet<HostId>,
    /// Networks that may have changed for all of their members.
    pub(super) networks: BTreeSet<NetworkId>,
    /// Members that the others of a network may see differently, or that may be in another section.
    pub(super) seen: BTreeSet<(NetworkId, MemberId)>,
    /// Networks whose members may all be in other sections, or see others.
    pub(super) relaid: BTreeSet<NetworkId>,
    /// Hosts that may be in other networks than before.
    pub(super) moved: BTreeSet<HostId>,
    /// Policies that may grant something else to those they speak of.
    pub(super) policies: BTreeSet<(NetworkId, PolicyId)>,
    /// Names at which DNS records may be others.
    pub(super) records: BTreeSet<(NetworkId, Option<DnsName>)>,
}

/// Intent before and after.
type Ends<'a> = [&'a Intent; 2];

/// Both sides of a record, as far as they are there.
type Sides<'a, T> = (Option<&'a T>, Option<&'a T>);

fn sides<'a, T: Noun>(old: Option<&'a Record>, new: Option<&'a Record>) -> Sides<'a, T> {
    (old.and_then(Record::noun), new.and_then(Record::noun))
}

fn each<'a, T>((old, new): Sides<'a, T>) -> impl Iterator<Item = &'a T> {
    old.into_iter().chain(new)
}

fn differs<T, V: PartialEq>((old, new): Sides<'_, T>, look: impl Fn(&T) -> V) -> bool {
    old.map(&look) != new.map(&look)
}

impl Touched {
    /// What the change touches that makes `after` of `before`. Either may be further away: several changes can be looked at
    /// from both ends of all of them.
    pub fn by_change(before: &Intent, after: &Intent, change: &Change) -> Self {
        let mut touched = Self::default();
        let ends = [before, after];
        for RecordChange { before: old, after: new } in &change.records {
            touched.record(ends, old.as_ref(), new.as_ref());
        }
        touched
    }

    fn record(&mut self, ends: Ends<'_>, old: Option<&Record>, new: Option<&Record>) {
        let Some(record) = old.or(new) else { return };
        match record {
            Record::Network(_) => self.network(ends, sides(old, new)),
            Record::Host(host) => self.host(ends, host),
            Record::Node(_) => self.node(ends, sides(old, new)),
            Record::User(_) => self.user(ends, sides(old, new)),
            Record::Client(_) => self.client(ends, sides(old, new)),
            Record::Egress(_) => self.egress(ends, sides(old, new)),
            Record::Policy(_) => self.policy(ends, sides(old, new)),
            Record::DnsRecord(_) => {
                let names =
                    each(sides::<DnsRecord>(old, new)).map(|record| (record.network, record.name.clone()));
                self.records.extend(names);
            }
            Record::Upstream(upstream) => drop(self.networks.insert(upstream.network)),
            Record::EnrollmentKey(_) | Record::ApiToken(_) | Record::PolicyTest(_) => {}
        }
    }

    /// What an observation of this host touches (`Effect::Maps`): itself, and the clients that come in by it.
    pub fn by_inventory(intent: &Intent, host: HostId) -> Self {
        let mut touched = Self { own: BTreeSet::from([host]), ..Self::default() };
        touched.wherever(intent, host);
        for node in intent.nodes_of_host(host) {
            let clients = intent.clients_of_gateway(node.id);
            touched.seen.extend(clients.map(|client| (client.network, client.id.into())));
        }
        touched
    }

    /// What either touches: for changes that go out together. Costs what `other` is: hundreds of joins that go out together
    /// must not each be paid for by all before it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self { own, networks, seen, relaid, moved, policies, records } = other;
        self.own.extend(own);
        self.networks.extend(networks);
        self.seen.extend(seen);
        self.relaid.extend(relaid);
        self.moved.extend(moved);
        self.policies.extend(policies);
        self.records.extend(records);
        self
    }

    /// The members of this network that may be seen differently, ordered.
    pub(super) fn seen_in(&self, network: NetworkId) -> impl Iterator<Item = MemberId> {
        let first = (network, MemberId::from_bytes([0; 16]));
        let last = (network, MemberId::from_bytes([0xff; 16]));
        self.seen.range(first..=last).map(|(_, member)| *member)
    }

    fn network(&mut self, ends: Ends<'_>, sides: Sides<'_, Network>) {
        let Some(id) = each(sides).map(|network| network.id).next() else { return };
        self.networks.insert(id);
        if differs(sides, |network| network.access) {
            self.relaid.insert(id);
        }
        if differs(sides, |network| network.hub) {
            self.rewired(ends, id);
        }
    }

    /// All nodes of the network may be reached in another way.
    fn rewired(&mut self, ends: Ends<'_>, network: NetworkId) {
        self.relaid.insert(network);
        self.networks.insert(network);
        let nodes = ends.into_iter().flat_map(|intent| intent.nodes_in_network(network, None));
        self.seen.extend(nodes.map(|node| (network, node.host.into())));
    }

    /// A host that comes or goes does so with its nodes, which see to its peers; so they do where it takes part on one side of
    /// the change only.
    fn host(&mut self, [before, after]: Ends<'_>, host: &Host) {
        self.own.insert(host.id);
        let (Some(old), Some(new)) = (before.host(host.id), after.host(host.id)) else {
            return;
        };
        let visible = |host: &Host| (host.name.clone(), host.wireguard_key, host.static_endpoint);
        if visible(old) != visible(new) {
            self.wherever(after, host.id);
        }
    }

    /// Whoever shares a network with the host may see it differently.
    fn wherever(&mut self, intent: &Intent, host: HostId) {
        self.seen.extend(super::takes_part(intent, host).map(|network| (network, host.into())));
    }

    /// A node, those that it leads to, and those that lead to it.
    fn node(&mut self, ends: Ends<'_>, sides: Sides<'_, Node>) {
        for node in each(sides) {
            self.own.insert(node.host);
            self.seen.insert((node.network, node.host.into()));
            let others = node.relay.into_iter().chain(node.internet.and_then(|used| used.gateway));
            others.for_each(|other| self.carrier(ends, other));
        }
        if !differs(sides, |node| (node.takes_part(), node.host)) {
            return;
        }
        for (intent, node) in ends.into_iter().flat_map(|intent| each(sides).map(move |node| (intent, node)))
        {
            let clients = intent.clients_of_gateway(node.id);
            self.seen.extend(clients.map(|client| (client.network, client.id.into())));
            let egresses = intent.egresses_of_router(node.id);
            self.seen.extend(egresses.map(|egress| (egress.network, egress.id.into())));
            if differs(sides, |node| node.host) {
                self.moved.insert(node.host);
                let spokes = intent.nodes_of_relay(node.id).chain(intent.nodes_of_internet(node.id));
                for spoke in spokes {
                    self.own.insert(spoke.host);
                    self.seen.insert((spoke.network, spoke.host.into()));
                }
                if intent.network(node.network).is_some_and(|network| network.hub == Some(node.id)) {
                    self.rewired(ends, node.network);
                }
            }
        }
    }

    /// A node that does something for others, or did: it, and what it stands guard over.
    fn carrier(&mut self, ends: Ends<'_>, carrier: NodeId) {
        for node in ends.into_iter().filter_map(|intent| intent.node(carrier)) {
            self.own.insert(node.host);
            self.seen.insert((node.network, node.host.into()));
        }
    }

    fn client(&mut self, ends: Ends<'_>, sides: Sides<'_, Client>) {
        for client in each(sides) {
            self.seen.insert((client.network, client.id.into()));
            client.gateways.iter().for_each(|gateway| self.carrier(ends, *gateway));
        }
    }

    fn egress(&mut self, ends: Ends<'_>, sides: Sides<'_, Egress>) {
        for egress in each(sides) {
            self.seen.insert((egress.network, egress.id.into()));
            egress.routers.iter().for_each(|router| self.carrier(ends, router.node));
        }
    }

    /// What policies say of a user they say of its clients.
    fn user(&mut self, ends: Ends<'_>, sides: Sides<'_, User>) {
        if !differs(sides, |user| user.groups.clone()) {
            return;
        }
        for user in each(sides) {
            let clients = ends.into_iter().flat_map(|intent| intent.clients_of_user(user.id));
            for client in clients {
                self.client(ends, (Some(client), None));
            }
        }
    }

    fn policy(&mut self, ends: Ends<'_>, sides: Sides<'_, Policy>) {
        let says = |policy: &Policy| {
            let Policy { id: _, network, name: _, enabled, from, to, services, both, created: _ } = policy;
            enabled.then(|| (*network, from.clone(), to.clone(), services.clone(), *both))
        };
        if !differs(sides, says) && sides.0.is_some() == sides.1.is_some() {
            return;
        }
        let guarded = |network: NetworkId| {
            let access = |intent: &&Intent| intent.network(network).map(|network| network.access);
            ends.iter().any(|intent| access(intent) != Some(Access::Allow))
        };
        for policy in each(sides).filter(|policy| guarded(policy.network)) {
            self.policies.insert((policy.network, policy.id));
            self.relaid.insert(policy.network);
        }
    }
}
