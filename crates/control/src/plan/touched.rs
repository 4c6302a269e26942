//! What a change may touch: a superset of what it does touch, at a cost that follows from it.
//!
//! Not for what changes: `deltas` looks at that, and only at what is named here.

use std::collections::{BTreeMap, BTreeSet};

use model::{Host, HostId, Network, NetworkId, Node};

use crate::{Change, Intent, Record, RecordChange};

/// Nodes of one network in one change from which on it is asked whether they are too many for deltas.
const MANY_NODES: usize = 256;
/// Pairs of one change for which deltas are made. A network of thousands that is removed has tens of millions, and all that
/// they would say to anybody is that everybody is gone: its hosts fetch their maps instead.
const MOST_PAIRS: usize = 1 << 22;

/// What a change may touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Hosts of which they themselves or their networks may have changed.
    pub own: BTreeSet<HostId>,
    /// Hosts for which so much may have changed that they fetch their maps.
    pub(super) whole: BTreeSet<HostId>,
    /// Pairs (host, peer): the host may see this peer differently. Each change's are ordered; those of several may repeat.
    pairs: Vec<(HostId, HostId)>,
}

impl Touched {
    /// What the change touches that makes `after` of `before`.
    pub fn by_change(before: &Intent, after: &Intent, change: &Change) -> Self {
        let crowded = crowded(before, after, change);
        let members = crowded.iter().flat_map(|network| {
            [before, after].into_iter().flat_map(|intent| intent.nodes_in_network(*network, None))
        });
        let mut touched = Self { whole: members.map(|node| node.host).collect(), ..Self::default() };
        for RecordChange { before: old, after: new } in &change.records {
            for record in old.iter().chain(new) {
                match record {
                    Record::Network(network) => touched.network(before, after, network),
                    Record::Host(host) => touched.host(before, after, host),
                    Record::Node(node) if crowded.contains(&node.network) => {
                        touched.own.insert(node.host);
                    }
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
        Self { own: BTreeSet::from([host]), whole: BTreeSet::new(), pairs }.in_order()
    }

    /// What either touches: for changes that go out together. Costs what `other` is: hundreds of joins that go out together
    /// must not each be paid for by all before it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.own.extend(other.own);
        self.whole.extend(other.whole);
        self.pairs.extend(other.pairs);
        self
    }

    /// Pairs (host, peer), ordered, each once: the host may see this peer differently.
    pub(super) fn pairs_in_order(&self) -> Vec<(HostId, HostId)> {
        let mut pairs = self.pairs.clone();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    fn in_order(mut self) -> Self {
        self.pairs = self.pairs_in_order();
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

/// Networks of which the change names so many nodes that their pairs would be too many.
fn crowded(before: &Intent, after: &Intent, change: &Change) -> BTreeSet<NetworkId> {
    let mut named: BTreeMap<NetworkId, usize> = BTreeMap::new();
    for record in change.records.iter().filter_map(|change| change.after.as_ref().or(change.before.as_ref()))
    {
        if let Record::Node(node) = record {
            *named.entry(node.network).or_default() += 1;
        }
    }
    let members = |network| {
        let count = |intent: &Intent| intent.nodes_in_network(network, None).count();
        count(before) + count(after)
    };
    named.retain(|network, nodes| *nodes >= MANY_NODES && *nodes * members(*network) > MOST_PAIRS);
    named.into_keys().collect()
}
