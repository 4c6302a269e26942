//! gotatun's device, made to behave as WireGuard devices do.
//!
//! What differs without this, each found by reading and held by a test where it can be: gotatun's own control
//! protocol forgets a peer's session at every change; a device without a private key cannot take peers or a port; a
//! peer that did not answer for ninety seconds is given up in spite of its persistent keepalive; the time of the last
//! handshake is lost with the session; replacing all peers opens the port again; a peer that is kept alive is called only a
//! quarter of a second after it was added. What could not be had from outside is changed in gotatun itself
//! (third_party/gotatun/NETLOOM.md): what a new private key costs, and what a peer who cannot be reached costs the others.
//!
//! What a change costs: here, the same however many peers there are, because what they have is remembered ([`Table`])
//! and not read back. gotatun can only list all peers with all their prefixes, and looks at every prefix of the device
//! whenever it changes or removes a peer; only adding one costs it the same always. With 10,000 peers of two prefixes,
//! a release build on two busy cores: listing takes it 90 ms, a change 1.4 ms, a removal 1.3 ms, an addition 0.06 ms; a
//! request that says nothing new takes 0.04 ms. Measure again with `examples/peers.rs`.
//!
//! Invariant: what has not changed is not touched; no change of a peer drops its session.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use gotatun::device::{Device, DeviceBuilder, DeviceTransports, Error};
use gotatun::tun::{IpRecv, IpSend};
use gotatun::udp::UdpTransportFactory;
use gotatun::x25519::{PublicKey as Point, StaticSecret};
use rustix::io::Errno;
use tokio::task::JoinSet;

use super::change::{Endpoints, Step};
use super::table::{Plan, Table};
use super::uapi::{self, DeviceState, PeerSettings, Request, Settings};
use crate::PublicKey;

/// Peers that are changed without letting a packet pass in between. gotatun looks at all prefixes for each of them.
const AT_ONCE: usize = 16;
/// Listing all peers costs gotatun about as much as changing this many.
const WORTH_LISTING: usize = 16;
/// How long sending initiations may take from the other work.
const NUDGING: Duration = Duration::from_millis(20);
/// Nudges that may be under way; more wait for these.
const NUDGES: usize = 32;

/// The device and what must be remembered beside it.
pub(super) struct Engine<T: DeviceTransports> {
    device: Arc<Device<T>>,
    /// None until a private key was set. gotatun cannot be without one, so until then it has one that nobody knows
    /// and is suspended.
    public_key: Option<PublicKey>,
    table: Table,
    nudges: JoinSet<()>,
}

impl<U: UdpTransportFactory, W: IpSend, R: IpRecv> Engine<(U, W, R)> {
    /// A device without key, port and peers.
    pub(super) async fn start(udp: U, (writer, reader): (W, R)) -> anyhow::Result<Self> {
        let mut nobodys_key = [0; 32];
        getrandom::fill(&mut nobodys_key)?;
        let device = DeviceBuilder::new()
            .with_udp(udp)
            .with_ip_pair(writer, reader)
            .with_private_key(StaticSecret::from(nobodys_key))
            .suspended(true)
            .build()
            .await?;
        Ok(Self {
            device: Arc::new(device),
            public_key: None,
            table: Table::default(),
            nudges: JoinSet::new(),
        })
    }
}

impl<T: DeviceTransports> Engine<T> {
    /// Does what a caller of the control socket wants, and says how it went.
    pub(super) async fn answer(&mut self, request: &str) -> String {
        match uapi::parse(request) {
            None => uapi::refusal(Errno::INVAL),
            Some(Request::Get) => uapi::describe(&self.state().await),
            Some(Request::Set(settings)) => uapi::verdict(self.apply(*settings).await),
        }
    }

