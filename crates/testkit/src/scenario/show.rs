//! What came of a line, as text: records that change, what hosts hear, whole maps. Ids and keys by their names.

use std::collections::BTreeMap;

use control::{Change, Record, RecordChange};
use model::{Endpoint, HostId, MemberId};
use wire::{HostMap, NatMapping, OwnHost, Peer};

use super::stage::{Heard, Stage, text_of};

/// What is shown of a thing: fields in order, empty ones left out.
pub(super) type Fields = Vec<(&'static str, String)>;

/// Values, parted by commas.
pub(super) fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

/// A value, or nothing.
pub(super) fn option<T: ToString>(value: Option<T>) -> String {
    list(value)
}

fn shown(fields: &Fields) -> String {
    let there = fields.iter().filter(|(_, value)| !value.is_empty());
    there.map(|(name, value)| format!(" {name}={value}")).collect()
}

/// The fields that differ, as `name=old→new`.
fn difference(before: &Fields, after: &Fields) -> String {
    let old: BTreeMap<_, _> = before.iter().cloned().collect();
    let word = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let differs = after.iter().filter(|(name, value)| old.get(name) != Some(value));
    differs
        .map(|(name, value)| {
            format!(" {name}={}→{}", old.get(name).map_or_else(String::new, |v| word(v)), word(value))
        })
        .collect()
}

const fn nat(nat: NatMapping) -> &'static str {
    match nat {
        NatMapping::Unknown => "",
        NatMapping::Endpoint => "endpoint",
        NatMapping::PerDestination => "per-destination",
    }
}

fn whereabouts(seen: &[Endpoint], mapping: NatMapping) -> Fields {
    vec![("seen", list(seen)), ("nat", nat(mapping).to_owned())]
}

fn own(host: &OwnHost) -> Fields {
    let mut fields = vec![("name", host.name.to_string()), ("mtu", host.mtu.to_string())];
    fields.push(("rotate", if host.rotate { "yes".to_owned() } else { String::new() }));
    fields.extend(whereabouts(&host.seen, host.nat));
    fields
}

/// Adds a line for what is there now and was not, what differs, and what is gone.
fn compare<K: Ord + Copy, V>(
    lines: &mut Vec<String>,
    (old, new): (&BTreeMap<K, V>, &BTreeMap<K, V>),
    what: impl Fn(K) -> String,
    fields: impl Fn(&V) -> Fields,
) {
    for (id, value) in new {
        match old.get(id).map(&fields) {
            None => lines.push(format!("+ {}{}", what(*id), shown(&fields(value)))),
            Some(before) if before == fields(value) => {}
            Some(before) => lines.push(format!("~ {}{}", what(*id), difference(&before, &fields(value)))),
        }
    }
    for id in old.keys().filter(|id| !new.contains_key(*id)) {
        lines.push(format!("- {}", what(*id)));
    }
}

impl Stage {
    /// What an id is called.
    pub(super) fn name(&self, id: impl ToString) -> String {
        let id = id.to_string();
        self.names.get(&id).cloned().unwrap_or(id)
    }

    /// A sentence, with names in place of ids.
    pub(super) fn named(&self, sentence: &str) -> String {
        self.names.iter().fold(sentence.to_owned(), |text, (id, name)| text.replace(id, name))
    }

    fn peer(&self, peer: &Peer) -> Fields {
        let nodes = peer
            .nodes
            .iter()
            .map(|node| format!("{}:{}", self.name(node.network), list(node.addresses.iter())));
        let mut fields = vec![
            ("name", peer.name.to_string()),
            ("key", option(peer.key.map(|key| text_of(key.as_bytes())))),
            ("nodes", nodes.collect::<Vec<_>>().join(";")),
        ];
        let ranges = list(peer.nodes.iter().flat_map(|node| &node.ranges).map(|net| net.0));
        let via = list(peer.nodes.iter().flat_map(|node| &node.via).map(|host| self.name(host)));
        let classes = peer.nodes.iter().flat_map(|node| &node.classes).map(|class| self.class(*class));
        fields.extend([("leads-to", ranges), ("via", via), ("classes", list(classes))]);
        fields.extend(whereabouts(&peer.seen, peer.nat));
        fields.extend([("local", list(&peer.local)), ("fixed", option(peer.fixed))]);
        fields
    }

    /// The records that a change changes.
    pub(super) fn change(&self, change: &Change) -> Vec<String> {
        if change.is_empty() {
            return vec!["nothing changes".to_owned()];
        }
        let line = |RecordChange { before, after }: &RecordChange| {
            let parts = |record: &Option<Record>| record.as_ref().map(|record| self.record(record));
            match (parts(before), parts(after)) {
                (None, None) => String::new(),
                (None, Some((what, fields))) => format!("+ {what}{}", shown(&fields)),
                (Some((what, _)), None) => format!("- {what}"),
                (Some((_, old)), Some((what, new))) => {
                    format!("~ {what}{}", secretly(&difference(&old, &new)))
                }
            }
        };
        change.records.iter().map(line).collect()
    }

    /// What each host hears.
    pub(super) fn heard(&self, heard: &[Heard]) -> Vec<String> {
        heard.iter().flat_map(|heard| self.host_hears(heard)).collect()
    }

    fn host_hears(&self, Heard { host, before, after }: &Heard) -> Vec<String> {
        let name = self.name(host);
        match (before, after) {
            (None, None) => Vec::new(),
            (Some(_), None) => vec![format!("{name} hears that it was removed")],
            (None, Some(map)) => vec![format!("{name} gets its map: {}", self.summary(map))],
            (Some(old), Some(new)) => {
                let lines = self.differences(old, new);
                lines.into_iter().map(|line| format!("{name} hears {line}")).collect()
            }
        }
    }

    fn summary(&self, map: &HostMap) -> String {
        let networks = list(map.networks.keys().map(|id| self.name(id)));
        let peers = list(map.peers.keys().map(|id| self.name(id)));
        let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        format!("networks {}; peers {}", or_none(networks), or_none(peers))
    }

    fn differences(&self, old: &HostMap, new: &HostMap) -> Vec<String> {
        let mut lines = Vec::new();
        if old.host != new.host {
            lines.push(format!("~ itself{}", difference(&own(&old.host), &own(&new.host))));
        }
        compare(
            &mut lines,
            (&old.networks, &new.networks),
            |id| format!("network {}", self.name(id)),
            |membership| self.membership(membership),
        );
        let peer = |id: MemberId| format!("peer {}", self.name(id));
        compare(&mut lines, (&old.peers, &new.peers), peer, |peer| self.peer(peer));
        lines
    }

    /// A whole map.
    pub(super) fn whole_map(&self, host: HostId) -> Vec<String> {
        let Some(map) = self.map(host) else { return vec!["there is no map".to_owned()] };
        let mut lines =
            vec![format!("generation {}", map.generation), format!("itself{}", shown(&own(&map.host)))];
        let network = |(id, value)| format!("network {}{}", self.name(id), shown(&self.membership(value)));
        lines.extend(map.networks.iter().map(network));
        lines.extend(
            map.peers.iter().map(|(id, peer)| format!("peer {}{}", self.name(id), shown(&self.peer(peer)))),
        );
        lines
    }
}

/// A record that changes in what is not shown (a password, a sealing key) says so.
fn secretly(difference: &str) -> String {
    if difference.is_empty() { " (in what is not shown)".to_owned() } else { difference.to_owned() }
}
