//! What the engine shows of itself, and what is shown of the state on disk where no daemon runs.

use std::time::Duration;

use model::{HostId, HostName, MemberId, WgPublicKey};
use reconcile::{Actual, ActualPeer, FirewallLook, PathStatus};
use wire::{HostMap, Outcome, Peer, PeerNode, Way};

use super::Engine;
use crate::names::NameService;
use crate::options::Options;
use crate::state::ServerRecord;
use crate::view::{
    FirewallView, HostView, Idle, InterfaceView, InternetView, NetworkView, PeerNetwork, PeerView,
    RendezvousView, ServerView, View,
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
            .map(|map| {
                let router = |member| self.keeper.router(member);
                peers(map, &actual, |key| self.keeper.paths.status(key), router)
            })
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
                unreadable: self.contact.unreadable,
                pushes: self.agent.broker_is_up(),
                broker: self.pushing().map(str::to_owned),
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
            firewall: Some(firewall(&actual)),
            dns: self.names.as_ref().map(NameService::view),
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
            firewall: None,
            dns: None,
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
        let peers = map.map(|map| peers(map, actual, |_| None, |_| None)).unwrap_or_default();
        let port = actual.link.as_ref().and_then(|link| link.device.as_ref()).map_or(0, |device| device.port);
        Self {
            daemon: false,
            idle: record.removed.then(|| Idle::Removed(record.name.clone())),
            server: Some(ServerView {
                name: record.name.clone(),
                url: record.all_urls().into_iter().next().unwrap_or_default(),
                since: None,
                answered: None,
                error: None,
                unreadable: false,
                pushes: false,
                broker: None,
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
            firewall: Some(firewall(actual)),
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
        let members = peers.iter().filter(|peer| !peer.is_range());
        members.filter(move |peer| peer.networks.iter().any(|network| network.network == name))
    };
    map.networks
        .values()
        .map(|membership| NetworkView {
            name: membership.name.clone(),
            ranges: membership.ranges.iter().collect(),
            addresses: membership.addresses.iter().collect(),
            connected: membership.connected,
            pending: membership.pending,
            via: membership.via.and_then(|host| name_of(map, host)),
            guarded: membership.guarded,
            leads_to: membership.egress.iter().map(|duty| duty.range.0).collect(),
            internet_gateway: membership.internet_gateway,
            internet: membership.internet.map(|way| InternetView {
                gateway: way.via.and_then(|host| name_of(map, host)),
                lan: way.lan,
            }),
            peers: in_network(&membership.name).count(),
            reachable: in_network(&membership.name)
                .map(PeerView::reachable)
                .try_fold(0, |count, reachable| Some(count + usize::from(reachable?))),
        })
        .collect()
}

fn firewall(actual: &Actual) -> FirewallView {
    match actual.surroundings.firewall {
        None => FirewallView::Impossible,
        Some(FirewallLook::Absent) => FirewallView::Absent,
        Some(FirewallLook::Intact(_)) => FirewallView::Holds,
        Some(FirewallLook::Changed) => FirewallView::Changed,
    }
}

fn name_of(map: &HostMap, host: HostId) -> Option<HostName> {
    map.peers.get(&host.into()).map(|peer| peer.name.clone())
}

/// Those through whom a member is reached, and who of them is used.
fn ways(
    map: &HostMap,
    member: MemberId,
    node: &PeerNode,
    used: Option<HostId>,
) -> (Vec<HostId>, Option<HostId>) {
    let told = map.networks.get(&node.network);
    match told.map(|told| told.way(map.host.id, member, node)) {
        Some(Way::Via(hosts)) => {
            (hosts.to_vec(), used.filter(|used| hosts.contains(used)).or(hosts.first().copied()))
        }
        Some(Way::Direct) | None => (Vec::new(), None),
    }
}

/// Whether a client that this host lets in, or whoever carries another member or leads to such a client, was heard of lately.
fn is_reached(
    map: &HostMap,
    actual: &Actual,
    (member, peer): (MemberId, &Peer),
    used: Option<HostId>,
    path: &impl Fn(&WgPublicKey) -> Option<PathStatus>,
) -> Option<bool> {
    let comes_in = |node: &&PeerNode| node.via.contains(&map.host.id);
    let carrier = match peer.key {
        Some(key) => {
            let node = peer.nodes.iter().find(comes_in)?;
            let device = actual.device()?;
            let handshake = device.peers.get(&key).and_then(|there| there.last_handshake);
            if handshake.is_some_and(|then| device.at.since(then) < SESSION) {
                return Some(true);
            }
            // Else it may have come in by another gateway, which the map says.
            let elsewhere = node.via.first().filter(|first| **first != map.host.id);
            let Some(gateway) = elsewhere else { return Some(false) };
            *gateway
        }
        None => peer.nodes.iter().find_map(|node| ways(map, member, node, used).1)?,
    };
    let status = path(&map.peers.get(&carrier.into())?.key?)?;
    Some(matches!(status, PathStatus::Direct { .. } | PathStatus::Checking { .. }))
}

fn peers(
    map: &HostMap,
    actual: &Actual,
    path: impl Fn(&WgPublicKey) -> Option<PathStatus>,
    router: impl Fn(MemberId) -> Option<HostId>,
) -> Vec<PeerView> {
    let device = actual.link.as_ref().and_then(|link| link.device.as_ref());
    let mut peers: Vec<PeerView> = map
        .peers
        .iter()
        .map(|(id, peer)| {
            let seen: Option<&ActualPeer> = device.and_then(|device| device.peers.get(&peer.key?));
            let networks = peer.nodes.iter().filter_map(|node| {
                let network = map.networks.get(&node.network)?.name.clone();
                let (via, used) = ways(map, *id, node, router(*id));
                Some(PeerNetwork {
                    network,
                    addresses: node.addresses,
                    ranges: node.ranges.iter().map(|net| net.0).collect(),
                    via: via.into_iter().filter_map(|host| name_of(map, host)).collect(),
                    used: used.and_then(|host| name_of(map, host)),
                })
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
                reached: is_reached(map, actual, (*id, peer), router(*id), &path),
            }
        })
        .collect();
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    peers
}

#[cfg(test)]
mod tests {
    use model::Addresses;
    use wire::Net;

    use super::*;
    use crate::names::tests::{NETWORK, addresses, map, peer};

    #[test]
    fn a_range_is_no_peer_and_shows_which_of_its_routers_is_used() {
        let mut map = map(2);
        let hosts = [1, 2].map(|number| HostId::from_bytes([number; 16]));
        let range = MemberId::from_bytes([9; 16]);
        let node = PeerNode {
            ranges: vec![Net("192.168.7.0/24".parse().unwrap())],
            via: hosts.to_vec(),
            ..PeerNode::new(NETWORK, Addresses::default())
        };
        map.peers.insert(range, Peer { key: None, nodes: vec![node], ..peer(9) });
        let relayed = PeerNode { via: vec![hosts[0]], ..PeerNode::new(NETWORK, addresses(8)) };
        map.peers.insert(MemberId::from_bytes([8; 16]), Peer { key: None, nodes: vec![relayed], ..peer(8) });

        let router = |member: MemberId| (member == range).then_some(hosts[1]);
        let shown = peers(&map, &Actual::default(), |_| None, router);
        let find = |id: MemberId| shown.iter().find(|peer| peer.id == id).unwrap();
        assert!(find(range).is_range());
        assert_eq!(find(range).carrier(), Some(&map.peers[&hosts[1].into()].name));
        assert_eq!(find(MemberId::from_bytes([8; 16])).carrier(), Some(&map.peers[&hosts[0].into()].name));
        assert_eq!(find(hosts[0].into()).carrier(), None);
        assert_eq!(networks(&map, &shown)[0].peers, 3);
    }

    #[test]
    fn a_client_is_reached_while_its_session_lives_or_the_gateway_where_it_is() {
        let mut map = map(2);
        let own = map.host.id;
        let [client, other] = [1, 2].map(|number| MemberId::from_bytes([number; 16]));
        let [key, gateway] = [client, other].map(|member| map.peers[&member].key.unwrap());
        let reached = |map: &HostMap, handshake: i64| {
            let at = model::Timestamp::from_millis(1_800_000_000_000);
            let last_handshake = Some(model::Timestamp::from_millis(1_800_000_000_000 - handshake));
            let there = ActualPeer { last_handshake, ..ActualPeer::default() };
            let kind = reconcile::LinkKind::Userspace;
            let device =
                reconcile::Device { kind, at, key: None, port: 1, mark: 0, peers: [(key, there)].into() };
            let (addresses, routes) = Default::default();
            let device = Some(device);
            let link = reconcile::Link { index: 1, up: true, mtu: 1420, addresses, routes, device };
            let actual = Actual { link: Some(link), ..Actual::default() };
            let path = |key: &WgPublicKey| {
                let endpoint = "192.0.2.1:1".parse().unwrap();
                (*key == gateway).then_some(PathStatus::Checking { endpoint })
            };
            let all = peers(map, &actual, path, |_| None);
            all.iter().find(|peer| peer.id == client).unwrap().reachable()
        };
        map.peers.get_mut(&client).unwrap().nodes[0].via = vec![own];
        assert_eq!((reached(&map, 1_000), reached(&map, 200_000)), (Some(true), Some(false)));
        // It came in by another gateway, and this one has a path to that.
        map.peers.get_mut(&client).unwrap().nodes[0].via = vec![HostId::from_bytes([2; 16]), own];
        assert_eq!(reached(&map, 200_000), Some(true));
    }
}
