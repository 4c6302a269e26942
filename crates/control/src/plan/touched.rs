//! What a change may touch: a superset of what it does touch, at a cost that follows from the change and not from how
//! many hosts see it.
//!
//! Not for what changes: `Roster` and `deltas` look at that, and only at what is named here.

use std::collections::BTreeSet;

use model::{Host, HostId, NetworkId};

use crate::{Change, Intent, Record, RecordChange};

/// What a change may touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Hosts that may have changed themselves, or in what they are a part of.
    pub(super) own: BTreeSet<HostId>,
    /// Networks that may have changed for all of their members.
    pub(super) networks: BTreeSet<NetworkId>,
    /// Hosts that the others of a network may see differently.
    pub(super) seen: BTreeSet<(NetworkId, HostId)>,
    /// Hosts that may be in other networks than before, or take part in others.
    pub(super) moved: BTreeSet<HostId>,
}

impl Touched {
    /// What the change touches that makes `after` of `before`. Either may be further away: several changes can be looked at
    /// from both ends of all of them.
    pub fn by_change(before: &Intent, after: &Intent, change: &Change) -> Self {
        let mut touched = Self::default();
        for RecordChange { before: old, after: new } in &change.records {
            for record in old.iter().chain(new) {
                match record {
                    Record::Network(network) => drop(touched.networks.insert(network.id)),
                    Record::Host(host) => touched.host(before, after, host),
                    Record::Node(node) => {
                        touched.own.insert(node.host);
                        touched.moved.insert(node.host);
                        touched.seen.insert((node.network, node.host));
                    }
                    Record::EnrollmentKey(_)
                    | Record::User(_)
                    | Record::ApiToken(_)
                    | Record::Client(_)
                    | Record::Egress(_)
                    | Record::Policy(_)
                    | Record::PolicyTest(_)
                    | Record::DnsRecord(_)
                    | Record::Upstream(_) => {}
                }
            }
        }
        touched
    }

    /// What an observation of this host touches (`Effect::Maps`).
    pub fn by_inventory(intent: &Intent, host: HostId) -> Self {
        let mut touched = Self { own: BTreeSet::from([host]), ..Self::default() };
        touched.wherever(intent, host);
        touched
    }

    /// What either touches: for changes that go out together. Costs what `other` is: hundreds of joins that go out together
    /// must not each be paid for by all before it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self { own, networks, seen, moved } = other;
        self.own.extend(own);
        self.networks.extend(networks);
        self.seen.extend(seen);
        self.moved.extend(moved);
        self
    }

    /// A host that comes or goes does so with its nodes, which see to its peers; so they do where it takes part on one side of
    /// the change only.
    fn host(&mut self, before: &Intent, after: &Intent, host: &Host) {
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
        self.seen.extend(super::takes_part(intent, host).map(|network| (network, host)));
    }
}
