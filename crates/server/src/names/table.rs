//! The names of all networks, kept in step with intent.
//!
//! Not for answering (crate `dns`) nor for who may ask. It keeps true that the names follow from intent alone, however it was come
//! to, and that a change of one member costs its own records.

use std::collections::{BTreeMap, BTreeSet};

use control::Intent;
use dns::{Names, Network, Record, Zone};
use model::{Addresses, DnsName, HostName, MemberId, NetworkId};

/// The names. See the module.
#[derive(Debug)]
pub(crate) struct Table {
    names: Names,
    /// The domain of networks that have none of their own.
    domain: DnsName,
    /// The lowest serial number of zones: one that grows over restarts.
    serial: u32,
    intent: Intent,
    networks: BTreeMap<NetworkId, Network>,
    /// What was put in for each member of each network.
    members: BTreeMap<(NetworkId, MemberId), Vec<Record>>,
}

impl Table {
    /// Of an intent.
    pub(crate) fn new(domain: DnsName, serial: u32, intent: &Intent) -> Self {
        let (names, networks, members) = (Names::new(), BTreeMap::new(), BTreeMap::new());
        let mut table = Self { names, domain, serial, intent: intent.clone(), networks, members };
        table.begin_anew();
        table
    }

    /// The names, as they are answered from.
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// Follows intent to its newest state; whether any name may differ.
    pub(crate) fn follow(&mut self, intent: &Intent) -> bool {
        let differences = intent.differences(&self.intent);
        let before = std::mem::replace(&mut self.intent, intent.clone());
        if !differences.networks.is_empty() || !differences.dns_records.is_empty() {
            self.begin_anew();
            return true;
        }
        let mut touched: BTreeSet<(NetworkId, MemberId)> = BTreeSet::new();
        for intent in [&before, &self.intent] {
            for host in &differences.hosts {
                touched.extend(intent.nodes_of_host(*host).map(|node| (node.network, node.host.into())));
            }
            let nodes = differences.nodes.iter().filter_map(|node| intent.node(*node));
            touched.extend(nodes.map(|node| (node.network, node.host.into())));
            let clients = differences.clients.iter().filter_map(|client| intent.client(*client));
            touched.extend(clients.map(|client| (client.network, client.id.into())));
        }
        touched.iter().for_each(|(network, member)| self.put(*network, *member));
        !touched.is_empty()
    }

    fn begin_anew(&mut self) {
        let network = |network: &model::Network| {
            let domain = network.domain_below(&self.domain)?;
            Some((network.id, Network::new(domain.as_str().parse().ok()?, network.ranges.iter())))
        };
        self.networks = self.intent.networks(None).filter_map(network).collect();
        let members = |id: &NetworkId| {
            let nodes = self.intent.nodes_in_network(*id, None).map(|node| MemberId::from(node.host));
            let clients = self.intent.clients_in_network(*id).map(|client| MemberId::from(client.id));
            nodes.chain(clients).map(|member| (*id, member)).collect::<Vec<_>>()
        };
        let members: Vec<_> = self.networks.keys().flat_map(members).collect();
        self.members = members.into_iter().map(|at| (at, self.records_of(at.0, at.1))).collect();
        let zones: Vec<Zone> =
            self.networks.values().filter_map(|network| network.zones(self.serial).ok()).flatten().collect();
        let made = self.networks.iter().flat_map(|(id, network)| {
            self.intent
                .dns_records_in_network(*id)
                .filter_map(|record| network.made(record.name.as_ref(), record.ttl, &record.data))
        });
        let records = self.members.values().flatten().cloned().chain(made);
        let refused = self.names.edit(|edit| edit.replace(zones, records));
        refused.iter().for_each(|error| tracing::warn!("a name is left out: {error}"));
    }

    fn put(&mut self, network: NetworkId, member: MemberId) {
        let now = self.records_of(network, member);
        let before = self.members.get(&(network, member)).map(Vec::as_slice).unwrap_or_default();
        let refused = self.names.edit(|edit| edit.exchange(before, &now));
        refused.iter().for_each(|error| tracing::warn!("a name is left out: {error}"));
        match now.is_empty() {
            true => drop(self.members.remove(&(network, member))),
            false => drop(self.members.insert((network, member), now)),
        }
    }

    fn records_of(&self, network: NetworkId, member: MemberId) -> Vec<Record> {
        let named = self.node(network, member).or_else(|| self.client(member));
        let (Some((name, addresses)), Some(network)) = (named, self.networks.get(&network)) else {
            return Vec::new();
        };
        network.member(name.as_str(), addresses.iter()).unwrap_or_default()
    }

    fn node(&self, network: NetworkId, member: MemberId) -> Option<(&HostName, Addresses)> {
        let host = self.intent.host(model::HostId::from_bytes(*member.as_bytes()))?;
        let node = self.intent.node_of(host.id, network).filter(|node| node.takes_part())?;
        Some((&host.name, node.addresses))
    }

    fn client(&self, member: MemberId) -> Option<(&HostName, Addresses)> {
        let client = self.intent.client(model::ClientId::from_bytes(*member.as_bytes()))?;
        client.enabled.then_some((&client.name, client.addresses))
    }
}
