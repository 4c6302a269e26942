//! The invariants of names: one holder of each in a network's domain, and domains apart.

use std::collections::{BTreeMap, BTreeSet};

use model::{DnsName, NetworkId, RecordData};

use super::Findings;
use crate::{RecordKey, Violation};

impl Findings<'_> {
    pub(super) fn names_in_domains(&mut self) {
        let members = self.members_names();
        self.unique("name in a network", members.iter().map(|(name, record)| (shown(name), *record)));
        self.dns_records(&members.into_iter().collect());
        self.domains();
    }

    fn members_names(&self) -> Vec<((NetworkId, String), RecordKey)> {
        let intent = self.intent;
        let hosts = intent.nodes.values().filter_map(|node| {
            let name = intent.host(node.host)?.name.to_string();
            Some(((node.network, name), node.id.into()))
        });
        let clients = intent.clients.values();
        hosts.chain(clients.map(|one| ((one.network, one.name.to_string()), one.id.into()))).collect()
    }

    fn dns_records(&mut self, members: &BTreeMap<(NetworkId, String), RecordKey>) {
        let intent = self.intent;
        let mut at: BTreeMap<(NetworkId, Option<&DnsName>), Vec<&RecordData>> = BTreeMap::new();
        for record in intent.dns_records.values() {
            self.lies_in(record.id, record.network);
            let beside = at.entry((record.network, record.name.as_ref())).or_default();
            let is_cname = |data: &RecordData| matches!(data, RecordData::Cname { .. });
            let alone =
                beside.is_empty() || !(is_cname(&record.data) || beside.iter().any(|one| is_cname(one)));
            let other = !beside.contains(&&record.data);
            beside.push(&record.data);
            self.rule(record.id, "a CNAME is alone at its name", alone);
            self.rule(record.id, "it is no other record again", other);
            let name = record.name.as_ref().map(|name| (record.network, name.to_string()));
            if let Some((first, value)) = name.and_then(|name| Some((*members.get(&name)?, shown(&name)))) {
                let (what, second) = ("name in a network", record.id.into());
                self.found.push(Violation::Shared { what, value, first, second });
            }
        }
    }

    fn domains(&mut self) {
        let intent = self.intent;
        let domains = intent.networks.values().filter_map(|one| Some((one.domain.as_ref()?, one.id)));
        let domains: Vec<(&DnsName, NetworkId)> = domains.collect();
        for (domain, network) in &domains {
            let mut others = domains.iter().filter(|(_, other)| other != network);
            let apart = others.all(|(other, _)| !other.is_within(domain));
            self.rule(*network, "its domain holds no other network's", apart);
        }
        let mut seen = BTreeSet::new();
        for upstream in intent.upstreams.values() {
            self.lies_in(upstream.id, upstream.network);
            self.rule(upstream.id, "name servers are named", !upstream.servers.is_empty());
            let once = seen.insert((upstream.network, &upstream.domain));
            self.rule(upstream.id, "a domain has name servers once in a network", once);
            let foreign = domains.iter().all(|(domain, _)| !upstream.domain.is_within(domain));
            self.rule(upstream.id, "we answer for our own domains", foreign);
        }
    }
}

fn shown((network, name): &(NetworkId, String)) -> String {
    format!("{name} in {network}")
}
