//! A simulated machine with an agent: a kernel, a disk, and the real brain (`reconcile`) in the thinnest of shells.
//!
//! What the brain wants done is in `shell`, its keys in `rotation`. It keeps true that what is not on disk is gone when the
//! agent dies, and what is not in the kernel's hands when the machine reboots.

use std::collections::BTreeSet;
use std::time::Duration;

use control::Intent;
use ipnet::IpNet;
use model::{Generation, HostId, WgPublicKey};
use reconcile::{Agent, AgentEvent, Clients, Derived, Kept, Own, Paths, Routers};
use wire::{HostMap, Report};

use super::PORT;
use super::kernel::Kernel;
use super::names::Followed;
use super::net::{Place, endpoint};
use super::packet::Word;
use super::rotation::{Keys, Purpose};

/// What an agent wants from the server.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Connect(u64),
    Ask { have: Generation, held: Option<Box<HostMap>> },
    Report(Box<Report>),
    Key(WgPublicKey),
}

/// A running agent.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) agent: Agent,
    pub(super) paths: Paths,
    pub(super) routers: Routers,
    pub(super) clients: Clients,
    pub(super) derived: Option<Derived>,
    /// Its names, in a world that has any.
    pub(super) names: Option<Followed>,
    pub(super) highest: Generation,
    /// What the server is being told of keys.
    pub(super) telling_key: Option<Purpose>,
    pub(super) key_at: Option<Duration>,
}

/// What an agent has on disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) map: Option<HostMap>,
    pub(super) kept: Kept,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: HostId,
    /// Who it was before it was removed and joined anew.
    former: Vec<HostId>,
    pub(super) keys: Keys,
    pub(super) kernel: Kernel,
    pub(super) place: Option<Place>,
    pub(super) local: BTreeSet<IpNet>,
    /// Its addresses at ranges of which it tells.
    told: BTreeSet<IpNet>,
    pub(super) disk: Disk,
    /// The maps all of whose ops were carried out on this kernel, and when.
    applied: Vec<(Duration, Generation)>,
    /// Counts the agent's starts: what was meant for an earlier one is lost.
    pub(super) run: u64,
    pub(super) running: Option<Running>,
    /// Counts its connections: nothing of an earlier one is heard.
    pub(super) attempts: u64,
    /// After this many ops the agent dies.
    pub(super) dies_after: Option<usize>,
    /// Whether it was told that it was removed.
    pub(super) removed: bool,
}

impl Host {
    pub(super) fn new(id: HostId, key: WgPublicKey, number: u64) -> Self {
        Self {
            id,
            former: Vec::new(),
            keys: Keys::new(key),
            kernel: Kernel::new(number),
            place: None,
            local: BTreeSet::new(),
            told: BTreeSet::new(),
            disk: Disk::default(),
            applied: Vec::new(),
            run: 0,
            running: None,
            attempts: 0,
            dies_after: None,
            removed: false,
        }
    }

    pub(super) fn start(&mut self, seed: u64, names: Option<Followed>, now: Duration) {
        self.run += 1;
        let map = self.disk.map.clone();
        let highest = map.as_ref().map_or(Generation::NONE, |map| map.generation);
        self.running = Some(Running {
            agent: Agent::new(map, seed, now),
            paths: Paths::new(),
            routers: Routers::new(seed.rotate_left(32)),
            clients: Clients::new(),
            derived: None,
            names,
            highest,
            telling_key: None,
            key_at: self.keys.is_open().then_some(now),
        });
        self.tell_local(now);
    }

    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// It is somebody else now to the server.
    pub(super) fn begin_anew(&mut self, id: HostId) {
        self.former.push(std::mem::replace(&mut self.id, id));
        self.removed = false;
        self.applied.clear();
    }

    /// Who it is to an intent; who it is now where that knows nothing of it.
    pub(super) fn id_in(&self, intent: &Intent) -> HostId {
        let known = |id: &&HostId| intent.host(**id).is_some();
        self.former.iter().find(known).copied().unwrap_or(self.id)
    }

    /// A map has been carried out.
    pub(super) fn has_applied(&mut self, generation: Generation, now: Duration) {
        self.applied.push((now, generation));
    }

    /// The machine has been switched off and on.
    pub(super) fn forget_applied(&mut self) {
        self.applied.clear();
    }

    /// The map that was the newest to be carried out at this time.
    pub(super) fn applied_at(&self, at: Duration) -> Generation {
        let newest = self.applied.iter().rev().find(|(then, _)| *then <= at);
        newest.map_or(Generation::NONE, |(_, generation)| *generation)
    }

