//! Inventory: what hosts reported and where they are seen. Replaceable, and lost without harm.
//!
//! Not intent: nothing here is committed or decides who may talk to whom. Each observation says whether it changes what
//! some host must know, so that one that changes nothing costs nothing.

mod sessions;
mod view;

use std::sync::Arc;

use model::{ClientId, Endpoint, Generation, HostId, MemberId, Timestamp};
use serde::{Deserialize, Serialize};
use wire::{Facts, NatMapping, Outcome, Report};

pub use sessions::ClientSession;
pub use view::Door;
use view::Views;

/// Whether an observation changes what hosts must know.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// No map changes.
    None,
    /// The host's own map and its peers' do: see `plan::Touched::by_inventory`.
    Maps,
}

/// What is known of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostInventory {
    #[serde(default)]
    v4: Views,
    #[serde(default)]
    v6: Views,
    /// Its own addresses with its WireGuard port, ordered.
    #[serde(default)]
    pub local: Vec<Endpoint>,
    /// Whether it is connected to the broker.
    #[serde(default)]
    pub online: bool,
    /// When it was last heard of.
    #[serde(default)]
    pub last_seen: Option<Timestamp>,
    /// The map it has carried out.
    #[serde(default)]
    pub applied: Generation,
    /// What the machine is.
    #[serde(default)]
    pub facts: Facts,
    /// Ops that failed there.
    #[serde(default)]
    pub failures: Vec<Outcome>,
    /// Clients that it let in, by id.
    #[serde(default)]
    sessions: Vec<ClientSession>,
}

impl HostInventory {
    /// Where the rendezvous sees it: at most one IPv4 and one IPv6 endpoint, IPv4 first.
    pub fn seen(&self) -> Vec<Endpoint> {
        self.v4.seen().into_iter().chain(self.v6.seen()).collect()
    }

    /// How its NAT maps. IPv4's counts where there is IPv4: that is where the NATs are.
    pub fn nat(&self) -> NatMapping {
        if self.v4.seen().is_some() { self.v4.nat() } else { self.v6.nat() }
    }

    /// What it said of a client.
    pub fn client(&self, client: ClientId) -> Option<&ClientSession> {
        sessions::of_client(&self.sessions, client)
    }
}

/// What is known of every host. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inventory {
    hosts: imbl::OrdMap<HostId, Arc<HostInventory>>,
    /// Who says to have let in which client, and when it was last heard there.
    sessions: imbl::OrdMap<(MemberId, HostId), Timestamp>,
}

const MOST_TEXT: usize = 512;

fn cut(text: &str) -> String {
    text.chars().take(MOST_TEXT).collect()
}

fn cut_facts(facts: &Facts) -> Facts {
    let Facts { os, release, arch, kernel, agent, wireguard } = facts;
    Facts {
        os: cut(os),
        release: cut(release),
        arch: cut(arch),
        kernel: cut(kernel),
        agent: cut(agent),
        wireguard: cut(wireguard),
    }
}

impl FromIterator<(HostId, HostInventory)> for Inventory {
    fn from_iter<T: IntoIterator<Item = (HostId, HostInventory)>>(entries: T) -> Self {
        let mut inventory = Self::default();
        for (host, entry) in entries {
            inventory.replace(host, Some(entry));
        }
        inventory
    }
}

impl Inventory {
    /// What is known of a host, if anything.
    pub fn host(&self, host: HostId) -> Option<&HostInventory> {
        self.hosts.get(&host).map(Arc::as_ref)
    }

