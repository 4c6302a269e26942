//! Making the machine what the map says, and looking whether it still is.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Endpoint, HostId, WgPublicKey};
use reconcile::{
    AgentEvent, Changed, Op, Own, PathAction, PathStatus, conflict, desired, desired_peer, reconcile,
    reconcile_peers,
};
use wire::{HostMap, Outcome};

use super::Engine;
use crate::hands;

impl Engine {
    /// Writes the newest map down, before it is acted on.
    pub(super) fn store(&mut self) {
        let Some(map) = self.agent.map() else { return };
        self.store_error = match self.state.save_map(&self.session.record.name, map) {
            Ok(()) => None,
            Err(error) => {
                tracing::error!("the newest map is not on disk: {error:#}");
                Some(format!("{error:#}"))
            }
        };
    }

    pub(super) async fn carry_out(&mut self, changed: Changed) {
        let Some(generation) = self.agent.map().map(|map| map.generation) else { return };
        self.tell_paths(&changed);
        match changed {
            Changed::Everything => {
                self.resolve();
                self.settle().await;
                self.follow_keepalive();
            }
            Changed::Peers { hosts, keys } => self.settle_peers(&hosts, &keys).await,
        }
        tracing::debug!(%generation, failures = self.failures.len(), "map carried out");
        self.carried = Some(generation);
        self.tell_outcome();
    }

    /// Tells the server what came of the map, if it is other than before.
    fn tell_outcome(&mut self) {
        let Some(generation) = self.carried else { return };
        let failures = self.all_failures();
        self.agent.handle(AgentEvent::CarriedOut(generation, failures), self.now());
    }

    pub(super) fn all_failures(&self) -> Vec<Outcome> {
        let store = self
            .store_error
            .iter()
            .map(|error| Outcome { op: "write the map down".to_owned(), error: error.clone() });
        self.failures.iter().cloned().chain(store).collect()
    }

    fn tell_paths(&mut self, changed: &Changed) {
        let now = self.now();
        let Some(map) = self.agent.map() else { return };
        match changed {
            Changed::Everything => self.paths.handle_map(map, self.addresses.clone(), now),
            Changed::Peers { hosts, keys } => self.paths.handle_map_peers(map, hosts, keys, now),
        }
    }

    /// Everything, from the start.
    pub(super) async fn settle(&mut self) {
        let Some(map) = self.agent.map() else { return };
        self.desired = Some(desired(map, &self.local, &self.paths.endpoints()));
        match self.machine.observe().await {
            Ok(actual) => self.actual = Some(actual),
            Err(error) => {
                self.failures = vec![failed("look at the interface", &error)];
                return;
            }
        }
        self.failures = self.mend().await;
    }

    /// These peers alone.
    async fn settle_peers(&mut self, hosts: &BTreeSet<HostId>, keys: &BTreeSet<WgPublicKey>) {
        let Some(map) = self.agent.map() else { return };
        let device = self.actual.as_ref().and_then(|actual| actual.link.as_ref()?.device.as_ref());
        let interface = self.desired.as_mut().and_then(|desired| desired.interface.as_mut());
        let (Some(device), Some(interface)) = (device, interface) else { return self.settle().await };
        for key in keys.iter().filter(|key| !is_rendezvous(map, key)) {
            interface.peers.remove(key);
        }
        for peer in
            hosts.iter().filter_map(|host| map.peers.get(host)).filter(|peer| peer.key != self.local.key)
        {
            interface.peers.insert(peer.key, desired_peer(map, peer, self.paths.endpoint(&peer.key)));
        }
        let ops = reconcile_peers(interface, device, keys);
        let failures = self.execute(&ops).await;
        self.failures.extend(failures);
    }

    /// The steps from what was observed to what should be.
    async fn mend(&mut self) -> Vec<Outcome> {
        let (Some(desired), Some(actual)) = (&self.desired, &self.actual) else { return Vec::new() };
        if let Some(conflict) = conflict(desired, actual) {
            return vec![Outcome {
                op: format!("use the interface {}", desired.link),
                error: conflict.to_string(),
            }];
        }
        let ops = reconcile(desired, actual);
        self.execute(&ops).await
    }

