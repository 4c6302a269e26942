//! Keeps one interface as the host map says: what it should have, what it has as far as is known, and the steps between.
//!
//! What it costs: `settle` and `look` read the whole device, whatever it holds, and are for the start, for drift and for
//! slow timers; `settle_peers` costs what the peers do that it is told of, `look_at_link` nothing that grows with peers.
//! Not for talking to anybody, and not for when to look. It keeps true that all it knows of the machine was observed, or is
//! what its own ops have made of that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use model::{HostId, MemberId};
use reconcile::{
    Actual, Circumstances, Clients, Derived, LocalSettings, Look, Op, PathAction, PathStatus, Paths,
    carry_endpoints_over, conflict, reconcile, reconcile_followed, reconcile_link,
};
use tokio::time::Instant;
use wire::{ClientSeen, HostMap, Outcome, Report, WgSecret};

use crate::hands::Hands;
use crate::state::KeptFile;

mod execute;

/// What was done for the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Peers were changed.
    Changes,
    /// The device was looked at, and what was amiss mended: there may be other failures than before.
    Look,
}

/// One interface. See the module.
pub struct Keeper<H> {
    hands: H,
    local: LocalSettings,
    secret: WgSecret,
    started: Instant,
    /// The choice of paths.
    pub paths: Paths,
    /// Who came in through this host.
    pub clients: Clients,
    /// What settings of the kernel were.
    kept: KeptFile,
    /// The machine's own addresses.
    addresses: BTreeSet<IpNet>,
    /// Who is used of those that lead to a member.
    routers: BTreeMap<MemberId, HostId>,
    /// How long the last reading of the device took, until the clients have been told of it.
    read: Option<Duration>,
    /// What the machine should have.
    derived: Option<Derived>,
    /// What it had when last observed, with what was done since.
    actual: Actual,
    /// Whether what relies on the firewall was shut, because it could not be set.
    is_shut: bool,
    failures: Vec<Outcome>,
}

impl<H: Hands> Keeper<H> {
    /// An interface that was observed just now. Nothing is done to it before `settle`.
    pub fn new(
        hands: H,
        local: LocalSettings,
        secret: WgSecret,
        kept: KeptFile,
        actual: Actual,
        started: Instant,
    ) -> Self {
        Self {
            hands,
            local,
            secret,
            started,
            paths: Paths::new(),
            clients: Clients::new(),
            kept,
            addresses: BTreeSet::new(),
            routers: BTreeMap::new(),
            read: None,
            derived: None,
            actual,
            is_shut: false,
            failures: Vec::new(),
        }
    }

    /// The hands.
    pub const fn hands(&self) -> &H {
        &self.hands
    }

    /// The settings of this machine.
    pub const fn local(&self) -> &LocalSettings {
        &self.local
    }

    /// What it has, as far as is known.
    pub const fn actual(&self) -> &Actual {
        &self.actual
    }

    /// The ops that failed.
    pub fn failures(&self) -> &[Outcome] {
        &self.failures
    }

    /// What the map gives and this machine cannot have.
    pub fn left_out(&self) -> Vec<Outcome> {
        self.derived.as_ref().map(|derived| derived.desired().outcomes()).unwrap_or_default()
    }

    /// The machine's own addresses, from the next `settle` on.
    pub fn set_addresses(&mut self, addresses: BTreeSet<IpNet>) {
        self.addresses = addresses;
    }

    /// Those that are used of several routers, from the next `settle` on.
    pub fn set_routers(&mut self, routers: BTreeMap<MemberId, HostId>) {
        self.routers = routers;
    }

    /// Who is used of those that lead to a member; none where there is no choice.
    pub fn router(&self, member: MemberId) -> Option<HostId> {
        self.routers.get(&member).copied()
    }

    /// Another private key, from the next `settle` on. A device with the former one stays ours.
    pub fn set_key(&mut self, secret: WgSecret) {
        self.local.former = Some(self.local.key).filter(|former| *former != secret.public());
        self.local.key = secret.public();
        self.secret = secret;
    }

    /// Whether the device has the key that it should have, as far as is known.
    pub fn has_its_key(&self) -> bool {
        self.is_ours()
    }

    /// What the settings of the kernel were, to be put back by whoever takes everything down.
    pub const fn kept_and_hands(&mut self) -> (&mut KeptFile, &H) {
        (&mut self.kept, &self.hands)
    }

