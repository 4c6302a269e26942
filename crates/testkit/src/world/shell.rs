//! The shell around an agent's brain: what it wants is done, in order, as the real agent's engine does it.
//!
//! Not for deciding anything. It keeps true that what settings of the kernel were is on disk before they are changed, and
//! that an agent may die between any two ops.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Generation;
use reconcile::{
    AgentAction, AgentEvent, Changed, Circumstances, Derived, Desired, LinkKind, LinkName, LocalSettings, Op,
    PathAction, RouterAction, carry_endpoints_over, reconcile, reconcile_followed, reconcile_link,
};

use super::host::{Host, Request, Running};
use super::net::endpoint;
use super::packet::{Flow, Service};
use super::server::DOORS;
use super::{PORT, SERVER};

impl Host {
    fn settings(&self) -> LocalSettings {
        LocalSettings {
            link: LinkName::default(),
            kind: LinkKind::Kernel,
            key: self.keys.on_device,
            former: self.keys.former(),
            port: PORT,
            mtu: None,
        }
    }

    pub(super) fn carry_out(&mut self, action: AgentAction, now: Duration) -> Option<Request> {
        let running = self.running.as_mut()?;
        match action {
            AgentAction::Store => {
                let map = running.agent.map().cloned();
                let generation = map.as_ref().map_or(Generation::NONE, |map| map.generation);
                assert!(generation >= running.highest, "{} moves back to {generation}", self.id);
                running.highest = generation;
                self.disk.map = map;
            }
            AgentAction::CarryOut(changed) => self.apply(&changed, now),
            AgentAction::TakeDown => self.take_down(now),
            AgentAction::ConnectBroker => {
                self.attempts += 1;
                return Some(Request::Connect(self.attempts));
            }
            // Here the server sees by itself who is there.
            AgentAction::SayOnline => {}
            AgentAction::Agree { server } => self.hear(AgentEvent::Agreed(server), now),
            AgentAction::ServerBack => running.paths.handle_server_back(now),
            AgentAction::Ask { have } => {
                let held = running.agent.map().cloned().map(Box::new);
                return Some(Request::Ask { have, held });
            }
            AgentAction::Rotate => return self.rotate(now),
            AgentAction::Report(report) => return Some(Request::Report(Box::new(report))),
        }
        None
    }

    /// Makes the machine what the map says.
    fn apply(&mut self, changed: &Changed, now: Duration) {
        let Some(running) = self.running.as_mut() else { return };
        let Some(map) = running.agent.map() else { return };
        let generation = map.generation;
        let done = match changed {
            Changed::Peers { members, keys, records: _ } => {
                running.paths.handle_map_peers(map, members, keys, now);
                running.routers.handle_members(map, members, now);
                running.clients.handle_members(map, members, now);
                let actual = self.kernel.observe(now);
                match running.derived.as_mut().filter(|_| actual.device().is_some()) {
                    Some(derived) => {
                        let mut members = members.clone();
                        members.extend(derived.set_here(running.clients.here()));
                        let followed = derived.follow(map, &members, |key| running.paths.endpoint(key));
                        let mut ops = reconcile_followed(derived.desired(), &actual, &followed);
                        carry_endpoints_over(&mut ops, &actual);
                        self.execute(ops, now)
                    }
                    None => self.settle(now),
                }
            }
            Changed::Everything => {
                running.paths.handle_map(map, self.local.clone(), now);
                running.routers.handle_map(map, now);
                running.clients.handle_map(map, now);
                self.settle(now)
            }
        };
        if let Some(Running { agent, names: Some(names), .. }) = self.running.as_mut()
            && let Some(map) = agent.map()
        {
            names.follow(map, changed);
        }
        if done {
            self.has_applied(generation, now);
            self.hear(AgentEvent::CarriedOut(generation, vec![]), now);
        }
    }

    /// Everything, from the start; whether the agent lived to see the end.
    pub(super) fn settle(&mut self, now: Duration) -> bool {
        let settings = self.settings();
        let annexes = self.kernel.wires.annexes.values().flatten().copied();
        let local = self.local.iter().copied().chain(annexes).collect();
        let actual = self.kernel.observe(now);
        let Some(running) = self.running.as_mut() else { return false };
        let Some(map) = running.agent.map() else { return true };
        if running.derived.is_none()
            && let Some(device) = actual.device().filter(|device| device.key == Some(settings.key))
        {
            running.clients.handle_start(map, device);
        }
        let doors: BTreeMap<_, _> =
            DOORS.iter().map(|(key, port, _)| (*key, endpoint(SERVER, *port))).collect();
        running.paths.handle_rendezvous(doors, now);
        let circumstances = Circumstances {
            endpoints: running.paths.endpoints(),
            local,
            routers: running.routers.chosen(),
            here: running.clients.here().clone(),
            kept: self.disk.kept.clone(),
        };
        let derived = Derived::new(map, &settings, &circumstances);
        let mut ops = reconcile(derived.desired(), &actual);
        carry_endpoints_over(&mut ops, &actual);
        running.derived = Some(derived);
        let makes_link = ops.iter().any(|op| matches!(op, Op::CreateLink(_)));
        self.execute(ops, now) && (!makes_link || self.look_at_link(now))
    }

