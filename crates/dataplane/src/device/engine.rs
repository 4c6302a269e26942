//! gotatun's device, made to behave as WireGuard devices do.
//!
//! What differs without this, each found by reading and held by a test where it can be: gotatun's own control
//! protocol forgets a peer's session at every change; a device without a private key cannot take peers or a port; a
//! peer that did not answer for ninety seconds is given up in spite of its persistent keepalive; the time of the last
//! handshake is lost with the session; replacing all peers opens the port again.
//!
//! Invariant: what has not changed is not touched; no change of a peer drops its session.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use gotatun::device::configure::PeerStats;
use gotatun::device::{Device, DeviceBuilder, Error, Peer};
use gotatun::x25519::{PublicKey as Point, StaticSecret};
use rustix::io::Errno;

use super::allowed::AllowedIps;
use super::change::{Change, Setting, Step};
use super::tun::{Tun, TunReader, TunWriter};
use super::uapi::{self, DeviceState, PeerSettings, PeerState, Request, Settings};
use super::udp::Sockets;
use crate::PublicKey;

/// Peers that are changed without letting a packet pass in between. gotatun looks at all prefixes for each of them.
const AT_ONCE: usize = 16;
/// Handshakes closer together than this are one: it is computed from two clocks.
const SAME_HANDSHAKE: Duration = Duration::from_secs(1);
/// How long sending initiations may take from the other work.
const NUDGING: Duration = Duration::from_millis(20);

/// What is remembered of a peer beside gotatun.
#[derive(Default)]
struct Known {
    last_handshake: Option<SystemTime>,
}

/// The device and what must be remembered beside it.
pub(super) struct Engine {
    device: Device<(Sockets, TunWriter, TunReader)>,
    /// None until a private key was set. gotatun cannot be without one, so until then it has one that nobody knows
    /// and is suspended.
    public_key: Option<PublicKey>,
    allowed: AllowedIps,
    peers: HashMap<PublicKey, Known>,
}

