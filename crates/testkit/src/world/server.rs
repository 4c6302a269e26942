//! The simulated server: the real brain (`control`), and the thinnest shell around it: the generations of what each host was
//! told last, and the rendezvous' two doors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use control::plan::{
    Deltas, Differing, Log, Picture, Roster, Touched, catch_up, default_domain, deltas_within, host_map,
};
use control::{Actor, Command, Door, Effect, Env, Intent, Inventory, apply, decide};
use model::{DnsName, Endpoint, Epoch, Generation, HostId, Timestamp, WgPublicKey};
use reconcile::Answer;
use wire::{Down, HostMap, MapRequest, Part, Rendezvous, Report, ServerLinks, assemble};

use super::kernel::wall;
use super::law::History;
use super::random::Random;
use super::wireguard::Datagram;

/// The most peers that a delta names, the flushes and the hosts that the log remembers: so few that worlds of a handful of
/// machines get beyond them.
const MOST_TOLD: usize = 2;
const MOST_FLUSHES: usize = 8;
const MOST_NAMED: usize = 12;

/// Nobody waits for the new key of a host that has been away for so long.
const GONE: Duration = Duration::from_secs(30);

/// How long ephemeral hosts may be away.
const EPHEMERAL_AFTER: Duration = Duration::from_secs(300);

/// The doors' keys and ports.
pub(super) const DOORS: [(WgPublicKey, u16, Door); 2] = [
    (WgPublicKey::from_bytes([251; 32]), 51_821, Door::First),
    (WgPublicKey::from_bytes([252; 32]), 51_822, Door::Second),
];

/// The server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) intent: Intent,
    pub(super) inventory: Inventory,
    links: ServerLinks,
    domain: DnsName,
    roster: Roster,
    log: Log,
    first: Generation,
    last: Generation,
    /// Of those whose maps have changed since its start.
    generations: BTreeMap<HostId, Generation>,
    epoch: u32,
    pub(super) up: bool,
    /// After a start all have time to come back.
    started: Duration,
    sessions: BTreeMap<u64, HostId>,
    ids: u64,
}

impl Server {
    pub(super) fn new() -> Self {
        let door = |(key, port, _): (WgPublicKey, u16, Door)| Rendezvous { key, port, host: None };
        let first = Generation::first_of(Epoch::new(1));
        Self {
            intent: Intent::default(),
            inventory: Inventory::default(),
            links: ServerLinks { rendezvous: DOORS.map(door).to_vec(), ..ServerLinks::default() },
            domain: default_domain(),
            roster: Roster::default(),
            log: Log::bounded(first, MOST_FLUSHES, MOST_NAMED),
            first,
            last: first,
            generations: BTreeMap::new(),
            epoch: 1,
            up: true,
            started: Duration::ZERO,
            sessions: BTreeMap::new(),
            ids: 1 << 60,
        }
    }

    /// It starts anew: intent is what was committed, the rest may be lost.
    pub(super) fn restart(&mut self, forgets: bool, now: Duration, history: &mut History) {
        (self.up, self.started) = (true, now);
        self.epoch += 1;
        self.sessions.clear();
        if forgets {
            self.inventory = Inventory::default();
        }
        self.first = Generation::first_of(Epoch::new(self.epoch));
        self.last = self.first;
        self.generations.clear();
        self.log = Log::bounded(self.first, MOST_FLUSHES, MOST_NAMED);
        self.inventory.forget_presence();
        self.roster = Roster::of(&self.picture());
        history.generation(self.first);
    }

    /// Decides and commits; what the hosts are to be told.
    pub(super) fn command(
        &mut self,
        actor: Actor,
        command: Command,
        random: &mut Random,
        now: Duration,
        history: &mut History,
    ) -> Result<Vec<(HostId, Down)>, control::Rejection> {
        let mut fill = |bytes: &mut [u8]| random.fill(bytes);
        let mut env = Env { now: wall(now), domain: &self.domain, random: &mut fill };
        let change = decide(&self.intent, &actor, command, &mut env)?;
        let before = self.intent.clone();
        apply(&mut self.intent, &change);
        assert_eq!(self.intent.check(), [], "intent holds together");
        history.add(&self.intent);
        let touched = Touched::by_change(&before, &self.intent, &change);
        let inventory = self.inventory.clone();
        let messages = self.tell(&before, &inventory, &touched);
        history.generation(self.last);
        Ok(messages)
    }

    /// Who has not been connected for a while.
    pub(super) fn gone(&self, now: Duration) -> BTreeSet<HostId> {
        let is_gone = |id: &HostId| self.away_since(*id).is_some_and(|since| since + GONE <= wall(now));
        self.intent.hosts(None).map(|host| host.id).filter(is_gone).collect()
    }

    /// Ephemeral hosts that are away, and when they are removed for it.
    pub(super) fn ephemeral(&self) -> BTreeMap<HostId, Timestamp> {
        let hosts = self.intent.hosts(None).filter(|host| host.ephemeral);
        let ends = hosts.filter_map(|host| {
            let since = self.away_since(host.id)?.max(host.created);
            Some((host.id, since + EPHEMERAL_AFTER))
        });
        ends.collect()
    }