    pub(super) const fn runs(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn map(&self) -> Option<&HostMap> {
        self.running.as_ref()?.agent.map()
    }

    /// How it sees its path to a peer.
    pub(super) fn path(&self, peer: &WgPublicKey) -> String {
        let status = self.running.as_ref().and_then(|running| running.paths.status(peer));
        status.map_or_else(|| "unknown".to_owned(), |status| status.to_string())
    }

    pub(super) fn wants_broker(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.agent.broker_is_up())
    }

    /// The machine has moved.
    pub(super) fn moved(&mut self, place: Option<Place>, local: Option<IpNet>, now: Duration) {
        self.place = place;
        self.local = self.told.iter().copied().chain(local).collect();
        self.kernel.wires.uplink = local.and_then(|local| match local {
            IpNet::V4(lan) => Some((lan.addr(), lan)),
            IpNet::V6(_) => None,
        });
        self.tell_local(now);
    }

    /// It has this address as well, and tells of it.
    pub(super) fn tell_of(&mut self, own: IpNet, now: Duration) {
        self.told.insert(own);
        self.local.insert(own);
        self.tell_local(now);
    }

    fn tell_local(&mut self, now: Duration) {
        let Some(running) = self.running.as_mut() else { return };
        let local = self.local.iter().filter_map(|net| match net.addr() {
            std::net::IpAddr::V4(ip) => Some(endpoint(ip, PORT)),
            std::net::IpAddr::V6(_) => None,
        });
        running.agent.handle(AgentEvent::Local(local.collect()), now);
        let Some(map) = running.agent.map() else { return };
        running.paths.handle_own(Own::new(map, self.local.clone()), now);
        // A range behind somebody may be this machine's own LAN now, or no more.
        if running.derived.is_some()
            && map.peers.values().any(|peer| peer.nodes.iter().any(|node| !node.ranges.is_empty()))
        {
            self.settle(now);
        }
    }

    pub(super) fn hear(&mut self, event: AgentEvent, now: Duration) {
        if let Some(running) = self.running.as_mut() {
            running.agent.handle(event, now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let brain = self.running.as_ref().and_then(|running| {
            let agent = running.agent.poll_deadline().map(|(at, _)| at);
            let paths = running.paths.poll_deadline().map(|(at, _)| at);
            let rest = [running.routers.poll_deadline(), running.clients.poll_deadline(), running.key_at];
            agent.into_iter().chain(paths).chain(rest.into_iter().flatten()).min()
        });
        brain.into_iter().chain(self.kernel.deadline()).min()
    }

    /// Lets everything act whose time has come; what it wants from the server.
    pub(super) fn act(&mut self, now: Duration) -> Vec<Request> {
        self.kernel.tick(now);
        let mut requests = Vec::new();
        if let Some(running) = self.running.as_mut() {
            running.agent.handle_deadline(now);
            running.paths.handle_deadline(now);
            running.routers.handle_deadline(now);
            if running.clients.poll_deadline().is_some_and(|at| at <= now) {
                self.look(now);
            }
        }
        requests.extend(self.settle_key(now));
        self.answer_probes(now);
        while let Some(running) = self.running.as_mut() {
            if let Some(action) = running.agent.poll_action() {
                requests.extend(self.carry_out(action, now));
            } else if let Some(action) = running.paths.poll_action() {
                self.follow(&action, now);
            } else if let Some(action) = running.routers.poll_action() {
                self.follow_router(&action, now);
            } else {
                break;
            }
        }
        requests
    }

    /// Probes of other agents are answered while this one runs, where it leads to something; answers are for the brain.
    fn answer_probes(&mut self, now: Duration) {
        for packet in std::mem::take(&mut self.kernel.probes) {
            let Some(running) = self.running.as_mut() else { continue };
            match packet.word {
                Word::Answer => running.routers.handle_answer(packet.flow.source, packet.number, now),
                Word::Question => {
                    let networks = running.agent.map().map(|map| map.networks.values()).into_iter().flatten();
                    let mut leading = networks.filter(|of| of.takes_part() && !of.egress.is_empty());
                    let own = packet.flow.destination;
                    if leading.any(|of| of.addresses.iter().any(|ip| ip == own)) {
                        self.kernel.pass(packet.answer(), super::passage::Came::Itself, now);
                    }
                }
            }
        }
    }
}
