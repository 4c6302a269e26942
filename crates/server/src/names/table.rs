//! The names of all networks, kept in step with intent.
//!
//! Not for answering (crate `dns`) nor for who may ask. It keeps true that the names follow from intent alone, however it was come
//! to, and that a change of one member or of one DNS record costs the records at its names.

use std::collections::{BTreeMap, BTreeSet};

use control::{Differences, Intent};
use dns::{Name, Names, Network, Record, Zone};
use model::{Addresses, DnsName, HostName, MemberId, NetworkId};

/// Whose records are exchanged together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// A member's.
    Member(MemberId),
    /// Those that people made at one name; none is the domain itself. Together: what is kept of them depends on their order.
    Made(Option<DnsName>),
}

/// Whose, in which network.
type At = (NetworkId, Holder);

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
    /// What was put in.
    records: BTreeMap<At, Vec<Record>>,
}

/// What changes: these are taken out, then zones go and come, then those are put in.
#[derive(Debug, Default, PartialEq)]
struct Exchange {
    before: Vec<Record>,
    zones_gone: Vec<Name>,
    zones: Vec<Zone>,
    now: Vec<Record>,
}

impl Exchange {
    const fn is_empty(&self) -> bool {
        let Self { before, zones_gone, zones, now } = self;
        before.is_empty() && zones_gone.is_empty() && zones.is_empty() && now.is_empty()
    }
}

impl Table {
    /// Of an intent.
    pub(crate) fn new(domain: DnsName, serial: u32, intent: &Intent) -> Self {
        let (names, networks, records) = (Names::new(), BTreeMap::new(), BTreeMap::new());
        let mut table = Self { names, domain, serial, intent: intent.clone(), networks, records };
        table.begin_anew();
        table
    }

    /// The names, as they are answered from.
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// Follows intent to its newest state; whether any name differs.
    pub(crate) fn follow(&mut self, intent: &Intent) -> bool {
        let Some(exchange) = self.exchange(intent) else {
            self.begin_anew();
            return true;
        };
        if exchange.is_empty() {
            return false;
        }
        let refused = self.names.edit(|edit| {
            for Record { name, data, .. } in &exchange.before {
                edit.remove(name, data);
            }
            for origin in &exchange.zones_gone {
                edit.remove_zone(origin);
            }
            exchange.zones.into_iter().for_each(|zone| edit.put_zone(zone));
            edit.exchange(&[], &exchange.now)
        });
        tell(&refused);
        true
    }

    /// What leads to the names of this intent; none where domains of networks lie within each other, before or after: what
    /// belongs to whom depends on all of them then.
    fn exchange(&mut self, intent: &Intent) -> Option<Exchange> {
        let differences = intent.differences(&self.intent);
        let before = std::mem::replace(&mut self.intent, intent.clone());
        let mut touched = touched(&differences, &[&before, &self.intent]);
        let mut exchange = Exchange::default();
        let other: Vec<NetworkId> = differences
            .networks
            .into_iter()
            .filter(|id| self.network(*id).as_ref() != self.networks.get(id))
            .collect();
        if !other.is_empty() {
            touched.extend(other.iter().flat_map(|network| self.holders(*network)));
            self.exchange_zones(&other, &mut exchange)?;
        }
        for at in touched {
            let now = self.records_of(&at);
            if self.records.get(&at).map_or(&[][..], Vec::as_slice) == now {
                continue;
            }
            exchange.now.extend_from_slice(&now);
            let before = match now.is_empty() {
                true => self.records.remove(&at),
                false => self.records.insert(at, now),
            };
            exchange.before.extend(before.unwrap_or_default());
        }
        Some(exchange)
    }