    /// What is known of every host of which anything is.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &HostInventory)> {
        self.hosts.iter().map(|(host, entry)| (*host, &**entry))
    }

    /// Where a client was heard last among these hosts, and what was seen there.
    pub fn client_at(&self, client: ClientId, among: &[HostId]) -> Option<(HostId, &ClientSession)> {
        let seen = among.iter().filter_map(|host| Some((*host, self.host(*host)?.client(client)?)));
        seen.max_by_key(|(host, seen)| (seen.heard, std::cmp::Reverse(*host)))
    }

    fn entry(&mut self, host: HostId) -> &mut HostInventory {
        Arc::make_mut(self.hosts.entry(host).or_default())
    }

    /// The rendezvous saw the host's WireGuard socket at one of its doors.
    pub fn observe_seen(&mut self, host: HostId, door: Door, endpoint: Endpoint, now: Timestamp) -> Effect {
        let entry = self.entry(host);
        entry.last_seen = entry.last_seen.max(Some(now));
        let before = (entry.seen(), entry.nat());
        let views = if endpoint.ip().is_ipv4() { &mut entry.v4 } else { &mut entry.v6 };
        views.observe(door, endpoint);
        if before == (entry.seen(), entry.nat()) { Effect::None } else { Effect::Maps }
    }

    /// The host said what it saw and did. What is longer than it may be is cut.
    pub fn observe_report(&mut self, host: HostId, report: &Report, now: Timestamp) -> Effect {
        let mut local = report.local.clone();
        local.sort_unstable();
        local.dedup();
        local.truncate(Report::MOST_LOCAL);
        let failures = report.failures.iter().take(Report::MOST_FAILURES);
        let failures =
            failures.map(|Outcome { op, error }| Outcome { op: cut(op), error: cut(error) }).collect();
        let handed_over = self.observe_clients(host, report, now);
        let entry = self.entry(host);
        entry.last_seen = entry.last_seen.max(Some(now));
        entry.applied = report.generation;
        entry.facts = cut_facts(&report.facts);
        entry.failures = failures;
        if entry.local == local && !handed_over {
            return Effect::None;
        }
        entry.local = local;
        Effect::Maps
    }

    /// Which clients the host let in. Returns whether one of them may have come from another host, or gone back there; which of
    /// the hosts that say so a client is looked for at is seen where its gateways are known (`client_at`).
    fn observe_clients(&mut self, host: HostId, report: &Report, now: Timestamp) -> bool {
        let known = self.host(host).map(|entry| entry.sessions.as_slice()).unwrap_or_default();
        let sessions = sessions::told(report, known, now);
        if known == sessions {
            return false;
        }
        let known: Vec<MemberId> = known.iter().map(ClientSession::client).collect();
        let mut handed_over = false;
        for id in known.into_iter().filter(|id| sessions::of(&sessions, *id).is_none()) {
            handed_over |= self.retold(host, id, None);
        }
        for session in &sessions {
            handed_over |= self.retold(host, session.client(), Some(session.heard));
        }
        self.entry(host).sessions = sessions;
        handed_over
    }

    /// Returns whether the host comes before or behind others who say that they let the client in, otherwise than before.
    fn retold(&mut self, host: HostId, client: MemberId, now: Option<Timestamp>) -> bool {
        let before = match now {
            Some(now) => self.sessions.insert((client, host), now),
            None => self.sessions.remove(&(client, host)),
        };
        let (first, last) = (HostId::from_bytes([0; 16]), HostId::from_bytes([0xff; 16]));
        let others = self.sessions.range((client, first)..=(client, last));
        let mut others = others.filter(|((_, other), _)| *other != host).map(|(_, at)| *at);
        before.is_none() != now.is_none()
            || others.any(|other| before.map(|before| before.cmp(&other)) != now.map(|now| now.cmp(&other)))
    }

    /// The machine said what it is when it registered.
    pub fn observe_facts(&mut self, host: HostId, facts: &Facts, now: Timestamp) {
        let entry = self.entry(host);
        entry.last_seen = entry.last_seen.max(Some(now));
        entry.facts = cut_facts(facts);
    }

    /// The host was heard of in a way that tells nothing else.
    pub fn observe_heard(&mut self, host: HostId, at: Timestamp) {
        let entry = self.entry(host);
        entry.last_seen = entry.last_seen.max(Some(at));
    }

    /// The host connected to the broker, or its last will came. Peers are told nothing: tunnels do not need the broker.
    pub fn observe_presence(&mut self, host: HostId, online: bool, now: Timestamp) {
        let entry = self.entry(host);
        entry.online = online;
        entry.last_seen = entry.last_seen.max(Some(now));
    }

    /// Nobody is known to be connected: the server has just started.
    pub fn forget_presence(&mut self) {
        let online: Vec<HostId> =
            self.hosts().filter(|(_, entry)| entry.online).map(|(host, _)| host).collect();
        for host in online {
            self.entry(host).online = false;
        }
    }

    /// What another server knows of a host, in place of what this one knows; none: nothing.
    pub fn replace(&mut self, host: HostId, entry: Option<HostInventory>) {
        self.forget(host);
        let Some(entry) = entry else { return };
        let sessions = entry.sessions.iter().map(|session| ((session.client(), host), session.heard));
        self.sessions.extend(sessions);
        self.hosts.insert(host, Arc::new(entry));
    }

    /// The host was removed.
    pub fn forget(&mut self, host: HostId) {
        let entry = self.hosts.remove(&host);
        let sessions = entry.iter().flat_map(|entry| &entry.sessions);
        sessions.for_each(|session| {
            self.sessions.remove(&(session.client(), host));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostId = HostId::from_bytes([1; 16]);
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn a_report_that_says_the_same_addresses_changes_no_map() {
        let mut inventory = Inventory::default();
        let local =
            vec![endpoint("192.168.1.7:51820"), endpoint("10.0.0.1:51820"), endpoint("10.0.0.1:51820")];
        let report = Report { local, ..Report::default() };
        assert_eq!(inventory.observe_report(HOST, &report, NOW), Effect::Maps);
        let reversed = Report { local: report.local.iter().rev().copied().collect(), ..report };
        assert_eq!(inventory.observe_report(HOST, &reversed, NOW), Effect::None);
        assert_eq!(inventory.host(HOST).unwrap().local.len(), 2);
    }

    #[test]
    fn a_report_too_long_is_cut() {
        let mut inventory = Inventory::default();
        let long = "x".repeat(100_000);
        let failure = Outcome { op: long.clone(), error: long.clone() };
        let facts = Facts { os: long, ..Facts::default() };
        let report = Report { failures: vec![failure; 1_000], facts, ..Report::default() };
        assert_eq!(inventory.observe_report(HOST, &report, NOW), Effect::None);
        let entry = inventory.host(HOST).unwrap();
        assert_eq!(entry.failures.len(), Report::MOST_FAILURES);
        assert!(entry.facts.os.len() == MOST_TEXT && entry.failures[0].error.len() == MOST_TEXT);
    }

    #[test]
    fn what_another_server_knows_replaces_what_this_one_does() {
        let mut theirs = Inventory::default();
        let report = Report { local: vec![endpoint("192.168.1.7:51820")], ..Report::default() };
        assert_eq!(theirs.observe_report(HOST, &report, NOW), Effect::Maps);
        let mut ours = Inventory::default();
        ours.observe_presence(HOST, true, NOW);
        ours.replace(HOST, theirs.host(HOST).cloned());
        assert_eq!(ours, theirs);
        ours.replace(HOST, None);
        assert_eq!(ours, Inventory::default());
    }

    #[test]
    fn ipv4_and_ipv6_are_seen_side_by_side() {
        let mut inventory = Inventory::default();
        let (v4, v6) = (endpoint("203.0.113.7:1024"), endpoint("[2001:db8::7]:51820"));
        assert_eq!(inventory.observe_seen(HOST, Door::First, v6, NOW), Effect::Maps);
        assert_eq!(inventory.observe_seen(HOST, Door::First, v4, NOW), Effect::Maps);
        assert_eq!(inventory.observe_seen(HOST, Door::First, v4, NOW), Effect::None);
        assert_eq!(inventory.host(HOST).unwrap().seen(), [v4, v6]);
    }
}
