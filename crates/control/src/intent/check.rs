//! The invariants of intent, checked from the records alone: indexes are not believed.
//!
//! Not for deciding. `decide` keeps them; this tells when a database was changed by other hands, and tests `decide`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Network, NetworkId, NetworkName, Node, NodeId, Role};

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
    #[error("the ranges of networks `{0}` and `{1}` overlap")]
    Overlap(NetworkName, NetworkName),
    #[error("node {node} has {address}, which network `{network}` cannot give out")]
    Address { node: NodeId, address: IpAddr, network: NetworkName },
    #[error("node {node} lacks an address of one of the ranges of network `{network}`, or has one too many")]
    Families { node: NodeId, network: NetworkName },
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

    fn refers(&mut self, record: impl Into<RecordKey>, to: impl Into<RecordKey>, there: bool) {
        if !there {
            self.found.push(Violation::Dangling { record: record.into(), missing: to.into() });
        }
    }

    fn names_and_keys(&mut self) {
        let Intent { networks, hosts, keys, users, tokens, .. } = self.intent;
        self.unique("network name", networks.values().map(|v| (&v.name, v.id.into())));
        self.unique("host name", hosts.values().map(|v| (&v.name, v.id.into())));
        self.unique("WireGuard key", hosts.values().map(|v| (&v.wireguard_key, v.id.into())));
        self.unique("signing key", hosts.values().map(|v| (&v.signing_key, v.id.into())));
        self.unique("key title", keys.values().map(|v| (&v.title, v.id.into())));
        self.unique("key digest", keys.values().map(|v| (&v.digest, v.id.into())));
        self.unique("user name", users.values().map(|v| (&v.name, v.id.into())));
        self.unique("token digest", tokens.values().map(|v| (&v.digest, v.id.into())));
        self.unique(
            "address",
            self.intent.nodes.values().flat_map(|v| v.addresses.iter().map(|ip| (ip, v.id.into()))),
        );
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

    fn ranges(&mut self) {
        let mut ranges: Vec<(IpNet, &Network)> = self
            .intent
            .networks
            .values()
            .flat_map(|network| network.ranges.iter().map(|r| (r, &**network)))
            .collect();
        // Ranges are prefixes: in order, one that overlaps any later one overlaps the next.
        ranges.sort_by_key(|(range, _)| (range.network(), range.prefix_len()));
        for pair in ranges.windows(2) {
            let [(range, one), (next, other)] = pair else {
                continue;
            };
            if range.contains(next) {
                self.found.push(Violation::Overlap(one.name.clone(), other.name.clone()));
            }
        }
    }

    fn addresses(&mut self) {
        for node in self.intent.nodes.values() {
            let Some(network) = self.intent.network(node.network) else {
                continue;
            };
            let families = (network.ranges.v4().is_some(), network.ranges.v6().is_some());
            if families != (node.addresses.v4.is_some(), node.addresses.v6.is_some()) {
                self.found.push(Violation::Families { node: node.id, network: network.name.clone() });
            }
            for address in node.addresses.iter().filter(|ip| !allocate::is_usable(&network.ranges, *ip)) {
                self.found.push(Violation::Address { node: node.id, address, network: network.name.clone() });
            }
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
        findings.found
    }
}