    /// The zones of networks whose domain or ranges are others.
    fn exchange_zones(&mut self, other: &[NetworkId], exchange: &mut Exchange) -> Option<()> {
        let before = self.zones();
        let nested = self.is_nested(other);
        for id in other {
            match self.network(*id) {
                Some(network) => drop(self.networks.insert(*id, network)),
                None => drop(self.networks.remove(id)),
            }
        }
        if nested || self.is_nested(other) {
            return None;
        }
        let after = self.zones();
        exchange.zones_gone = before.keys().filter(|origin| !after.contains_key(*origin)).cloned().collect();
        let new = after.into_iter().filter(|(origin, zone)| before.get(origin) != Some(zone));
        exchange.zones = new.map(|(_, zone)| zone).collect();
        Some(())
    }

    /// Whether a zone of these networks lies within another one, or around it.
    fn is_nested(&self, these: &[NetworkId]) -> bool {
        let all = self.zones();
        let nested =
            |one: &Name, other: &Name| one != other && (one.is_within(other) || other.is_within(one));
        let mut own = these.iter().filter_map(|id| self.networks.get(id)).flat_map(Network::origins);
        own.any(|one| all.keys().any(|other| nested(&one, other)))
    }

    /// The zones of all networks. Where networks share one, it is the last one's.
    fn zones(&self) -> BTreeMap<Name, Zone> {
        let zones = self.networks.values().filter_map(|network| network.zones(self.serial).ok()).flatten();
        zones.map(|zone| (zone.origin.clone(), zone)).collect()
    }

    fn network(&self, network: NetworkId) -> Option<Network> {
        let network = self.intent.network(network)?;
        let domain = network.domain_below(&self.domain)?;
        Some(Network::new(domain.as_str().parse().ok()?, network.ranges.iter()))
    }

    /// All who have records in the network, or had.
    fn holders(&self, network: NetworkId) -> BTreeSet<At> {
        let first = (network, Holder::Member(MemberId::from_bytes([0; 16])));
        let there = self.records.range(first..).map(|(at, _)| at).take_while(|(at, _)| *at == network);
        let nodes = self.intent.nodes_in_network(network, None).map(|node| MemberId::from(node.host));
        let clients = self.intent.clients_in_network(network).map(|client| MemberId::from(client.id));
        let members = nodes.chain(clients).map(Holder::Member);
        let made =
            self.intent.dns_records_in_network(network).map(|record| Holder::Made(record.name.clone()));
        there.cloned().chain(members.chain(made).map(|holder| (network, holder))).collect()
    }

    fn begin_anew(&mut self) {
        let ids: Vec<NetworkId> = self.intent.networks(None).map(|network| network.id).collect();
        self.networks = ids.iter().filter_map(|id| Some((*id, self.network(*id)?))).collect();
        self.records.clear();
        let holders = ids.iter().flat_map(|network| self.holders(*network));
        let records: BTreeMap<At, Vec<Record>> =
            holders.map(|at| (at.clone(), self.records_of(&at))).collect();
        self.records = records.into_iter().filter(|(_, records)| !records.is_empty()).collect();
        let (zones, records) = (self.zones(), self.records.values().flatten().cloned());
        tell(&self.names.edit(|edit| edit.replace(zones.into_values(), records)));
    }

    fn records_of(&self, (id, holder): &At) -> Vec<Record> {
        let Some(network) = self.networks.get(id) else { return Vec::new() };
        match holder {
            Holder::Member(member) => {
                let named = self.node(*id, *member).or_else(|| self.client(*id, *member));
                let records =
                    named.and_then(|(name, addresses)| network.member(name.as_str(), addresses.iter()).ok());
                records.unwrap_or_default()
            }
            Holder::Made(name) => {
                let records = self.intent.dns_records_at(*id, name.as_ref());
                records
                    .filter_map(|record| network.made(record.name.as_ref(), record.ttl, &record.data))
                    .collect()
            }
        }
    }

    fn node(&self, network: NetworkId, member: MemberId) -> Option<(&HostName, Addresses)> {
        let host = self.intent.host(model::HostId::from_bytes(*member.as_bytes()))?;
        let node = self.intent.node_of(host.id, network).filter(|node| node.takes_part())?;
        Some((&host.name, node.addresses))
    }

