//! The names that agents answer, and what they must be by an intent alone: whoever a host may know, and what people wrote
//! down. Brute force; no code of the planner, of the agent or of the DNS.
//!
//! Not for how an agent makes its names of its map: whoever builds the world brings that along ([`Names`]). It keeps true
//! that a host answers what its map's intent says at any time, and what the newest one says when the world is at rest.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use control::Intent;
use control::plan::default_domain;
use ipnet::IpNet;
use model::{Addresses, DnsRecord, Generation, MemberId, Network, NetworkId, Node, RecordData};
use reconcile::Changed;
use wire::HostMap;

use super::model::{Member, Model};
use super::{NETWORKS, World};

/// Seconds for which a member's names may be remembered.
const TTL: u32 = 30;

/// What an agent makes of its map for whoever asks for names. It is made anew with each start of the agent.
pub trait Names: fmt::Debug {
    /// Takes over a whole map.
    fn follow_all(&mut self, map: &HostMap);
    /// Takes over what the map says of these members, and the records of these networks.
    fn follow(&mut self, map: &HostMap, members: &BTreeSet<MemberId>, records: &BTreeSet<NetworkId>);
    /// What is answered now.
    fn answered(&self, map: &HostMap) -> Answered;
}

/// All that somebody answers, and what the machine's resolver is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answered {
    /// `name ttl kind value`, each.
    pub records: BTreeSet<String>,
    /// Whose names are answered, or said not to be.
    pub zones: BTreeSet<String>,
    /// Domains tried behind names without a dot.
    pub search: BTreeSet<String>,
    /// Other domains whose names are asked of us.
    pub route: BTreeSet<String>,
    /// Whether all names are.
    pub all: bool,
    /// Where we answer.
    pub servers: BTreeSet<IpAddr>,
    /// Whom we ask for single domains.
    pub upstreams: BTreeSet<(String, Vec<SocketAddr>)>,
}

/// An agent's names, and the map that they follow.
#[derive(Debug)]
pub(super) struct Followed {
    names: Box<dyn Names>,
    generation: Generation,
}

impl Followed {
    pub(super) fn new(names: Box<dyn Names>) -> Self {
        Self { names, generation: Generation::NONE }
    }

    pub(super) fn follow(&mut self, map: &HostMap, changed: &Changed) {
        match changed {
            Changed::Everything => self.names.follow_all(map),
            Changed::Peers { members, keys: _, records } => self.names.follow(map, members, records),
        }
        self.generation = map.generation;
    }
}

impl World {
    /// Agents that start from now on have names, made by this.
    pub fn name(&mut self, names: fn() -> Box<dyn Names>) {
        self.names = Some(names);
    }

    /// What a host's agent answers; none where none runs that has a map.
    pub fn answered(&self, host: usize) -> Option<Answered> {
        let (names, map) = self.names_of(host)?;
        Some(names.names.answered(map))
    }

    fn names_of(&self, host: usize) -> Option<(&Followed, &HostMap)> {
        let running = self.hosts[host].running.as_ref()?;
        let names = running.names.as_ref()?;
        Some((names, running.agent.map()?)).filter(|(names, map)| names.generation == map.generation)
    }

    /// Each agent answers what the intent says that its map was made of.
    pub fn check_names(&self) {
        for host in 0..self.hosts.len() {
            let Some((names, map)) = self.names_of(host) else { continue };
            let behind = self.history.behind(map.generation, map.host.id);
            let intent = behind.unwrap_or_else(|| panic!("host {host} has a map of some intent"));
            self.compare(host, &names.names.answered(map), intent);
        }
    }

    /// Each agent that is on the net answers what people want now.
    pub(super) fn check_names_at_rest(&self) {
        self.check_names();
        let there = |host: &usize| self.hosts[*host].place.is_some() && self.is_member(*host);
        for host in (0..self.hosts.len()).filter(|_| self.names.is_some()).filter(there) {
            let answered = self.answered(host).unwrap_or_else(|| panic!("host {host} answers"));
            self.compare(host, &answered, &self.server.intent);
        }
    }

    fn compare(&self, host: usize, answered: &Answered, intent: &Intent) {
        let expected = Model::new(self, intent).answered_by(host);
        let (there, due) = (&answered.records, &expected.records);
        let strange: Vec<&String> = there.difference(due).collect();
        let missing: Vec<&String> = due.difference(there).collect();
        assert!(
            strange.is_empty() && missing.is_empty(),
            "host {host} answers what it must not: {strange:?}, and does not what it must: {missing:?}"
        );
        assert_eq!(answered, &expected, "host {host} answers where and for whom it must");
    }

