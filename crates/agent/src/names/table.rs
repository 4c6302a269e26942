//! The names of everybody in the host map, kept in step with it.
//!
//! Not for answering (crate `dns`) and not for telling the machine's resolver. It keeps true that what is answered follows
//! from the newest map alone, and that a change of one peer, or of one record, costs its own names.

use std::collections::{BTreeMap, BTreeSet};

use dns::{Names, Network, Record, Zone};
use model::{Addresses, DnsName, HostName, MemberId, NetworkId, ToldRecord};
use wire::{HostMap, Membership, RecordsChange};

/// The names of a map. See the module.
#[derive(Debug, Default)]
pub struct Table {
    names: Names,
    /// The lowest serial number of zones: one that grows over restarts.
    serial: u32,
    networks: BTreeMap<NetworkId, Network>,
    /// What was put in for each member.
    members: BTreeMap<MemberId, Vec<Record>>,
    /// What people made, as it was put in.
    made: BTreeMap<NetworkId, Vec<ToldRecord>>,
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

    /// Takes over a whole map. Where networks have the zones that they had, only names that differ are touched.
    pub fn follow_all(&mut self, map: &HostMap) {
        let networks: BTreeMap<NetworkId, Network> =
            map.networks.iter().filter_map(|(id, told)| Some((*id, network(told)?))).collect();
        if self.networks == networks {
            let own = std::iter::once(map.host.id.into());
            let members = own.chain(self.members.keys().chain(map.peers.keys()).copied()).collect();
            self.follow(map, &members, &networks.into_keys().collect());
            return;
        }
        self.networks = networks;
        let own = std::iter::once(map.host.id.into());
        let members = own.chain(map.peers.keys().copied());
        self.members = members.map(|member| (member, self.member_records(map, member))).collect();
        let made = self.networks.keys().map(|id| (*id, map.networks[id].records.clone()));
        self.made = made.collect();
        let zones: Vec<Zone> =
            self.networks.values().filter_map(|network| network.zones(self.serial).ok()).flatten().collect();
        let made = self.made.iter().flat_map(|(id, made)| self.made_records(*id, made));
        let records = self.members.values().flatten().cloned().chain(made);
        tell(&self.names.edit(|edit| edit.replace(zones, records)));
    }

    /// Takes over what the map says of these members, and the records of these networks.
    pub fn follow(&mut self, map: &HostMap, members: &BTreeSet<MemberId>, records: &BTreeSet<NetworkId>) {
        for member in members {
            let now = self.member_records(map, *member);
            let before = self.members.get(member).map(Vec::as_slice).unwrap_or_default();
            if before == now {
                continue;
            }
            tell(&self.names.edit(|edit| edit.exchange(before, &now)));
            match now.is_empty() {
                true => drop(self.members.remove(member)),
                false => drop(self.members.insert(*member, now)),
            }
        }
        for network in records {
            self.follow_made(map, *network);
        }
    }

    /// What stands at a name goes and comes together: all records of a kind there have one time to live.
    fn follow_made(&mut self, map: &HostMap, id: NetworkId) {
        let now = map.networks.get(&id).map(|told| told.records.as_slice()).unwrap_or_default();
        let before = self.made.get(&id).map(Vec::as_slice).unwrap_or_default();
        let RecordsChange { gone, come } = RecordsChange::between(before, now);
        let names: BTreeSet<&Option<DnsName>> = gone.iter().chain(&come).map(|record| &record.name).collect();
        if names.is_empty() {
            return;
        }
        let there = |all: &[ToldRecord]| -> Vec<Record> {
            names.iter().flat_map(|name| self.made_records(id, at(all, name))).collect()
        };
        let (before, after) = (there(before), there(now));
        tell(&self.names.edit(|edit| edit.exchange(&before, &after)));
        let now = now.to_vec();
        self.made.insert(id, now);
    }

    fn own_records(&self, map: &HostMap) -> Vec<Record> {
        let nodes = map.networks.iter().map(|(id, membership)| (*id, membership.addresses));
        self.records(&map.host.name, nodes)
    }

    fn member_records(&self, map: &HostMap, member: MemberId) -> Vec<Record> {
        if member == map.host.id {
            return self.own_records(map);
        }
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

    /// Records that people made in a network, as they are answered.
    fn made_records(&self, id: NetworkId, told: &[ToldRecord]) -> Vec<Record> {
        let Some(network) = self.networks.get(&id) else { return Vec::new() };
        told.iter().filter_map(|told| network.made(told.name.as_ref(), told.ttl, &told.data)).collect()
    }
}

fn tell(refused: &[dns::RecordError]) {
    refused.iter().for_each(|error| tracing::warn!("a name is left out: {error}"));
}

/// Those of records in order that stand at this name.
fn at<'a>(records: &'a [ToldRecord], name: &Option<DnsName>) -> &'a [ToldRecord] {
    let first = records.partition_point(|record| record.name < *name);
    let count = records[first..].partition_point(|record| record.name == *name);
    &records[first..first + count]
}

/// The network as the DNS sees it; none if it has no domain or the host does not take part.
pub(super) fn network(membership: &Membership) -> Option<Network> {
    let domain = membership.domain.as_ref().filter(|_| membership.takes_part())?;
    Some(Network::new(domain.as_str().parse().ok()?, membership.ranges.iter()))
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
            .map(|record| format!("{} {} {:?}", record.name, record.ttl, record.data))
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
        table.follow(&map, &[1, 2, 3, 4].map(id).into(), &BTreeSet::new());
        let mut anew = Table::new(1);
        anew.follow_all(&map);
        assert_eq!(all(&table), all(&anew));
    }

    fn a(name: &str, ttl: u32, last: u8) -> ToldRecord {
        let data = RecordData::A { address: [192, 0, 2, last].into() };
        ToldRecord { name: Some(name.parse().unwrap()), ttl, data }
    }

    fn serials(table: &Table) -> Vec<u32> {
        table.names().snapshot().zones().map(|(_, serial)| serial).collect()
    }

    #[test]
    fn a_record_that_changes_costs_its_name_and_is_the_same_as_beginning_anew() {
        let mut map = map(2);
        map.networks.get_mut(&NETWORK).unwrap().records =
            vec![a("ftp", 5, 1), a("www", 5, 1), a("www", 60, 2)];
        let mut table = Table::new(1);
        table.follow_all(&map);
        let before = serials(&table);
        for records in [
            vec![a("ftp", 5, 1), a("www", 5, 1), a("www", 30, 2)],
            vec![a("ftp", 5, 1), a("www", 5, 1)],
            vec![a("mail", 9, 4), a("www", 5, 1)],
            vec![],
        ] {
            map.networks.get_mut(&NETWORK).unwrap().records = records;
            table.follow(&map, &BTreeSet::new(), &[NETWORK].into());
            let mut anew = Table::new(1);
            anew.follow_all(&map);
            assert_eq!(all(&table), all(&anew));
        }
        let after = serials(&table);
        let other = before.iter().zip(&after).filter(|(before, after)| before != after);
        assert_eq!(other.count(), 1, "of {before:?} and {after:?} only the zone of the records changed");
    }

    #[test]
    fn a_whole_map_that_says_the_same_changes_no_zone() {
        let mut map = map(2);
        map.networks.get_mut(&NETWORK).unwrap().records = vec![a("www", 5, 1)];
        let mut table = Table::new(1);
        table.follow_all(&map);
        let before = serials(&table);
        map.networks.get_mut(&NETWORK).unwrap().guarded = true;
        table.follow_all(&map);
        assert_eq!(serials(&table), before);
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