    fn client(&self, network: NetworkId, member: MemberId) -> Option<(&HostName, Addresses)> {
        let client = self.intent.client(model::ClientId::from_bytes(*member.as_bytes()))?;
        (client.is_let_in() && client.network == network).then_some((&client.name, client.addresses))
    }
}

/// Whose records may differ.
fn touched(differences: &Differences, ends: &[&Intent; 2]) -> BTreeSet<At> {
    let named = differences.dns_records.iter().cloned();
    let mut touched: BTreeSet<At> = named.map(|(network, name)| (network, Holder::Made(name))).collect();
    let member = |network, member: MemberId| (network, Holder::Member(member));
    for intent in ends {
        let hosts = differences.hosts.iter().flat_map(|host| intent.nodes_of_host(*host));
        let nodes = differences.nodes.iter().filter_map(|node| intent.node(*node));
        touched.extend(hosts.chain(nodes).map(|node| member(node.network, node.host.into())));
        let clients = differences.clients.iter().filter_map(|client| intent.client(*client));
        touched.extend(clients.map(|client| member(client.network, client.id.into())));
    }
    touched
}

fn tell(refused: &[dns::RecordError]) {
    refused.iter().for_each(|error| tracing::warn!("a name is left out: {error}"));
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use control::{ActorName, Change, Record as Kept, RecordChange, apply};
    use model::{
        DnsRecord, DnsRecordId, Host, HostId, Keepalive, NetworkName, Node, NodeId, RecordData,
        SealingIdentity, SealingPublicKey, SigningPublicKey, Timestamp, WgPublicKey,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1);

    fn bytes(kind: u8, number: u32) -> [u8; 16] {
        let mut bytes = [kind; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    fn network(number: u32) -> model::Network {
        let name: NetworkName = format!("net-{number}").parse().unwrap();
        model::Network {
            id: NetworkId::from_bytes(bytes(1, number)),
            name,
            ranges: model::Ranges::new(Some(format!("10.{number}.0.0/16").parse().unwrap()), None).unwrap(),
            keepalive: Keepalive::DEFAULT,
            access: model::Access::Allow,
            approval: false,
            hub: None,
            domain: None,
            created: NOW,
        }
    }

    fn host(number: u32) -> Host {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let sealing = SealingPublicKey::from_bytes(key);
        let json = serde_json::json!({
            "id": HostId::from_bytes(bytes(2, number)),
            "name": format!("host-{number}"),
            "wireguard_key": WgPublicKey::from_bytes(key),
            "signing_key": SigningPublicKey::from_bytes(key),
            "sealing": SealingIdentity { key: sealing, encapsulated: sealing, server: None },
            "created": NOW,
        });
        serde_json::from_value(json).unwrap()
    }

    fn node(number: u32, at: u32) -> Node {
        let [_, _, high, low] = number.to_be_bytes();
        let json = serde_json::json!({
            "id": NodeId::from_bytes(bytes(3, number * 4 + at)),
            "host": host(number).id,
            "network": network(at).id,
            "addresses": { "v4": format!("10.{at}.{high}.{low}") },
            "connected": true,
            "created": NOW,
        });
        serde_json::from_value(json).unwrap()
    }

    fn made(number: u32, at: u32, name: &str, last: u8) -> DnsRecord {
        DnsRecord {
            id: DnsRecordId::from_bytes(bytes(4, number)),
            network: network(at).id,
            name: Some(name.parse().unwrap()),
            ttl: 60 + number,
            data: RecordData::A { address: [192, 0, 2, last].into() },
            created: NOW,
        }
    }

    fn office(hosts: u32) -> Intent {
        let mut records: Vec<Kept> = vec![network(1).into(), network(2).into()];
        for number in 1..=hosts {
            records.extend([Kept::from(host(number)), node(number, 1 + number % 2).into()]);
        }
        records.extend([made(1, 1, "www", 1), made(2, 1, "www", 2), made(3, 2, "mail", 3)].map(Kept::from));
        Intent::from_records(1, records).unwrap()
    }

    fn table(intent: &Intent) -> Table {
        Table::new("netloom.internal".parse().unwrap(), 7, intent)
    }

    fn after(intent: &Intent, records: Vec<RecordChange>) -> Intent {
        let mut after = intent.clone();
        let actor = ActorName::from_text("test".to_owned());
        apply(&mut after, &Change { actor, command: Cow::Borrowed("test"), records });
        after
    }

    #[test]
    fn only_what_was_touched_is_exchanged() {
        let intent = office(50);
        let counts = |changes: Vec<RecordChange>| {
            let Exchange { before, zones_gone, zones, now } =
                table(&intent).exchange(&after(&intent, changes)).unwrap();
            [before.len(), zones_gone.len(), zones.len(), now.len()]
        };
        let changed = |number, at, name, last| {
            RecordChange::changed(made(number, at, name, last), made(number, at, name, 9))
        };
        assert_eq!(counts(vec![changed(3, 2, "mail", 3)]), [1, 0, 0, 1]);
        assert_eq!(
            counts(vec![changed(1, 1, "www", 1)]),
            [2, 0, 0, 2],
            "what stands at one name goes together"
        );
        assert_eq!(counts(vec![RecordChange::made(made(4, 1, "ftp", 4))]), [0, 0, 0, 1]);
        let named = Host { name: "other".parse().unwrap(), ..host(7) };
        assert_eq!(counts(vec![RecordChange::changed(host(7), named)]), [2, 0, 0, 2], "its name, and back");
        let tagged = Node { tags: ["web".parse().unwrap()].into(), ..node(7, 2) };
        assert_eq!(counts(vec![RecordChange::changed(node(7, 2), tagged)]), [0; 4]);
        let lively = model::Network { keepalive: Keepalive::new(7).unwrap(), ..network(1) };
        assert_eq!(counts(vec![RecordChange::changed(network(1), lively)]), [0; 4]);
        let moved = model::Network { domain: Some("office.test".parse().unwrap()), ..network(1) };
        assert_eq!(counts(vec![RecordChange::changed(network(1), moved)]), [52, 1, 2, 52]);
    }

    #[test]
    fn the_names_are_those_from_scratch_whatever_they_were_before() {
        let domain =
            |at: u32, text: &str| model::Network { domain: Some(text.parse().unwrap()), ..network(at) };
        let later = DnsRecord { ttl: 5, ..made(1, 1, "www", 8) };
        let steps = vec![
            vec![RecordChange::changed(made(1, 1, "www", 1), later.clone())],
            vec![RecordChange::removed(made(2, 1, "www", 2)), RecordChange::made(made(5, 1, "a.b", 5))],
            vec![RecordChange::changed(network(1), domain(1, "office.test"))],
            // Within each other: everything is made anew.
            vec![RecordChange::changed(network(2), domain(2, "lab.office.test"))],
            vec![RecordChange::changed(domain(1, "office.test"), network(1))],
            vec![RecordChange::removed(node(3, 2)), RecordChange::removed(host(3))],
            vec![
                RecordChange::removed(later),
                RecordChange::changed(host(4), Host { name: "www".parse().unwrap(), ..host(4) }),
            ],
            vec![RecordChange::made(network(3)), RecordChange::made(node(5, 3))],
            vec![RecordChange::removed(network(3)), RecordChange::removed(node(5, 3))],
        ];
        let mut intent = office(9);
        let mut table = table(&intent);
        for (step, changes) in steps.into_iter().enumerate() {
            intent = after(&intent, changes);
            assert!(table.follow(&intent), "{step}");
            let (now, anew) = (table.names().snapshot(), super::tests::table(&intent).names().snapshot());
            assert_eq!(now.records().collect::<Vec<_>>(), anew.records().collect::<Vec<_>>(), "{step}");
            let zones = |names: &dns::Snapshot| {
                let mut zones: Vec<Zone> = names.zones().map(|(zone, _)| zone.clone()).collect();
                zones.sort_by(|one, other| one.origin.cmp(&other.origin));
                zones
            };
            assert_eq!(zones(&now), zones(&anew), "{step}");
        }
        assert!(!table.follow(&intent.clone()));
    }
}