    /// Who came in, if there is something new since the device was last read.
    pub fn clients_seen(&mut self, map: &HostMap) -> Option<Vec<ClientSeen>> {
        let (took, now) = (self.read.take()?, self.now());
        let Some(device) = self.actual.device().filter(|device| device.key == Some(self.local.key)) else {
            self.clients.handle_unobserved(took, now);
            return None;
        };
        self.clients.handle_observed(map, device, took, now).then(|| self.clients.seen())
    }

    /// Sends clients to where they are now, as the device was last read; whether one has come here or has gone.
    pub async fn place_clients(&mut self, map: &HostMap) -> bool {
        let ours = self.is_ours();
        // Otherwise the next `settle` takes it over.
        let (true, Some(derived)) = (ours, &mut self.derived) else { return false };
        let moved = derived.set_here(self.clients.here());
        if moved.is_empty() {
            return false;
        }
        let followed = derived.follow(map, &moved, |key| self.paths.endpoint(key));
        self.carry_out(&followed).await;
        true
    }

    /// Everything, from the start.
    pub async fn settle(&mut self, map: &HostMap) {
        if self.derived.is_none()
            && let Some(device) = self.actual.device().filter(|device| device.key == Some(self.local.key))
        {
            self.clients.handle_start(map, device);
        }
        let circumstances = Circumstances {
            endpoints: self.paths.endpoints(),
            local: self.addresses.clone(),
            routers: self.routers.clone(),
            here: self.clients.here().clone(),
            kept: self.kept.kept().clone(),
        };
        self.derived = Some(Derived::new(map, &self.local, &circumstances));
        let began = Instant::now();
        match self.hands.observe().await {
            Ok(actual) => {
                self.actual = actual;
                self.read = Some(began.elapsed());
            }
            Err(error) => {
                self.failures = vec![failed("look at the interface", &error)];
                return;
            }
        }
        self.failures = self.mend().await;
    }

    /// These members alone, of which the map has said something new.
    pub async fn settle_peers(&mut self, map: &HostMap, members: &BTreeSet<MemberId>) {
        let ours = self.is_ours();
        let (true, Some(derived)) = (ours, &mut self.derived) else {
            return self.settle(map).await;
        };
        let mut members = members.clone();
        members.extend(derived.set_here(self.clients.here()));
        let followed = derived.follow(map, &members, |key| self.paths.endpoint(key));
        self.carry_out(&followed).await;
    }

    /// This host is used from now on of those that lead to a member.
    pub async fn choose(&mut self, map: &HostMap, member: MemberId, host: HostId) {
        self.routers.insert(member, host);
        let ours = self.is_ours();
        // Otherwise the next `settle` takes it over.
        let (true, Some(derived)) = (ours, &mut self.derived) else { return };
        let followed = derived.choose(map, member, host, |key| self.paths.endpoint(key));
        self.carry_out(&followed).await;
    }

    async fn carry_out(&mut self, followed: &reconcile::Followed) {
        let Some(derived) = &self.derived else { return };
        let mut ops = reconcile_followed(derived.desired(), &self.actual, followed);
        carry_endpoints_over(&mut ops, &self.actual);
        let failures = self.execute(&ops).await;
        self.failed_besides(failures);
    }

    /// Has WireGuard send something to every peer at once: a handshake, where there is no session.
    pub async fn poke_all(&mut self) {
        let interface = self.derived.as_ref().and_then(Derived::interface).filter(|_| self.is_ours());
        let peers = interface.into_iter().flat_map(|interface| &interface.peers);
        let ops: Vec<Op> = peers.map(|(key, peer)| Op::Poke(*key, peer.keepalive)).collect();
        // Who hears nothing is looked for by the paths.
        self.execute(&ops).await;
    }

    /// Carries out all that the paths want at the moment, changes together and then the look; none if that is nothing.
    pub async fn follow_paths(&mut self) -> Option<Followed> {
        let (mut ops, mut followed) = (Vec::new(), None);
        let interface = self.derived.as_ref().and_then(Derived::interface).filter(|_| self.is_ours());
        while followed != Some(Followed::Look)
            && let Some(action) = self.paths.poll_action()
        {
            ops.extend(interface.iter().flat_map(|interface| action.ops(interface)));
            followed = Some(if action == PathAction::Look { Followed::Look } else { Followed::Changes });
        }
        // What fails here is seen by the next look, and tried again.
        self.execute(&ops).await;
        if followed == Some(Followed::Look) {
            self.look().await;
        }
        followed
    }

