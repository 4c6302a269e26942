//! Making the machine what the map says, and looking whether it still is.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Endpoint;
use reconcile::{AgentEvent, Changed, Own};
use wire::Outcome;

use super::messages::Done;
use super::routers::has_choice;
use super::{Engine, Mode};
use crate::hands;
use crate::names::NameService;
use crate::state::{Saved, sync_log};

/// What was added to the map on disk is synced together, this late at most.
const SYNC_WITHIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Writes the newest map down, before it is acted on.
    pub(super) fn store(&mut self) {
        let Some(map) = self.agent.map() else { return };
        self.store_error = match self.map_file.save(map, &self.unsaved) {
            Ok(Saved::Whole) => None,
            Ok(Saved::Added) => {
                let at = self.now() + SYNC_WITHIN;
                self.sync_at.get_or_insert(at);
                None
            }
            Err(error) => Some(not_on_disk(&error)),
        };
    }

    /// Makes what was added to the map outlive a power cut, off this loop.
    pub(super) fn sync(&mut self) {
        if let Some(log) = self.map_file.log_to_sync() {
            self.tasks.spawn_blocking(move || Done::Synced(sync_log(&log)));
        }
    }

    pub(super) fn synced(&mut self, result: std::io::Result<()>) {
        let Err(error) = result else { return };
        self.map_file.distrust_log();
        self.store_error = Some(not_on_disk(&error.into()));
        self.tell_outcome();
    }

    pub(super) async fn carry_out(&mut self, changed: Changed) {
        let Some(generation) = self.agent.map().map(|map| map.generation) else { return };
        self.note_taken(&changed);
        self.tell_paths(&changed);
        match changed {
            Changed::Everything => {
                self.resolve();
                self.settle().await;
                self.follow_links();
                self.listen_for_probes().await;
                let now = self.now();
                if let (Some(names), Some(map)) = (&mut self.names, self.agent.map()) {
                    names.follow_all(map, now).await;
                }
                self.follow_tunnel();
            }
            Changed::Peers { members, keys: _, records } => {
                let now = self.now();
                let Some(map) = self.agent.map() else { return };
                self.keeper.settle_peers(map, &members).await;
                if let Some(names) = &mut self.names {
                    names.follow(map, &members, &records, now).await;
                }
                // A range that came, and has several routers, makes this host ask.
                if members.iter().filter_map(|member| map.peers.get(member)).any(has_choice) {
                    self.listen_for_probes().await;
                }
            }
        }
        tracing::debug!(%generation, failures = self.keeper.failures().len(), "map carried out");
        self.carried = Some(generation);
        self.tell_outcome();
    }

    /// Tells the server what came of the map, if it is other than before.
    pub(super) fn tell_outcome(&mut self) {
        let Some(generation) = self.carried else { return };
        let failures = self.all_failures();
        self.agent.handle(AgentEvent::CarriedOut(generation, failures), self.now());
        if self.mode == Mode::Once {
            self.agent.report_now(self.now());
        }
    }

    pub(super) fn all_failures(&self) -> Vec<Outcome> {
        let store = self
            .store_error
            .iter()
            .map(|error| Outcome { op: "write the map down".to_owned(), error: error.clone() });
        let left_out = self.keeper.left_out();
        // First, so that it is among those that are reported.
        let names = self.names.iter().flat_map(NameService::failures);
        let keeper = self.keeper.failures().iter().cloned();
        store.chain(left_out).chain(keeper).chain(names).collect()
    }

    fn tell_paths(&mut self, changed: &Changed) {
        let now = self.now();
        let Some(map) = self.agent.map() else { return };
        match changed {
            Changed::Everything => {
                self.keeper.paths.handle_map(map, self.addresses.clone(), now);
                self.routers.handle_map(map, now);
                self.keeper.clients.handle_map(map, now);
            }
            Changed::Peers { members, keys, records: _ } => {
                self.keeper.paths.handle_map_peers(map, members, keys, now);
                self.routers.handle_members(map, members, now);
                self.keeper.clients.handle_members(map, members, now);
            }
        }
        self.keeper.set_routers(self.routers.chosen());
    }

    /// Everything, from the start.
    pub(super) async fn settle(&mut self) {
        if let Some(map) = self.agent.map() {
            self.keeper.settle(map).await;
        }
    }

    /// Something about the machine's network changed, or it is time: is the interface as it should be, and has the machine
    /// moved? The device itself is read only when it is time: what it holds is not among what notices tell of.
    pub(super) async fn look_around(&mut self) {
        if std::mem::take(&mut self.others_changed) {
            match self.keeper.hands().local_addresses().await {
                Ok(addresses) if addresses != self.addresses => self.moved(addresses).await,
                Ok(_) => {}
                Err(error) => tracing::warn!("{error:#}"),
            }
            if self.look_inside().await {
                self.settle_names().await;
            }
        }
        let whole = std::mem::take(&mut self.look_wholly);
        let store_again = whole && self.store_error.is_some();
        if store_again {
            self.store();
        }
        let looked = if whole { self.keeper.look().await } else { self.keeper.look_at_link().await };
        if looked || store_again {
            self.tell_outcome();
        }
    }

    /// Looks which networks are inside this machine; says whether they are others than before.
    pub(super) async fn look_inside(&mut self) -> bool {
        let Some(names) = &mut self.names else { return false };
        match self.keeper.hands().inside_networks().await {
            Ok(inside) => names.set_inside(inside),
            Err(error) => {
                tracing::warn!("{error:#}");
                false
            }
        }
    }

    async fn moved(&mut self, addresses: BTreeSet<ipnet::IpNet>) {
        let now = self.now();
        tracing::info!("this machine's addresses have changed");
        // Connections from an address that is gone would hang until they time out.
        if !self.addresses.is_subset(&addresses) {
            self.session.reconnect();
            if self.broker.take().is_some() {
                self.agent.handle(AgentEvent::BrokerDown, now);
            }
        }
        self.keeper.set_addresses(addresses.clone());
        self.addresses = addresses;
        if let Some(map) = self.agent.map() {
            self.keeper.paths.handle_own(Own::new(map, self.addresses.clone()), now);
            // A range behind somebody may be this machine's own LAN now, or no more.
            if map.peers.values().flat_map(|peer| &peer.nodes).any(|node| !node.ranges.is_empty()) {
                self.settle().await;
                self.tell_outcome();
            }
        }
        self.tell_local();
        self.resolve();
    }

    /// Tells the server where this machine is in its own networks.
    pub(super) fn tell_local(&mut self) {
        let port = self.keeper.local().port;
        let local = self.addresses.iter().filter_map(|net| Endpoint::new((net.addr(), port).into()).ok());
        let local: BTreeSet<Endpoint> = local.collect();
        self.agent.handle(AgentEvent::Local(local.into_iter().collect()), self.now());
    }

    /// Names, where something besides the map may have changed.
    pub(super) async fn settle_names(&mut self) {
        let now = self.now();
        if let (Some(names), Some(map)) = (&mut self.names, self.agent.map()) {
            names.settle(map, now).await;
            self.follow_tunnel();
            self.tell_outcome();
        }
    }

    /// The server has removed this host.
    pub(super) async fn take_down(&mut self) {
        tracing::warn!("the server has removed this host: everything of it is taken down");
        if let Some(names) = &mut self.names {
            names.end().await;
        }
        self.prober = None;
        let link = self.keeper.local().link.clone();
        let (kept, machine) = self.keeper.kept_and_hands();
        if let Err(error) = hands::take_down(machine, &link, &self.session.identity, kept).await {
            // What is left is forgotten only when it is gone: the next start tries again.
            tracing::error!("{error:#}");
            return;
        }
        self.forget_at = None;
        self.session.record.removed = true;
        let name = self.session.record.name.clone();
        // Where `leave` has forgotten the server already, it stays forgotten.
        let known =
            self.state.servers().is_ok_and(|servers| servers.iter().any(|server| server.name == name));
        let forgotten = self.map_file.remove().and_then(|()| match known {
            true => self.state.save_server(&self.session.record),
            false => Ok(()),
        });
        if let Err(error) = forgotten {
            tracing::error!("{error:#}");
        }
    }
}

pub(super) fn not_on_disk(error: &anyhow::Error) -> String {
    tracing::error!("the newest map is not on disk: {error:#}");
    format!("{error:#}")
}