    /// Since when a host is not connected; none: it is. After a start all have time to come back.
    fn away_since(&self, host: HostId) -> Option<Timestamp> {
        let seen = self.inventory.host(host);
        if seen.is_some_and(|seen| seen.online) {
            return None;
        }
        let heard = seen.and_then(|seen| seen.last_seen).unwrap_or_default();
        Some(heard.max(wall(self.started)))
    }

    /// A host's report came.
    pub(super) fn report(&mut self, host: HostId, report: &Report, now: Duration) -> Vec<(HostId, Down)> {
        self.observed(host, |inventory| inventory.observe_report(host, report, wall(now)))
    }

    const fn picture(&self) -> Picture<'_> {
        Picture { intent: &self.intent, inventory: &self.inventory, links: &self.links, domain: &self.domain }
    }

    fn generation(&self, host: HostId) -> Generation {
        self.generations.get(&host).copied().unwrap_or(self.first)
    }

    /// What a host hears that asks with this map at hand; none when it does not exist.
    pub(super) fn answer(&self, host: HostId, have: Generation, held: Option<&HostMap>) -> Option<Answer> {
        let picture = self.picture();
        self.intent.host(host)?;
        let generation = self.generation(host);
        if have == generation {
            return Some(Answer::Current);
        }
        if let Some(delta) = catch_up(&self.log, &picture, &self.roster, host, have) {
            return Some(Answer::Delta(delta.to_wire(have, generation)));
        }
        let request = MapRequest { have, ..held.map(MapRequest::of).unwrap_or_default() };
        let (head, buckets) = self.roster.answer(&picture, host, generation, &request)?;
        let parts: Vec<Part> = buckets.iter().map(Differing::to_part).collect();
        Some(Answer::Whole(assemble(held, head, &parts).expect("what was just packed is assembled")))
    }

    /// The definition of what a host must know.
    pub(super) fn definition(&self, host: HostId, generation: Generation) -> Option<HostMap> {
        host_map(&self.picture(), host, generation)
    }

    /// A datagram came to a door: what it answers, and what the hosts are to be told.
    pub(super) fn receive(
        &mut self,
        from: Endpoint,
        port: u16,
        packet: Datagram,
        now: Duration,
    ) -> (Option<Datagram>, Vec<(HostId, Down)>) {
        let Some((key, _, door)) = DOORS.into_iter().find(|(_, other, _)| *other == port) else {
            return (None, vec![]);
        };
        match packet {
            Datagram::Initiation { from: peer, to, handshake } if to == key => {
                let Some(host) = self.intent.host_by_wireguard_key(&peer).map(|host| host.id) else {
                    return (None, vec![]);
                };
                self.ids += 1;
                self.sessions.insert(self.ids, host);
                (Some(Datagram::Response { handshake, session: self.ids }), vec![])
            }
            Datagram::Data { session, .. } => {
                let Some(host) = self.sessions.get(&session).copied() else { return (None, vec![]) };
                (None, self.observed(host, |inventory| inventory.observe_seen(host, door, from, wall(now))))
            }
            Datagram::Initiation { .. } | Datagram::Response { .. } => (None, vec![]),
        }
    }

    fn observed(
        &mut self,
        host: HostId,
        observe: impl FnOnce(&mut Inventory) -> Effect,
    ) -> Vec<(HostId, Down)> {
        if self.intent.host(host).is_none() {
            return vec![];
        }
        let before = self.inventory.clone();
        match observe(&mut self.inventory) {
            Effect::None => vec![],
            Effect::Maps => {
                let intent = self.intent.clone();
                self.tell(&intent, &before, &Touched::by_inventory(&intent, host))
            }
        }
    }

    fn tell(&mut self, intent: &Intent, inventory: &Inventory, touched: &Touched) -> Vec<(HostId, Down)> {
        let before = Picture { intent, inventory, links: &self.links, domain: &self.domain };
        let after = self.picture();
        let mut roster = self.roster.clone();
        roster.update(&after, touched);
        let Deltas { changed, new, removed } =
            deltas_within(MOST_TOLD, (&before, &after), (&self.roster, &roster), touched);
        if !changed.is_empty() || !new.is_empty() {
            self.last = self.last.next();
        }
        self.log.record(self.last, &self.roster, &roster, touched);
        self.roster = roster;
        let mut messages = Vec::new();
        for (host, delta) in changed {
            let delta = delta.to_wire(self.generation(host), self.last);
            self.generations.insert(host, self.last);
            messages.push((host, Down::Delta(delta)));
        }
        for host in new {
            self.generations.insert(host, self.last);
            messages.push((host, Down::Fetch(self.last)));
        }
        for host in removed {
            self.generations.remove(&host);
            self.inventory.forget(host);
            self.sessions.retain(|_, other| *other != host);
            messages.push((host, Down::Removed));
        }
        messages
    }
}
