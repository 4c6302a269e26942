//! The simulated server: the real brain (`control`), and the thinnest shell around it: who is connected, what each was
//! told last, the rendezvous' two doors.

use std::collections::BTreeMap;
use std::time::Duration;

use control::plan::{Deltas, Picture, Touched, deltas, host_map};
use control::{Actor, Command, Door, Effect, Env, Intent, Inventory, apply, decide};
use model::{Endpoint, Epoch, Generation, HostId, WgPublicKey};
use reconcile::Answer;
use wire::{Delta, Down, HostMap, Rendezvous, Report, ServerLinks, patch};

use super::random::Random;
use super::wireguard::{Packet, wall};

/// How many deltas the server keeps for each host.
const HISTORY: usize = 4;

/// The doors' keys and ports.
pub(super) const DOORS: [(WgPublicKey, u16, Door); 2] = [
    (WgPublicKey::from_bytes([251; 32]), 51_821, Door::First),
    (WgPublicKey::from_bytes([252; 32]), 51_822, Door::Second),
];

/// What a host was told.
#[derive(Debug, Clone)]
struct Told {
    map: HostMap,
    history: Vec<Delta>,
}

/// The server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) intent: Intent,
    pub(super) inventory: Inventory,
    links: ServerLinks,
    told: BTreeMap<HostId, Told>,
    epoch: u32,
    pub(super) up: bool,
    sessions: BTreeMap<u64, HostId>,
    ids: u64,
}

impl Server {
    pub(super) fn new() -> Self {
        let door = |(key, port, _): (WgPublicKey, u16, Door)| Rendezvous { key, port, host: None };
        Self {
            intent: Intent::default(),
            inventory: Inventory::default(),
            links: ServerLinks { rendezvous: DOORS.map(door).to_vec(), ..ServerLinks::default() },
            told: BTreeMap::new(),
            epoch: 1,
            up: true,
            sessions: BTreeMap::new(),
            ids: 1 << 60,
        }
    }

    /// It starts anew: intent is what was committed, the rest may be lost.
    pub(super) fn restart(&mut self, forgets: bool) {
        self.up = true;
        self.epoch += 1;
        self.told.clear();
        self.sessions.clear();
        if forgets {
            self.inventory = Inventory::default();
        }
    }

    /// Decides and commits; what the hosts are to be told.
    pub(super) fn command(
        &mut self,
        actor: Actor,
        command: Command,
        random: &mut Random,
        now: Duration,
    ) -> Result<Vec<(HostId, Down)>, control::Rejection> {
        let mut fill = |bytes: &mut [u8]| random.fill(bytes);
        let mut env = Env { now: wall(now), random: &mut fill };
        let change = decide(&self.intent, &actor, command, &mut env)?;
        let before = self.intent.clone();
        apply(&mut self.intent, &change);
        assert_eq!(self.intent.check(), [], "intent holds together");
        let touched = Touched::by_change(&before, &self.intent, &change);
        let inventory = self.inventory.clone();
        Ok(self.tell(&before, &inventory, &touched))
    }

    /// A host's report came.
    pub(super) fn report(&mut self, host: HostId, report: &Report, now: Duration) -> Vec<(HostId, Down)> {
        self.observed(host, |inventory| inventory.observe_report(host, report, wall(now)))
    }

    /// The answer to a host that asks; none when it does not exist.
    pub(super) fn answer(&mut self, host: HostId, have: Generation) -> Option<Answer> {
        let first = Generation::first_of(Epoch::new(self.epoch));
        if !self.told.contains_key(&host) {
            let map = host_map(&self.intent, &self.inventory, &self.links, host, first)?;
            self.told.insert(host, Told { map, history: Vec::new() });
        }
        let told = self.told.get(&host)?;
        if told.map.generation == have {
            return Some(Answer::Current(have));
        }
        let last = told.history.last().filter(|delta| delta.base == have).cloned();
        Some(last.map_or_else(|| Answer::Whole(told.map.clone()), Answer::Delta))
    }

    /// The definition of what a host must know.
    pub(super) fn definition(&self, host: HostId, generation: Generation) -> Option<HostMap> {
        host_map(&self.intent, &self.inventory, &self.links, host, generation)
    }

    /// A datagram came to a door: what it answers, and what the hosts are to be told.
    pub(super) fn receive(
        &mut self,
        from: Endpoint,
        port: u16,
        packet: Packet,
        now: Duration,
    ) -> (Option<Packet>, Vec<(HostId, Down)>) {
        let Some((key, _, door)) = DOORS.into_iter().find(|(_, other, _)| *other == port) else {
            return (None, vec![]);
        };
        match packet {
            Packet::Initiation { from: peer, to, handshake } if to == key => {
                let Some(host) = self.intent.host_by_wireguard_key(&peer).map(|host| host.id) else {
                    return (None, vec![]);
                };
                self.ids += 1;
                self.sessions.insert(self.ids, host);
                (Some(Packet::Response { handshake, session: self.ids }), vec![])
            }
            Packet::Data { session, .. } => {
                let Some(host) = self.sessions.get(&session).copied() else { return (None, vec![]) };
                (None, self.observed(host, |inventory| inventory.observe_seen(host, door, from, wall(now))))
            }
            Packet::Initiation { .. } | Packet::Response { .. } => (None, vec![]),
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
        let before = Picture { intent, inventory, links: &self.links };
        let after = Picture { intent: &self.intent, inventory: &self.inventory, links: &self.links };
        let Deltas { changed, new: _, removed } = deltas(&before, &after, touched);
        let mut messages = Vec::new();
        for (host, delta) in changed {
            // Who was told nothing yet asks, and gets all.
            let Some(told) = self.told.get_mut(&host) else { continue };
            let base = told.map.generation;
            let delta = delta.to_wire(base, base.next());
            patch(&mut told.map, delta.clone()).expect("the delta starts from the map");
            if told.history.len() == HISTORY {
                told.history.remove(0);
            }
            told.history.push(delta.clone());
            messages.push((host, Down::Delta(delta)));
        }
        for host in removed {
            self.told.remove(&host);
            self.inventory.forget(host);
            self.sessions.retain(|_, other| *other != host);
            messages.push((host, Down::Removed));
        }
        messages
    }
}