    async fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let results = self.machine.execute_all(ops, &self.session.identity.wireguard).await;
        let mut failures = Vec::new();
        for (op, result) in ops.iter().zip(results) {
            match result {
                Ok(()) => {
                    tracing::debug!("{op}");
                    if let Some(actual) = &mut self.actual {
                        actual.apply(op);
                    }
                }
                Err(error) => {
                    tracing::warn!("could not {op}: {error:#}");
                    failures.push(failed(&op.to_string(), &error));
                }
            }
        }
        failures
    }

    pub(super) async fn path_action(&mut self, action: PathAction) {
        if action == PathAction::Look {
            return self.look().await;
        }
        let Some(interface) = self.desired.as_ref().and_then(|desired| desired.interface.as_ref()) else {
            return;
        };
        let ops = action.ops(interface);
        // What fails here is seen by the next look, and tried again.
        self.execute(&ops).await;
    }

    /// Reads the device for the paths, and mends what somebody else has changed.
    pub(super) async fn look(&mut self) {
        let actual = match self.machine.observe().await {
            Ok(actual) => actual,
            Err(error) => return tracing::warn!("{error:#}"),
        };
        if let Some(device) = actual
            .link
            .as_ref()
            .and_then(|link| link.device.as_ref())
            .filter(|device| device.key == Some(self.local.key))
        {
            self.paths.handle_observed(device, Duration::ZERO, self.now());
        }
        self.actual = Some(actual);
        if self.desired.is_some() {
            self.failures = self.mend().await;
            self.tell_outcome();
        }
    }

    /// Something about the machine's network changed: is the interface as it should be, and has the machine moved?
    pub(super) async fn look_around(&mut self) {
        if !std::mem::take(&mut self.others_changed) {
            return self.look().await;
        }
        match self.machine.local_addresses().await {
            Ok(addresses) if addresses != self.addresses => self.moved(addresses),
            Ok(_) => {}
            Err(error) => tracing::warn!("{error:#}"),
        }
        self.look().await;
    }

    fn moved(&mut self, addresses: BTreeSet<ipnet::IpNet>) {
        let now = self.now();
        tracing::info!("this machine's addresses have changed");
        // Connections from an address that is gone would hang until they time out.
        if !self.addresses.is_subset(&addresses) {
            self.session.reconnect();
            if self.broker.take().is_some() {
                self.agent.handle(AgentEvent::BrokerDown, now);
            }
        }
        self.addresses = addresses;
        if let Some(map) = self.agent.map() {
            self.paths.handle_own(Own::new(map, self.addresses.clone()), now);
        }
        self.tell_local();
        self.resolve();
    }

    /// Tells the server where this machine is in its own networks.
    pub(super) fn tell_local(&mut self) {
        let port = self.local.port;
        let local = self.addresses.iter().filter_map(|net| Endpoint::new((net.addr(), port).into()).ok());
        let local: BTreeSet<Endpoint> = local.collect();
        self.agent.handle(AgentEvent::Local(local.into_iter().collect()), self.now());
    }

    /// The server has removed this host.
    pub(super) async fn take_down(&mut self) {
        tracing::warn!("the server has removed this host: everything of it is taken down");
        if let Err(error) =
            hands::take_down(&self.machine, &self.local.link, &self.session.identity.wireguard).await
        {
            // What is left is forgotten only when it is gone: the next start tries again.
            tracing::error!("{error:#}");
            return;
        }
        self.session.record.removed = true;
        let name = self.session.record.name.clone();
        // Where `leave` has forgotten the server already, it stays forgotten.
        let known =
            self.state.servers().is_ok_and(|servers| servers.iter().any(|server| server.name == name));
        let forgotten = self.state.remove_map(&name).and_then(|()| match known {
            true => self.state.save_server(&self.session.record),
            false => Ok(()),
        });
        if let Err(error) = forgotten {
            tracing::error!("{error:#}");
        }
    }

    /// Whether paths are still being tried for the first time.
    pub(super) fn is_trying(&self) -> bool {
        let keys = self.agent.map().into_iter().flat_map(|map| map.peers.values()).map(|peer| peer.key);
        keys.into_iter().any(|key| matches!(self.paths.status(&key), Some(PathStatus::Trying { .. })))
    }
}

fn is_rendezvous(map: &HostMap, key: &WgPublicKey) -> bool {
    map.server.rendezvous.iter().any(|rendezvous| rendezvous.key == *key)
}

fn failed(op: &str, error: &anyhow::Error) -> Outcome {
    Outcome { op: op.to_owned(), error: format!("{error:#}") }
}