    /// At rest, the server goes away for good: names stay what they are, also when agents and machines start anew.
    pub fn check_names_without_a_server(&mut self) {
        self.stop_server();
        self.run(Duration::from_secs(60));
        self.check_names_at_rest();
        for host in (0..self.hosts.len()).filter(|host| self.is_member(*host)).collect::<Vec<_>>() {
            if host % 2 == 0 {
                self.crash(host, None);
                self.start(host);
            } else {
                self.reboot(host);
            }
        }
        self.run(Duration::from_secs(1));
        self.check_names_at_rest();
    }
}

impl<'a> Model<'a> {
    /// What a host is to answer.
    fn answered_by(&self, host: usize) -> Answered {
        let mut all = Answered::default();
        for number in 0..NETWORKS {
            let id = self.world.networks[number];
            let Some(network) = self.intent.network(id) else { continue };
            let Some(own) = self.node(host, number).filter(|node| node.takes_part()) else { continue };
            self.add_members(&mut all, number, network, own);
            add_records(&mut all, network, self.intent);
            all.servers.extend(own.addresses.iter());
            all.all |= own.internet.is_some();
            for upstream in self.intent.upstreams_in_network(id) {
                all.route.insert(upstream.domain.to_string());
                all.upstreams.insert((upstream.domain.to_string(), upstream.servers.clone()));
            }
        }
        all
    }

    fn add_members(&self, all: &mut Answered, number: usize, network: &Network, own: &'a Node) {
        let domain = domain(network);
        let known = self.told(number, own, &self.members(number));
        for member in known.into_iter().chain([Member::Node(own)]) {
            let Some((name, addresses)) = self.called(member) else { continue };
            for ip in addresses.iter() {
                let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
                all.records.insert(format!("{name}.{domain} {TTL} {kind} {ip}"));
                all.records.insert(format!("{} {TTL} PTR {name}.{domain}", reverse(IpNet::from(ip))));
            }
        }
    }

    /// Name and addresses; ranges have neither.
    fn called(&self, member: Member<'_>) -> Option<(String, Addresses)> {
        match member {
            Member::Node(node) => Some((self.intent.host(node.host)?.name.to_string(), node.addresses)),
            Member::Client(client) => Some((client.name.to_string(), client.addresses)),
            Member::Egress(_) => None,
        }
    }
}

fn domain(network: &Network) -> String {
    let below = || format!("{}.{}", network.name, default_domain());
    network.domain.as_ref().map_or_else(below, ToString::to_string)
}

/// What people wrote down, and the network's own zones.
fn add_records(all: &mut Answered, network: &Network, intent: &Intent) {
    let domain = domain(network);
    all.search.insert(domain.clone());
    all.zones.insert(domain.clone());
    for range in network.ranges.iter() {
        all.route.insert(reverse(range));
        all.zones.insert(reverse(range));
    }
    let records: Vec<&DnsRecord> = intent.dns_records_in_network(network.id).collect();
    for record in &records {
        let (kind, value) = words(&record.data);
        // Of one kind at one name all are remembered alike.
        let alike = records.iter().filter(|it| it.name == record.name && words(&it.data).0 == kind);
        let ttl = alike.map(|it| it.ttl).max().unwrap_or(record.ttl);
        let name = record.name.as_ref().map_or_else(|| domain.clone(), |name| format!("{name}.{domain}"));
        all.records.insert(format!("{name} {ttl} {kind} {value}"));
    }
}

fn words(data: &RecordData) -> (&'static str, String) {
    match data {
        RecordData::A { address } => ("A", address.to_string()),
        RecordData::Aaaa { address } => ("AAAA", address.to_string()),
        RecordData::Cname { target } => ("CNAME", target.to_string()),
        RecordData::Txt { text } => ("TXT", text.clone()),
        RecordData::Srv { priority, weight, port, target } => {
            ("SRV", format!("{priority} {weight} {port} {target}"))
        }
    }
}

/// The name for reverse lookups of a range that ends between two labels, or of an address.
fn reverse(range: IpNet) -> String {
    let length = usize::from(range.prefix_len());
    let (mut labels, end): (Vec<String>, &str) = match range.addr() {
        IpAddr::V4(ip) => {
            (ip.octets()[..length / 8].iter().map(ToString::to_string).collect(), "in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", ip.to_bits());
            (digits.chars().take(length / 4).map(String::from).collect(), "ip6.arpa")
        }
    };
    labels.reverse();
    labels.push(end.to_owned());
    labels.join(".")
}
