//! A simulated machine: a kernel, a disk, and an agent made of the real brain (`reconcile`) in the thinnest of shells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use model::{Generation, HostId, WgPublicKey};
use reconcile::{
    Agent, AgentAction, AgentEvent, Changed, Circumstances, Derived, Desired, LinkKind, LinkName,
    LocalSettings, Op, PathAction, Paths, reconcile, reconcile_followed,
};
use wire::{HostMap, Outcome, Report};

use super::net::{Place, endpoint};
use super::server::DOORS;
use super::wireguard::Kernel;
use super::{PORT, SERVER};

/// What an agent wants from the server.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Connect(u64),
    Ask { have: Generation, held: Option<Box<HostMap>> },
    Report(Box<Report>),
}

/// A running agent.
#[derive(Debug)]
struct Running {
    agent: Agent,
    paths: Paths,
    derived: Option<Derived>,
    highest: Generation,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) key: WgPublicKey,
    pub(super) kernel: Kernel,
    pub(super) place: Option<Place>,
    pub(super) local: BTreeSet<IpNet>,
    pub(super) disk: Option<HostMap>,
    /// Counts the agent's starts: what was meant for an earlier one is lost.
    pub(super) run: u64,
    running: Option<Running>,
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
            key,
            kernel: Kernel::new(key, number),
            place: None,
            local: BTreeSet::new(),
            disk: None,
            run: 0,
            running: None,
            attempts: 0,
            dies_after: None,
            removed: false,
        }
    }

    pub(super) fn start(&mut self, seed: u64, now: Duration) {
        self.run += 1;
        let agent = Agent::new(self.disk.clone(), seed, now);
        let highest = self.disk.as_ref().map_or(Generation::NONE, |map| map.generation);
        self.running = Some(Running { agent, paths: Paths::new(), derived: None, highest });
        self.tell_local(now);
    }

    pub(super) fn stop(&mut self) {
        self.running = None;
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
        self.local = local.into_iter().collect();
        self.tell_local(now);
    }

    fn tell_local(&mut self, now: Duration) {
        let Some(running) = self.running.as_mut() else { return };
        let local = self.local.iter().filter_map(|net| match net.addr() {
            std::net::IpAddr::V4(ip) => Some(endpoint(ip, PORT)),
            std::net::IpAddr::V6(_) => None,
        });
        running.agent.handle(AgentEvent::Local(local.collect()), now);
        if let Some(map) = running.agent.map() {
            running.paths.handle_own(reconcile::Own::new(map, self.local.clone()), now);
        }
    }

    pub(super) fn hear(&mut self, event: AgentEvent, now: Duration) {
        if let Some(running) = self.running.as_mut() {
            running.agent.handle(event, now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let agent = self.running.as_ref().and_then(|running| running.agent.poll_deadline()).map(|(at, _)| at);
        let paths = self.running.as_ref().and_then(|running| running.paths.poll_deadline()).map(|(at, _)| at);
        agent.into_iter().chain(paths).chain(self.kernel.deadline()).min()
    }

    /// Lets everything act whose time has come; what it wants from the server.
    pub(super) fn act(&mut self, now: Duration) -> Vec<Request> {
        self.kernel.tick(now);
        if let Some(running) = self.running.as_mut() {
            running.agent.handle_deadline(now);
            running.paths.handle_deadline(now);
        }
        let mut requests = Vec::new();
        while let Some(running) = self.running.as_mut() {
            if let Some(action) = running.agent.poll_action() {
                requests.extend(self.carry_out(action, now));
            } else if let Some(action) = running.paths.poll_action() {
                self.follow(&action, now);
            } else {
                break;
            }
        }
        requests
    }

    fn settings(&self) -> LocalSettings {
        LocalSettings {
            link: LinkName::default(),
            kind: LinkKind::Kernel,
            key: self.key,
            former: None,
            port: PORT,
            mtu: None,
        }
    }

    fn carry_out(&mut self, action: AgentAction, now: Duration) -> Option<Request> {
        let running = self.running.as_mut()?;
        match action {
            AgentAction::Store => {
                let map = running.agent.map().cloned();
                let generation = map.as_ref().map_or(Generation::NONE, |map| map.generation);
                assert!(generation > running.highest, "{} moves back to {generation}", self.id);
                running.highest = generation;
                self.disk = map;
            }
            AgentAction::CarryOut(changed) => self.apply(&changed, now),
            AgentAction::TakeDown => {
                let absent = Desired::absent(LinkName::default(), self.key);
                let ops = reconcile(&absent, &self.kernel.observe(now));
                // In this order: who dies in between is told again when it starts.
                if self.execute(&ops, now) {
                    self.disk = None;
                    self.removed = true;
                    self.running = None;
                }
            }
            AgentAction::ConnectBroker => {
                self.attempts += 1;
                return Some(Request::Connect(self.attempts));
            }
            AgentAction::ServerBack => running.paths.handle_server_back(now),
            AgentAction::Ask { have } => {
                let held = running.agent.map().cloned().map(Box::new);
                return Some(Request::Ask { have, held });
            }
            AgentAction::Rotate => {
                let error = "machines of this world keep their keys".to_owned();
                let failure = Outcome { op: "change the WireGuard key".to_owned(), error };
                running.agent.handle(AgentEvent::RotationFailed(failure), now);
            }
            AgentAction::Report(report) => return Some(Request::Report(Box::new(report))),
        }
        None
    }

    /// Makes the machine what the map says.
    fn apply(&mut self, changed: &Changed, now: Duration) {
        let settings = self.settings();
        let Some(running) = self.running.as_mut() else { return };
        let Some(map) = running.agent.map() else { return };
        let generation = map.generation;
        let actual = self.kernel.observe(now);
        let ops = match (changed, &mut running.derived) {
            (Changed::Peers { members, keys }, Some(derived)) if actual.device().is_some() => {
                running.paths.handle_map_peers(map, members, keys, now);
                let followed = derived.follow(map, members, |key| running.paths.endpoint(key));
                reconcile_followed(derived.desired(), &actual, &followed)
            }
            (Changed::Everything | Changed::Peers { .. }, _) => {
                running.paths.handle_map(map, self.local.clone(), now);
                let doors: BTreeMap<_, _> =
                    DOORS.iter().map(|(key, port, _)| (*key, endpoint(SERVER, *port))).collect();
                running.paths.handle_rendezvous(doors, now);
                let endpoints = running.paths.endpoints();
                let circumstances = Circumstances { endpoints, ..Circumstances::default() };
                let derived = Derived::new(map, &settings, &circumstances);
                let ops = reconcile(derived.desired(), &actual);
                running.derived = Some(derived);
                ops
            }
        };
        if self.execute(&ops, now) {
            self.hear(AgentEvent::CarriedOut(generation, vec![]), now);
        }
    }

    fn follow(&mut self, action: &PathAction, now: Duration) {
        let Some(running) = self.running.as_mut() else { return };
        if *action == PathAction::Look {
            let actual = self.kernel.observe(now);
            if let Some(device) = actual.link.as_ref().and_then(|link| link.device.as_ref()) {
                running.paths.handle_observed(device, Duration::ZERO, now);
            }
            return;
        }
        let interface = running.derived.as_ref().and_then(Derived::interface);
        let ops = interface.map(|interface| action.ops(interface)).unwrap_or_default();
        self.execute(&ops, now);
    }

    /// Carries ops out; whether the agent lived to see the end.
    fn execute(&mut self, ops: &[Op], now: Duration) -> bool {
        for op in ops {
            if let Some(left) = self.dies_after.as_mut() {
                if *left == 0 {
                    self.dies_after = None;
                    self.running = None;
                    return false;
                }
                *left -= 1;
            }
            self.kernel.execute(op, now);
        }
        true
    }
}