impl Engine {
    /// A device without key, port and peers.
    pub(super) async fn start(tun: &mut Tun) -> anyhow::Result<Self> {
        let mut nobodys_key = [0; 32];
        getrandom::fill(&mut nobodys_key)?;
        let (writer, reader) = tun.ends();
        let device = DeviceBuilder::new()
            .with_udp(Sockets::new())
            .with_ip_pair(writer, reader)
            .with_private_key(StaticSecret::from(nobodys_key))
            .suspended(true)
            .build()
            .await?;
        Ok(Self {
            device,
            public_key: None,
            allowed: AllowedIps::default(),
            peers: HashMap::new(),
        })
    }

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
        self.remember_handshakes(&stats);
        let given_up = stats
            .iter()
            .filter(|s| {
                s.peer.keepalive.is_some() && s.peer.endpoint.is_some() && s.stats.last_handshake.is_none()
            })
            .map(|s| s.peer.public_key)
            .collect();
        self.nudge(given_up).await;
    }

    /// Ends the traffic.
    pub(super) async fn stop(self) {
        self.device.stop().await;
    }

    async fn apply(&mut self, settings: Settings) -> Result<(), Errno> {
        self.apply_to_device(&settings).await?;
        let mut as_new = HashSet::new();
        if settings.replace_peers {
            as_new = self
                .keep_only(settings.peers.iter().map(|peer| peer.public_key))
                .await?;
        }
        let mut present = self.present_settings().await;
        let mut moved = Vec::new();
        let mut peers = settings.peers.into_iter().peekable();
        while peers.peek().is_some() {
            let mut steps = Vec::new();
            for peer in peers.by_ref().take(AT_ONCE) {
                let as_new = as_new.remove(&peer.public_key);
                self.plan(peer, as_new, &mut present, &mut steps);
            }
            let is_kept_alive = |peer: &Point| present.get(peer.as_bytes()).is_some_and(|s| s.keepalive > 0);
            moved.extend(steps.iter().filter_map(Step::moved).filter(is_kept_alive));
            self.carry_out(steps).await?;
        }
        self.nudge(moved).await;
        Ok(())
    }

    /// Removes all other peers, and says which of these exist.
    async fn keep_only(
        &mut self,
        keys: impl Iterator<Item = PublicKey>,
    ) -> Result<HashSet<PublicKey>, Errno> {
        let kept: HashSet<PublicKey> = keys.filter(|key| self.peers.contains_key(key)).collect();
        let gone: Vec<PublicKey> = self
            .peers
            .keys()
            .filter(|key| !kept.contains(*key))
            .copied()
            .collect();
        if kept.is_empty() && !gone.is_empty() {
            self.peers.clear();
            self.allowed = AllowedIps::default();
            self.device.clear_peers().await.map_err(|error| errno(&error))?;
            return Ok(kept);
        }
        for some in gone.chunks(AT_ONCE) {
            let steps = some.iter().filter_map(|key| self.forget(key)).collect();
            self.carry_out(steps).await?;
        }
        Ok(kept)
    }

    async fn present_settings(&self) -> HashMap<PublicKey, Setting> {
        let stats = self.device.peers().await;
        let setting = |PeerStats { peer, .. }: PeerStats| {
            let keepalive = peer.keepalive.unwrap_or(0);
            let setting = Setting {
                endpoint: peer.endpoint,
                preshared_key: peer.preshared_key,
                keepalive,
            };
            (peer.public_key.to_bytes(), setting)
        };
        stats.into_iter().map(setting).collect()
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
        if let Err(error) = self
            .set_key_and_port(settings.private_key.flatten(), settings.listen_port)
            .await
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
            if self.peers.is_empty() {
                // Resuming opens the port only for peers. Clearing none of them opens it too.
                self.device.clear_peers().await?;
            }
        }
        self.public_key = Some(public_key);
        Ok(())
    }

    /// Lists the steps that one peer's changes take, and remembers their outcome.
    fn plan(
        &mut self,
        peer: PeerSettings,
        as_new: bool,
        present: &mut HashMap<PublicKey, Setting>,
        steps: &mut Vec<Step>,
    ) {
        let key = peer.public_key;
        if peer.remove {
            present.remove(&key);
            steps.extend(self.forget(&key));
            return;
        }
        let exists = self.peers.contains_key(&key);
        if self.public_key == Some(key) || (peer.update_only && !exists) {
            return;
        }
        self.peers.entry(key).or_default();
        let changed = self
            .allowed
            .change(key, as_new || peer.replace_allowed_ips, &peer.allowed_ips);
        // Who loses a prefix must lose it before another gets it.
        for loser in changed.iter().filter(|loser| **loser != key) {
            let allowed_ips = Some(self.allowed.of(loser));
            steps.push(Step::Change(
                *loser,
                Change {
                    allowed_ips,
                    ..Change::default()
                },
            ));
        }
        let setting = present.entry(key).or_default();
        let mut change = setting.change_to(&peer, as_new);
        if !exists {
            let mut new = Peer::new(Point::from(key)).with_allowed_ips(self.allowed.of(&key));
            new.endpoint = setting.endpoint;
            new.preshared_key = setting.preshared_key;
            new.keepalive = Some(setting.keepalive);
            steps.push(Step::Add(Box::new(new)));
            return;
        }
        change.allowed_ips = changed.contains(&key).then(|| self.allowed.of(&key));
        if change != Change::default() {
            steps.push(Step::Change(key, change));
        }
    }

    fn forget(&mut self, key: &PublicKey) -> Option<Step> {
        self.peers.remove(key)?;
        self.allowed.forget(key);
        Some(Step::Remove(*key))
    }

    async fn carry_out(&self, steps: Vec<Step>) -> Result<(), Errno> {
        let carried_out = self.device.write(async |device| {
            for step in steps {
                match step {
                    Step::Add(peer) => {
                        device.add_peer(*peer);
                    }
                    Step::Remove(key) => {
                        device.remove_peer(&Point::from(key)).await;
                    }
                    Step::Change(key, change) => {
                        device
                            .modify_peer(&Point::from(key), |peer| change.make(peer))
                            .await;
                    }
                }
            }
        });
        carried_out.await.map_err(|error| errno(&error))
    }

    /// Begins handshakes where none is under way. Who has a session is left alone.
    async fn nudge(&self, peers: Vec<Point>) {
        let mut attempts: FuturesUnordered<_> = peers
            .iter()
            .map(|peer| self.device.force_handshake(peer))
            .collect();
        // Each sends first and then waits for the answer; there is nothing for us to wait for.
        let _ = tokio::time::timeout(NUDGING, async { while attempts.next().await.is_some() {} }).await;
    }

    async fn state(&mut self) -> DeviceState {
        let (key, listen_port, mark, stats) = self
            .device
            .read(async |d| {
                (
                    d.private_key().map(StaticSecret::to_bytes),
                    d.listen_port(),
                    d.fwmark(),
                    d.peers().await,
                )
            })
            .await;
        self.remember_handshakes(&stats);
        let peers = stats.into_iter().map(|stats| self.peer_state(stats)).collect();
        let private_key = key.filter(|_| self.public_key.is_some());
        DeviceState {
            private_key,
            listen_port,
            fwmark: mark.unwrap_or(0),
            peers,
        }
    }

    fn peer_state(&self, PeerStats { peer, stats, .. }: PeerStats) -> PeerState {
        let public_key = peer.public_key.to_bytes();
        PeerState {
            public_key,
            preshared_key: peer.preshared_key,
            endpoint: peer.endpoint,
            keepalive: peer.keepalive.unwrap_or(0),
            allowed_ips: self.allowed.of(&public_key),
            last_handshake: self.peers.get(&public_key).and_then(|known| known.last_handshake),
            rx_bytes: stats.rx_bytes as u64,
            tx_bytes: stats.tx_bytes as u64,
        }
    }

    fn remember_handshakes(&mut self, stats: &[PeerStats]) {
        let now = SystemTime::now();
        for PeerStats { peer, stats, .. } in stats {
            let Some(at) = stats.last_handshake.and_then(|ago| now.checked_sub(ago)) else {
                continue;
            };
            let Some(known) = self.peers.get_mut(peer.public_key.as_bytes()) else {
                continue;
            };
            let is_same = known.last_handshake.is_some_and(|before| {
                let apart = at.duration_since(before).or_else(|_| before.duration_since(at));
                apart.is_ok_and(|apart| apart < SAME_HANDSHAKE)
            });
            if !is_same {
                known.last_handshake = Some(at);
            }
        }
    }
}

fn errno(error: &Error) -> Errno {
    let io = match error {
        Error::IoError(io) | Error::Bind(io, _) => Some(io),
        _ => None,
    };
    io.and_then(Errno::from_io_error).unwrap_or(Errno::INVAL)
}