    /// Looks after the peers that gotatun has given up, and remembers handshakes before gotatun forgets them.
    pub(super) async fn upkeep(&mut self) {
        let stats = self.device.peers().await;
        self.table.learn(&stats);
        let given_up = stats
            .iter()
            .filter(|s| {
                s.peer.keepalive.is_some() && s.peer.endpoint.is_some() && s.stats.last_handshake.is_none()
            })
            .map(|s| s.peer.public_key.to_bytes())
            .collect();
        self.nudge(given_up).await;
    }

    /// Ends the traffic.
    pub(super) async fn stop(mut self) {
        self.nudges.shutdown().await;
        // Nobody else has it now.
        if let Some(device) = Arc::into_inner(self.device) {
            device.stop().await;
        }
    }

    async fn apply(&mut self, settings: Settings) -> Result<(), Errno> {
        self.apply_to_device(&settings).await?;
        let mut as_new = HashSet::new();
        if settings.replace_peers {
            as_new = self.keep_only(settings.peers.iter().map(|peer| peer.public_key)).await?;
        }
        let endpoints = self.endpoints_for(&settings).await;
        let mut sought = Vec::new();
        for some in removals_last(&settings.peers).chunks(AT_ONCE) {
            let mut plan = Plan::default();
            for peer in some {
                let key = &peer.public_key;
                let as_new = as_new.remove(key);
                if peer.remove {
                    plan.steps.extend(self.table.remove(key));
                } else if self.public_key != Some(*key) && (!peer.update_only || self.table.has(key)) {
                    self.table.put(peer, as_new, endpoints, &mut plan);
                }
            }
            self.carry_out(plan.steps).await?;
            sought.extend(plan.sought);
        }
        self.nudge(sought).await;
        Ok(())
    }

    /// Removes all other peers, and says which of these exist.
    async fn keep_only(
        &mut self,
        keys: impl Iterator<Item = PublicKey>,
    ) -> Result<HashSet<PublicKey>, Errno> {
        let kept: HashSet<PublicKey> = keys.filter(|key| self.table.has(key)).collect();
        let is_gone = |key: &&PublicKey| !kept.contains(*key);
        let gone: Vec<PublicKey> = self.table.keys().filter(is_gone).copied().collect();
        if kept.is_empty() && !gone.is_empty() {
            self.table.clear();
            self.device.clear_peers().await.map_err(|error| errno(&error))?;
            return Ok(kept);
        }
        for some in gone.chunks(AT_ONCE) {
            let steps = some.iter().filter_map(|key| self.table.remove(key)).collect();
            self.carry_out(steps).await?;
        }
        Ok(kept)
    }

    /// Asks where all peers are if that is cheaper than setting endpoints that may be what they were.
    async fn endpoints_for(&mut self, settings: &Settings) -> Endpoints {
        let may_stay = settings.peers.iter().filter(|peer| {
            let says_where = peer.endpoint.is_some() || settings.replace_peers;
            says_where && !peer.remove && self.table.has(&peer.public_key)
        });
        if may_stay.take(WORTH_LISTING).count() < WORTH_LISTING {
            return Endpoints::Remembered;
        }
        let stats = self.device.peers().await;
        self.table.learn(&stats);
        Endpoints::Read
    }

    async fn apply_to_device(&mut self, settings: &Settings) -> Result<(), Errno> {
        let (port, mark) = self.device.read(async |d| (d.listen_port(), d.fwmark())).await;
        if let Some(wanted) = settings.fwmark.filter(|wanted| *wanted != mark.unwrap_or(0))
            && let Err(error) = self.device.set_fwmark(wanted).await
        {
            let _ = self.device.set_fwmark(mark.unwrap_or(0)).await;
            return Err(errno(&error));
        }
        if settings.private_key == Some(None) {
            self.device.suspend().await;
            self.public_key = None;
        }
        if let Err(error) = self.set_key_and_port(settings.private_key.flatten(), settings.listen_port).await
        {
            if self.public_key.is_none() {
                self.device.suspend().await;
            }
            let _ = self.device.set_listen_port(port).await;
            return Err(errno(&error));
        }
        Ok(())
    }

