//! Who is seen differently in which network: what two rosters tell of what was touched.

use std::collections::BTreeMap;

use model::{HostId, NetworkId};

use super::{Roster, Touched};

/// Hosts that are seen differently, by network, ordered; those that came or went are among them.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<NetworkId, Vec<HostId>>);

impl Changes {
    pub(super) fn between(before: &Roster, after: &Roster, touched: &Touched) -> Self {
        let mut changes: BTreeMap<NetworkId, Vec<HostId>> = BTreeMap::new();
        for (network, host) in &touched.seen {
            if before.entry(*network, *host) != after.entry(*network, *host) {
                changes.entry(*network).or_default().push(*host);
            }
        }
        Self(changes)
    }

    /// Who is seen differently in this network, ordered.
    pub(super) fn of(&self, network: NetworkId) -> &[HostId] {
        self.0.get(&network).map(Vec::as_slice).unwrap_or_default()
    }

    /// The networks in which somebody is.
    pub(super) fn networks(&self) -> impl Iterator<Item = NetworkId> {
        self.0.keys().copied()
    }

    /// All of them, by network and host.
    pub(super) fn into_pairs(self) -> Vec<(NetworkId, HostId)> {
        let pairs =
            |(network, hosts): (NetworkId, Vec<HostId>)| hosts.into_iter().map(move |host| (network, host));
        self.0.into_iter().flat_map(pairs).collect()
    }
}