    /// The machine tells of its new link, which has settings of its own; whether the agent lived to see the end.
    fn look_at_link(&mut self, now: Duration) -> bool {
        let actual = self.kernel.observe(now);
        let derived = self.running.as_ref().and_then(|running| running.derived.as_ref());
        let ops = derived.map(|derived| reconcile_link(derived.desired(), &actual)).unwrap_or_default();
        self.execute(ops, now)
    }

    /// The ops that are missing.
    pub(super) fn left_to_do(&self, now: Duration) -> Vec<Op> {
        let derived = self.running.as_ref().and_then(|running| running.derived.as_ref());
        derived.map(|derived| reconcile(derived.desired(), &self.kernel.observe(now))).unwrap_or_default()
    }

    fn take_down(&mut self, now: Duration) {
        let absent = Desired {
            kept: self.disk.kept.clone(),
            former: self.keys.next,
            ..Desired::absent(LinkName::default(), self.keys.counts)
        };
        let ops = reconcile(&absent, &self.kernel.observe(now));
        // In this order: who dies in between is told again when it starts.
        if self.execute(ops, now) {
            self.disk = super::host::Disk::default();
            self.removed = true;
            self.running = None;
        }
    }

    pub(super) fn follow(&mut self, action: &PathAction, now: Duration) {
        if *action == PathAction::Look {
            return self.look(now);
        }
        let Some(running) = self.running.as_mut() else { return };
        let interface = running.derived.as_ref().and_then(Derived::interface);
        let ops = interface.map(|interface| action.ops(interface)).unwrap_or_default();
        self.execute(ops, now);
    }

    /// Reads the device, for the paths and for the clients.
    pub(super) fn look(&mut self, now: Duration) {
        let actual = self.kernel.observe(now);
        let Some(running) = self.running.as_mut() else { return };
        let Some(device) = actual.device() else {
            return running.paths.handle_unobserved(Duration::ZERO, now);
        };
        running.paths.handle_observed(device, Duration::ZERO, now);
        let Some(map) = running.agent.map() else { return };
        if running.clients.handle_observed(map, device, Duration::ZERO, now) {
            let seen = running.clients.seen();
            running.agent.handle(AgentEvent::Clients(seen), now);
        }
        self.place_clients(now);
    }

    /// Sends clients to where they are now.
    fn place_clients(&mut self, now: Duration) {
        let actual = self.kernel.observe(now);
        let Some(running) = self.running.as_mut() else { return };
        let (Some(map), Some(derived)) = (running.agent.map(), running.derived.as_mut()) else { return };
        let moved = derived.set_here(running.clients.here());
        if !moved.is_empty() {
            let followed = derived.follow(map, &moved, |key| running.paths.endpoint(key));
            let ops = reconcile_followed(derived.desired(), &actual, &followed);
            self.execute(ops, now);
        }
    }

    pub(super) fn follow_router(&mut self, action: &RouterAction, now: Duration) {
        match action {
            RouterAction::Probe { host: _, from, to, nonce } => {
                let port = Service::Udp(reconcile::PROBE_PORT);
                self.kernel.ask(Flow::new(*from, *to, port, reconcile::PROBE_PORT), *nonce, now);
            }
            RouterAction::Use { member, host } => {
                let actual = self.kernel.observe(now);
                let Some(running) = self.running.as_mut() else { return };
                let Some(map) = running.agent.map() else { return };
                let derived = running.derived.as_mut().filter(|_| actual.device().is_some());
                let Some(derived) = derived else { return };
                let followed = derived.choose(map, *member, *host, |key| running.paths.endpoint(key));
                let ops = reconcile_followed(derived.desired(), &actual, &followed);
                self.execute(ops, now);
            }
        }
    }

    /// Carries ops out; whether the agent lived to see the end.
    pub(super) fn execute(&mut self, ops: Vec<Op>, now: Duration) -> bool {
        let around = &self.kernel.actual.surroundings;
        self.keep(self.disk.kept.before(&LinkName::default(), &ops, around));
        for op in ops {
            if let Some(left) = self.dies_after.as_mut() {
                if *left == 0 {
                    self.dies_after = None;
                    self.running = None;
                    return false;
                }
                *left -= 1;
            }
            self.kernel.execute(&op, now);
        }
        self.keep_after(now);
        true
    }

    /// Forgets what was put back.
    fn keep_after(&mut self, now: Duration) {
        let derived = self.running.as_ref().and_then(|running| running.derived.as_ref());
        let Some(desired) = derived.map(Derived::desired).filter(|_| !self.disk.kept.0.is_empty()) else {
            return;
        };
        if reconcile_link(desired, &self.kernel.observe(now)).is_empty() {
            self.keep(self.disk.kept.after(desired));
        }
    }

    fn keep(&mut self, kept: reconcile::Kept) {
        if kept == self.disk.kept {
            return;
        }
        self.disk.kept = kept.clone();
        if let Some(derived) = self.running.as_mut().and_then(|running| running.derived.as_mut()) {
            derived.keep(kept);
        }
    }
}
