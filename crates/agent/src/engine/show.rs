//! What the engine shows of itself, and what is shown of the state on disk where no daemon runs.

use std::time::Duration;

use model::WgPublicKey;
use reconcile::{Actual, ActualPeer, PathStatus};
use wire::{HostMap, Outcome};

use super::Engine;
use crate::options::Options;
use crate::state::ServerRecord;
use crate::view::{
    HostView, Idle, InterfaceView, NetworkView, PeerNetwork, PeerView, RendezvousView, ServerView, View,
};

/// A handshake is renewed after two minutes, and good for three.
const SESSION: Duration = Duration::from_secs(180);

impl Engine {
    /// The machine is observed for it.
    pub(super) async fn view(&mut self) -> View {
        let actual = match self.keeper.hands().observe().await {
            Ok(actual) => actual,
            Err(error) => {
                tracing::warn!("{error:#}");
                Actual::default()
            }
        };
        let peers = self
            .agent
            .map()
            .map(|map| peers(map, &actual, |key| self.keeper.paths.status(key)))
            .unwrap_or_default();
        let rendezvous = self.agent.map().map(|map| self.rendezvous(map, &actual)).unwrap_or_default();
        let failures: Vec<Outcome> = self.all_failures();
        let local = self.keeper.local();
        View {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon: true,
            idle: None,
            server: Some(ServerView {
                name: self.session.record.name.clone(),
                url: self.session.client.url().to_owned(),
                since: Some(self.since),
                answered: self.contact.answered,
                error: self.contact.error.clone(),
                pushes: self.agent.broker_is_up(),
                push_error: self.contact.push_error.clone(),
                rendezvous,
            }),
            host: self.agent.map().map(|map| HostView {
                id: map.host.id,
                name: map.host.name.clone(),
                generation: map.generation,
                applied: self.carried,
                seen: map.host.seen.clone(),
                nat: map.host.nat,
                local: self.addresses.iter().copied().collect(),
            }),
            interface: Some(interface(&actual, &self.options, local.key, local.port)),
            failures,
            networks: self.agent.map().map(|map| networks(map, &peers)).unwrap_or_default(),
            peers,
        }
    }

    fn rendezvous(&self, map: &HostMap, actual: &Actual) -> Vec<RendezvousView> {
        let device = actual.link.as_ref().and_then(|link| link.device.as_ref());
        let answers = |key: &WgPublicKey| {
            let handshake = device.and_then(|device| device.peers.get(key)?.last_handshake);
            handshake.zip(device).is_some_and(|(then, device)| device.at.since(then) < SESSION)
        };
        let keys = map.server.rendezvous.iter().map(|rendezvous| rendezvous.key);
        keys.map(|key| RendezvousView {
            endpoint: self.rendezvous.get(&key).copied(),
            answers: answers(&key),
        })
        .collect()
    }
}

impl View {
    /// Of a daemon that does nothing.
    pub fn idle(idle: Idle) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon: true,
            idle: Some(idle),
            server: None,
            host: None,
            interface: None,
            failures: Vec::new(),
            networks: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Of what is on disk and on the machine, where no daemon runs.
    pub fn without_daemon(
        record: &ServerRecord,
        map: Option<&HostMap>,
        actual: &Actual,
        options: &Options,
        key: WgPublicKey,
    ) -> Self {
        let peers = map.map(|map| peers(map, actual, |_| None)).unwrap_or_default();
        let port = actual.link.as_ref().and_then(|link| link.device.as_ref()).map_or(0, |device| device.port);
        Self {
            daemon: false,
            idle: record.removed.then(|| Idle::Removed(record.name.clone())),
            server: Some(ServerView {
                name: record.name.clone(),
                url: record.urls.first().cloned().unwrap_or_default(),
                since: None,
                answered: None,
                error: None,
                pushes: false,
                push_error: None,
                rendezvous: Vec::new(),
            }),
            host: map.map(|map| HostView {
                id: map.host.id,
                name: map.host.name.clone(),
                generation: map.generation,
                applied: None,
                seen: map.host.seen.clone(),
                nat: map.host.nat,
                local: Vec::new(),
            }),
            interface: Some(interface(actual, options, key, port)),
            networks: map.map(|map| networks(map, &peers)).unwrap_or_default(),
            peers,
            ..Self::idle(Idle::NotJoined)
        }
    }
}

fn interface(actual: &Actual, options: &Options, key: WgPublicKey, port: u16) -> InterfaceView {
    let link = actual.link.as_ref();
    InterfaceView {
        name: options.interface.clone(),
        wireguard: link.and_then(|link| link.device.as_ref()).map(|device| device.kind),
        index: link.map(|link| link.index),
        up: link.is_some_and(|link| link.up),
        mtu: link.map(|link| link.mtu),
        port,
        key,
        addresses: link.map(|link| link.addresses.iter().copied().collect()).unwrap_or_default(),
    }
}

fn networks(map: &HostMap, peers: &[PeerView]) -> Vec<NetworkView> {
    let in_network = |name: &model::NetworkName| {
        let name = name.clone();
        peers.iter().filter(move |peer| peer.networks.iter().any(|network| network.network == name))
    };
    map.networks
        .values()
        .map(|membership| NetworkView {
            name: membership.name.clone(),
            ranges: membership.ranges.iter().collect(),
            addresses: membership.addresses.iter().collect(),
            connected: membership.connected,
            peers: in_network(&membership.name).count(),
            reachable: in_network(&membership.name)
                .map(PeerView::reachable)
                .try_fold(0, |count, reachable| Some(count + usize::from(reachable?))),
        })
        .collect()
}

fn peers(map: &HostMap, actual: &Actual, path: impl Fn(&WgPublicKey) -> Option<PathStatus>) -> Vec<PeerView> {
    let device = actual.link.as_ref().and_then(|link| link.device.as_ref());
    let mut peers: Vec<PeerView> = map
        .peers
        .iter()
        .map(|(id, peer)| {
            let seen: Option<&ActualPeer> = device.and_then(|device| device.peers.get(&peer.key?));
            let networks = peer.nodes.iter().filter_map(|node| {
                let network = map.networks.get(&node.network)?.name.clone();
                Some(PeerNetwork { network, addresses: node.addresses })
            });
            PeerView {
                name: peer.name.clone(),
                id: *id,
                key: peer.key,
                networks: networks.collect(),
                path: peer.key.as_ref().and_then(&path),
                endpoint: seen.and_then(|seen| seen.endpoint),
                handshake: seen.and_then(|seen| seen.last_handshake),
                received: seen.map_or(0, |seen| seen.rx),
                sent: seen.map_or(0, |seen| seen.tx),
            }
        })
        .collect();
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    peers
}
