//! The invariants of intent, checked from the records alone: indexes are not believed.
//!
//! Not for deciding. `decide` keeps them; this tells when a database was changed by other hands, and tests `decide`.

mod members;
mod names;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Addresses, NetworkId, NetworkName, Node, Role};

use super::Intent;
use crate::{RecordKey, allocate};

/// One thing that does not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentences say what the fields are")]
pub enum Violation {
    #[error("record {0} is there twice")]
    Twice(RecordKey),
    #[error("record {record} names {missing}, which is not there")]
    Dangling { record: RecordKey, missing: RecordKey },
    #[error("{what} `{value}` belongs to {first} and to {second}")]
    Shared { what: &'static str, value: String, first: RecordKey, second: RecordKey },
    #[error("{member} has {address}, which network `{network}` cannot give out")]
    Address { member: RecordKey, address: IpAddr, network: NetworkName },
    #[error("{member} lacks an address of one of the ranges of network `{network}`, or has one too many")]
    Families { member: RecordKey, network: NetworkName },
    #[error("{first} and {second} lead to ranges that overlap: {range} and {other}")]
    Collision { first: RecordKey, range: IpNet, second: RecordKey, other: IpNet },
    #[error("record {record} breaks a rule: {rule}")]
    Rule { record: RecordKey, rule: &'static str },
    #[error("there are accounts, but none is an administrator's")]
    NoAdministrator,
}

/// Collects what is wrong.
struct Findings<'a> {
    intent: &'a Intent,
    found: Vec<Violation>,
}

impl Findings<'_> {
    fn unique<V: Ord + Display>(&mut self, what: &'static str, values: impl Iterator<Item = (V, RecordKey)>) {
        let mut seen = BTreeMap::new();
        for (value, second) in values {
            match seen.get(&value) {
                None => drop(seen.insert(value, second)),
                Some(first) => {
                    let value = value.to_string();
                    self.found.push(Violation::Shared { what, value, first: *first, second });
                }
            }
        }
    }

    fn rule(&mut self, record: impl Into<RecordKey>, rule: &'static str, holds: bool) {
        if !holds {
            self.found.push(Violation::Rule { record: record.into(), rule });
        }
    }

    fn refers(&mut self, record: impl Into<RecordKey>, to: impl Into<RecordKey>, there: bool) {
        if !there {
            self.found.push(Violation::Dangling { record: record.into(), missing: to.into() });
        }
    }

    fn names_and_keys(&mut self) {
        let Intent { networks, hosts, keys, users, tokens, clients, .. } = self.intent;
        self.unique("network name", networks.values().map(|v| (&v.name, v.id.into())));
        self.unique("host name", hosts.values().map(|v| (&v.name, v.id.into())));
        let wireguard_keys = hosts.values().map(|v| (&v.wireguard_key, v.id.into()));
        self.unique("WireGuard key", wireguard_keys.chain(clients.values().map(|v| (&v.key, v.id.into()))));
        self.unique("signing key", hosts.values().map(|v| (&v.signing_key, v.id.into())));
        self.unique("key title", keys.values().map(|v| (&v.title, v.id.into())));
        self.unique("key digest", keys.values().map(|v| (&v.digest, v.id.into())));
        self.unique("user name", users.values().map(|v| (&v.name, v.id.into())));
        self.unique("token digest", tokens.values().map(|v| (&v.digest, v.id.into())));
        let nodes = self.intent.nodes.values().flat_map(|v| v.addresses.iter().map(|ip| (ip, v.id.into())));
        let addresses = clients.values().flat_map(|v| v.addresses.iter().map(|ip| (ip, v.id.into())));
        self.unique("address", nodes.chain(addresses));
        let membership = |node: &Node| format!("{} in {}", node.host, node.network);
        self.unique("membership", self.intent.nodes.values().map(|v| (membership(v), v.id.into())));
    }

    fn references(&mut self) {
        let intent = self.intent;
        for node in intent.nodes.values() {
            self.refers(node.id, node.host, intent.host(node.host).is_some());
            self.refers(node.id, node.network, intent.network(node.network).is_some());
        }
        for key in intent.keys.values() {
            for network in &key.networks {
                self.refers(key.id, *network, intent.network(*network).is_some());
            }
            let distinct: BTreeSet<&NetworkId> = key.networks.iter().collect();
            if distinct.len() < key.networks.len() {
                self.found.push(Violation::Twice(key.id.into()));
            }
        }
        for token in intent.tokens.values() {
            self.refers(token.id, token.user, intent.user(token.user).is_some());
        }
    }

    /// No address leads to two places.
    fn ranges(&mut self) {
        let Intent { networks, egresses, clients, .. } = self.intent;
        let networks = networks.values().flat_map(|v| v.ranges.iter().map(|range| (range, v.id.into())));
        let egresses = egresses.values().map(|v| (v.reached_as(), v.id.into()));
        let clients = clients.values().flat_map(|v| v.ranges.iter().map(|range| (*range, v.id.into())));
        let mut ranges: Vec<(IpNet, RecordKey)> = networks.chain(egresses).chain(clients).collect();
        // Ranges are prefixes: in order, one that overlaps any later one overlaps the next.
        ranges.sort_by_key(|(range, _)| (range.network(), range.prefix_len()));
        for pair in ranges.windows(2) {
            let [(range, first), (other, second)] = pair else {
                continue;
            };
            if range.contains(other) {
                let (range, other, first, second) = (*range, *other, *first, *second);
                self.found.push(Violation::Collision { first, range, second, other });
            }
        }
    }

    fn addresses(&mut self) {
        let intent = self.intent;
        for node in intent.nodes.values() {
            self.addresses_of(node.id.into(), node.network, node.addresses);
        }
        for client in intent.clients.values() {
            self.addresses_of(client.id.into(), client.network, client.addresses);
        }
    }

    fn addresses_of(&mut self, member: RecordKey, network: NetworkId, addresses: Addresses) {
        let Some(network) = self.intent.network(network) else {
            return;
        };
        let families = (network.ranges.v4().is_some(), network.ranges.v6().is_some());
        if families != (addresses.v4.is_some(), addresses.v6.is_some()) {
            self.found.push(Violation::Families { member, network: network.name.clone() });
        }
        for address in addresses.iter().filter(|ip| !allocate::is_usable(&network.ranges, *ip)) {
            self.found.push(Violation::Address { member, address, network: network.name.clone() });
        }
    }

    fn accounts(&mut self) {
        let users = &self.intent.users;
        if !users.is_empty() && !users.values().any(|user| user.role == Role::Administrator) {
            self.found.push(Violation::NoAdministrator);
        }
    }
}

impl Intent {
    /// Everything that does not go together; empty, unless other hands than ours changed the records.
    pub fn check(&self) -> Vec<Violation> {
        let mut findings = Findings { intent: self, found: Vec::new() };
        findings.names_and_keys();
        findings.references();
        findings.ranges();
        findings.addresses();
        findings.accounts();
        findings.members();
        findings.ways();
        findings.names_in_domains();
        findings.found
    }
}
