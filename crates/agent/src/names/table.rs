//! The names of everybody in the host map, kept in step with it.
//!
//! Not for answering (crate `dns`) and not for telling the machine's resolver. It keeps true that what is answered follows
//! from the newest map alone, and that a change of one peer costs its own records.

use std::collections::{BTreeMap, BTreeSet};

use dns::{Names, Network, Record, Zone};
use model::{Addresses, HostName, MemberId, NetworkId, ToldRecord};
use wire::{HostMap, Membership};

/// The names of a map. See the module.
#[derive(Debug, Default)]
pub struct Table {
    names: Names,
    /// The lowest serial number of zones: one that grows over restarts.
    serial: u32,
    networks: BTreeMap<NetworkId, Network>,
    /// What was put in for each member.
    members: BTreeMap<MemberId, Vec<Record>>,
}

impl Table {
    /// No names yet. `serial` is a number that grows over restarts.
    pub fn new(serial: u32) -> Self {
        Self { serial, ..Self::default() }
    }

    /// The names, as they are answered from.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Takes over a whole map.
    pub fn follow_all(&mut self, map: &HostMap) {
        self.networks = map.networks.iter().filter_map(|(id, told)| Some((*id, network(told)?))).collect();
        let own = std::iter::once((map.host.id.into(), self.own_records(map)));
        let others = map.peers.keys().map(|member| (*member, self.member_records(map, *member)));
        self.members = others.chain(own).collect();
        let zones: Vec<Zone> =
            self.networks.values().filter_map(|network| network.zones(self.serial).ok()).flatten().collect();
        let made = self.networks.iter().flat_map(|(id, network)| made_records(&map.networks[id], network));
        let records = self.members.values().flatten().cloned().chain(made);
        let refused = self.names.edit(|edit| edit.replace(zones, records));
        refused.iter().for_each(|error| tracing::warn!("a name is left out: {error}"));
    }

    /// Takes over what the map says of these members.
    pub fn follow(&mut self, map: &HostMap, members: &BTreeSet<MemberId>) {
        for member in members {
            let now = self.member_records(map, *member);
            let before = self.members.get(member).map(Vec::as_slice).unwrap_or_default();
            if before == now {
                continue;
            }
            let refused = self.names.edit(|edit| edit.exchange(before, &now));
            refused.iter().for_each(|error| tracing::warn!("a name is left out: {error}"));
            match now.is_empty() {
                true => drop(self.members.remove(member)),
                false => drop(self.members.insert(*member, now)),
            }
        }
    }

    fn own_records(&self, map: &HostMap) -> Vec<Record> {
        let nodes = map.networks.iter().map(|(id, membership)| (*id, membership.addresses));
        self.records(&map.host.name, nodes)
    }

    fn member_records(&self, map: &HostMap, member: MemberId) -> Vec<Record> {
        let Some(peer) = map.peers.get(&member) else { return Vec::new() };
        self.records(&peer.name, peer.nodes.iter().map(|node| (node.network, node.addresses)))
    }

    fn records(&self, name: &HostName, nodes: impl Iterator<Item = (NetworkId, Addresses)>) -> Vec<Record> {
        let of = |(id, addresses): (NetworkId, Addresses)| {
            let network = self.networks.get(&id)?;
            network.member(name.as_str(), addresses.iter()).ok()
        };
        nodes.filter_map(of).flatten().collect()
    }
}

/// The network as the DNS sees it; none if it has no domain or the host does not take part.
pub(super) fn network(membership: &Membership) -> Option<Network> {
    let domain = membership.domain.as_ref().filter(|_| membership.takes_part())?;
    Some(Network::new(domain.as_str().parse().ok()?, membership.ranges.iter()))
}

/// The records that people made in the network.
fn made_records(membership: &Membership, network: &Network) -> Vec<Record> {
    let made = |told: &ToldRecord| network.made(told.name.as_ref(), told.ttl, &told.data);
    membership.records.iter().filter_map(made).collect()
}

#[cfg(test)]
mod tests {
    use model::RecordData;

    use super::super::tests::{NETWORK, addresses, map, peer};
    use super::*;

    fn all(table: &Table) -> Vec<String> {
        let mut all: Vec<String> = table
            .names()
            .snapshot()
            .records()
            .map(|record| format!("{} {:?}", record.name, record.data))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn every_member_and_every_made_record_has_its_name() {
        let mut map = map(2);
        let text = RecordData::Txt { text: "hello".to_owned() };
        let told = ToldRecord { name: Some("note".parse().unwrap()), ttl: 5, data: text };
        map.networks.get_mut(&NETWORK).unwrap().records.push(told);
        let mut table = Table::new(1);
        table.follow_all(&map);
        // A name and a reverse name for this host and two others, and the text.
        assert_eq!(all(&table).len(), 7, "{:?}", all(&table));
        assert!(all(&table).iter().any(|line| line.starts_with("note.office.netloom.internal")));
    }

    #[test]
    fn following_single_members_is_the_same_as_beginning_anew() {
        let mut map = map(3);
        let mut table = Table::new(1);
        table.follow_all(&map);
        let id = |number: u8| MemberId::from_bytes([number; 16]);
        map.peers.remove(&id(1));
        map.peers.get_mut(&id(2)).unwrap().name = "renamed".parse().unwrap();
        map.peers.get_mut(&id(3)).unwrap().nodes[0].addresses = addresses(77);
        map.peers.insert(id(4), peer(4));
        table.follow(&map, &[1, 2, 3, 4].map(id).into());
        let mut anew = Table::new(1);
        anew.follow_all(&map);
        assert_eq!(all(&table), all(&anew));
    }

    #[test]
    fn a_network_that_the_host_has_paused_has_no_names() {
        let mut map = map(1);
        map.networks.get_mut(&NETWORK).unwrap().connected = false;
        let mut table = Table::new(1);
        table.follow_all(&map);
        assert_eq!(all(&table), [""; 0]);
    }
}