    /// Reads the device for the paths, and mends what somebody else has changed; whether it could be read.
    pub async fn look(&mut self) -> bool {
        let began = Instant::now();
        let actual = match self.hands.observe().await {
            Ok(actual) => actual,
            Err(error) => {
                tracing::warn!("{error:#}");
                self.failures = vec![failed("look at the interface", &error)];
                let (took, now) = (began.elapsed(), self.now());
                self.paths.handle_unobserved(took, now);
                self.clients.handle_unobserved(took, now);
                return false;
            }
        };
        let took = began.elapsed();
        self.actual = actual;
        self.read = Some(took);
        let now = self.now();
        let observed = self.actual.device().filter(|device| device.key == Some(self.local.key));
        let was_ours = observed.map(|device| self.paths.handle_observed(device, took, now)).is_some();
        if self.derived.is_some() {
            self.failures = self.mend().await;
        }
        // One that was just made is soon looked at for the first time.
        if !was_ours && !self.is_ours() {
            self.paths.handle_unobserved(took, self.now());
        }
        true
    }

    /// Looks whether the link is as it should be, and at the device behind it only where it is another link than before, or
    /// something is amiss already: then when `follow_paths` may look again, for what fails may fail for long. Whether it
    /// looked and could see.
    pub async fn look_at_link(&mut self) -> bool {
        if !self.failures.is_empty() {
            self.paths.handle_amiss(self.now());
            return false;
        }
        let seen = match self.hands.look_at_link().await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!("{error:#}");
                return false;
            }
        };
        if !self.take_link(seen) {
            return self.look().await;
        }
        let Some(derived) = &self.derived else { return true };
        let ops = self.with_endpoints(reconcile_link(derived.desired(), &self.actual));
        let failures = self.execute(&ops).await;
        self.failed_besides(failures);
        true
    }

    /// Whether the link is known to be ours: peers are written to whatever has its name.
    fn is_ours(&self) -> bool {
        self.actual.device().is_some_and(|device| device.key == Some(self.local.key))
    }

    /// Takes over what was seen of the link. If it is another one than was observed, nothing is known of it until it is.
    fn take_link(&mut self, seen: Look) -> bool {
        self.actual.surroundings = seen.surroundings;
        match (seen.link, self.actual.link.take()) {
            (None, None) => true,
            (Some(seen), Some(link)) if seen.index == link.index && link.device.is_some() => {
                self.actual.link = Some(seen.with(link.device));
                true
            }
            (None, Some(_)) | (Some(_), Some(_) | None) => false,
        }
    }

    /// Whether paths are still being tried for the first time.
    pub fn is_trying(&self, map: &HostMap) -> bool {
        let mut statuses = map.peers.values().filter_map(|peer| peer.key).map(|key| self.paths.status(&key));
        statuses.any(|status| matches!(status, Some(PathStatus::Trying { .. })))
    }

    /// The steps from what was observed to what should be.
    async fn mend(&mut self) -> Vec<Outcome> {
        let Some(derived) = &self.derived else { return Vec::new() };
        let desired = derived.desired();
        if let Some(conflict) = conflict(desired, &self.actual) {
            return vec![Outcome {
                op: format!("use the interface {}", desired.link),
                error: conflict.to_string(),
            }];
        }
        let mut ops = self.with_endpoints(reconcile(desired, &self.actual));
        carry_endpoints_over(&mut ops, &self.actual);
        self.execute(&ops).await
    }

    /// Peers are added with the endpoints that the paths have come to since all was derived.
    fn with_endpoints(&self, mut ops: Vec<Op>) -> Vec<Op> {
        for op in &mut ops {
            if let Op::AddPeer(key, peer) = op {
                peer.endpoint = self.paths.endpoint(key);
            }
        }
        ops
    }

    /// Until the next look, which finds whatever is still amiss.
    fn failed_besides(&mut self, failures: Vec<Outcome>) {
        self.failures.extend(failures);
        self.failures.truncate(Report::MOST_FAILURES);
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

fn failed(op: &str, error: &anyhow::Error) -> Outcome {
    Outcome { op: op.to_owned(), error: format!("{error:#}") }
}

#[cfg(test)]
mod tests;
