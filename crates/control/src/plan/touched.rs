//! What a change may touch: a superset of what it does touch, at a cost that follows from it.
//!
//! Not for what changes: `deltas` looks at that, and only at what is named here.

use std::collections::BTreeSet;

use model::{Host, HostId, Network, Node};

use crate::{Change, Intent, Record, RecordChange};

/// What a change may touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Hosts of which they themselves or their networks may have changed.
    pub own: BTreeSet<HostId>,
    /// Pairs (host, peer): the host may see this peer differently.
    pub(super) pairs: Vec<(HostId, HostId)>,
}

impl Touched {
    /// What the change touches that makes `after` of `before`.
    pub fn by_change(before: &Intent, after: &Intent, change: &Change) -> Self {
        let mut touched = Self::default();
        for RecordChange { before: old, after: new } in &change.records {
            for record in old.iter().chain(new) {
                match record {
                    Record::Network(network) => touched.network(before, after, network),
                    Record::Host(host) => touched.host(before, after, host),
                    Record::Node(node) => touched.node(before, after, node),
                    Record::EnrollmentKey(_) | Record::User(_) | Record::ApiToken(_) => {}
                }
            }
        }
        touched.in_order()
    }

    /// What an observation of this host touches (`Effect::Maps`).
    pub fn by_inventory(intent: &Intent, host: HostId) -> Self {
        let pairs = super::peers_of(intent, host).into_iter().map(|peer| (peer, host)).collect();
        Self { own: BTreeSet::from([host]), pairs }.in_order()
    }

    /// What either touches: for changes that go out together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.own.extend(other.own);
        self.pairs.extend(other.pairs);
        self.in_order()
    }

    /// Pairs (host, peer), ordered: the host may see this peer differently.
    pub fn pairs(&self) -> &[(HostId, HostId)] {
        &self.pairs
    }

    fn in_order(mut self) -> Self {
        self.pairs.sort_unstable();
        self.pairs.dedup();
        self
    }

    fn network(&mut self, before: &Intent, after: &Intent, network: &Network) {
        for intent in [before, after] {
            self.own.extend(intent.nodes_in_network(network.id, None).map(|node| node.host));
        }
    }

    /// A host that comes or goes does so with its nodes, which see to its peers.
    fn host(&mut self, before: &Intent, after: &Intent, host: &Host) {
        self.own.insert(host.id);
        let (Some(old), Some(new)) = (before.host(host.id), after.host(host.id)) else {
            return;
        };
        let visible = |host: &Host| (host.name.clone(), host.wireguard_key, host.static_endpoint);
        if visible(old) == visible(new) {
            return;
        }
        for intent in [before, after] {
            self.pairs.extend(super::peers_of(intent, host.id).into_iter().map(|peer| (peer, host.id)));
        }
    }

    fn node(&mut self, before: &Intent, after: &Intent, node: &Node) {
        self.own.insert(node.host);
        if !node.connected {
            return;
        }
        // A host without a map before or after gets it whole, or none: its own side needs no pairs.
        let both_ways = before.host(node.host).is_some() && after.host(node.host).is_some();
        for intent in [before, after] {
            for other in super::others(intent, node.network, node.host).map(|node| node.host) {
                self.pairs.push((other, node.host));
                if both_ways {
                    self.pairs.push((node.host, other));
                }
            }
        }
    }
}