    async fn set_key_and_port(&mut self, key: Option<[u8; 32]>, port: Option<u16>) -> Result<(), Error> {
        let secret = key.map(StaticSecret::from);
        let public_key = secret.as_ref().map(|secret| Point::from(secret).to_bytes());
        self.device
            .write(async |d| {
                if let Some(secret) = secret {
                    d.set_private_key(secret).await;
                }
                if let Some(port) = port {
                    d.set_listen_port(port);
                }
            })
            .await?;
        let Some(public_key) = public_key else {
            return Ok(());
        };
        if self.public_key.is_none() {
            self.device.resume().await?;
            if self.table.is_empty() {
                // Resuming opens the port only for peers. Clearing none of them opens it too.
                self.device.clear_peers().await?;
            }
        }
        self.public_key = Some(public_key);
        Ok(())
    }

    async fn carry_out(&self, steps: Vec<Step>) -> Result<(), Errno> {
        if steps.is_empty() {
            return Ok(());
        }
        let carried_out = self.device.write(async |device| {
            for step in steps {
                match step {
                    Step::Add(peer) => {
                        device.add_peer(*peer);
                    }
                    Step::Remove(key) => {
                        device.remove_peer(&Point::from(key)).await;
                    }
                    Step::Change(change) => {
                        let peer = Point::from(change.peer);
                        device.modify_peer(&peer, |peer| change.make(peer)).await;
                    }
                }
            }
        });
        carried_out.await.map_err(|error| errno(&error))
    }

    /// Begins handshakes where none is under way. Who has a session is left alone.
    async fn nudge(&mut self, peers: Vec<PublicKey>) {
        while self.nudges.try_join_next().is_some() {}
        if peers.is_empty() {
            return;
        }
        if self.nudges.len() >= NUDGES {
            self.nudges.join_next().await;
        }
        let device = Arc::clone(&self.device);
        self.nudges.spawn(async move {
            let peers: Vec<Point> = peers.into_iter().map(Point::from).collect();
            let mut attempts: FuturesUnordered<_> =
                peers.iter().map(|peer| device.force_handshake(peer)).collect();
            // Each sends first and then waits for the answer; there is nothing for us to wait for.
            let _ = tokio::time::timeout(NUDGING, async { while attempts.next().await.is_some() {} }).await;
        });
    }

    async fn state(&mut self) -> DeviceState {
        let (key, listen_port, mark, stats) = self
            .device
            .read(async |d| {
                (d.private_key().map(StaticSecret::to_bytes), d.listen_port(), d.fwmark(), d.peers().await)
            })
            .await;
        self.table.learn(&stats);
        let peers = stats.into_iter().map(|stats| self.table.state(stats)).collect();
        let private_key = key.filter(|_| self.public_key.is_some());
        DeviceState { private_key, listen_port, fwmark: mark.unwrap_or(0), peers }
    }
}

/// Puts off removing whom nothing more is said of. A peer that takes the place of another one then has its prefixes before
/// that one goes: no packet finds nobody, and what waits for a session with the one waits for the other.
fn removals_last(peers: &[PeerSettings]) -> Vec<&PeerSettings> {
    let mut named_later = HashSet::new();
    let mut goes_last = |peer: &PeerSettings| named_later.insert(peer.public_key) && peer.remove;
    let mut peers: Vec<_> = peers.iter().rev().map(|peer| (goes_last(peer), peer)).collect();
    peers.reverse();
    peers.sort_by_key(|(goes_last, _)| *goes_last);
    peers.into_iter().map(|(_, peer)| peer).collect()
}

fn errno(error: &Error) -> Errno {
    let io = match error {
        Error::IoError(io) | Error::Bind(io, _) => Some(io),
        _ => None,
    };
    io.and_then(Errno::from_io_error).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests;
