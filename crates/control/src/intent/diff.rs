//! What differs between two intents, at a cost that follows from the difference: tables share what they have in common.
//!
//! For those who keep something in step with intent and see only some of its states. Not for maps: the planner is told of changes.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;
use model::{ClientId, DnsName, DnsRecord, HostId, NetworkId, NodeId};

use super::{Intent, Table};

/// Records that are new, gone or other than before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    /// Networks.
    pub networks: BTreeSet<NetworkId>,
    /// Hosts.
    pub hosts: BTreeSet<HostId>,
    /// Nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Clients.
    pub clients: BTreeSet<ClientId>,
    /// The names at which DNS records differ, in which network; none is its domain itself.
    pub dns_records: BTreeSet<(NetworkId, Option<DnsName>)>,
}

fn keys<'a, I: Ord + Copy, T: PartialEq>(
    before: &'a Table<I, T>,
    after: &'a Table<I, T>,
) -> impl Iterator<Item = I> + use<'a, I, T> {
    before.diff(after).map(|item| match item {
        DiffItem::Add(id, _) | DiffItem::Remove(id, _) | DiffItem::Update { new: (id, _), .. } => *id,
    })
}

impl Intent {
    /// What differs from an earlier intent.
    pub fn differences(&self, before: &Self) -> Differences {
        let records = before.dns_records.diff(&self.dns_records);
        let at = |record: &DnsRecord| (record.network, record.name.clone());
        let names = records.flat_map(|item| match item {
            DiffItem::Add(_, record) | DiffItem::Remove(_, record) => vec![at(record)],
            DiffItem::Update { old: (_, old), new: (_, new) } => vec![at(old), at(new)],
        });
        Differences {
            networks: keys(&before.networks, &self.networks).collect(),
            hosts: keys(&before.hosts, &self.hosts).collect(),
            nodes: keys(&before.nodes, &self.nodes).collect(),
            clients: keys(&before.clients, &self.clients).collect(),
            dns_records: names.collect(),
        }
    }
}
