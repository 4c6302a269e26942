//! Which clients came in at this gateway, as the device shows: told when a session begins or calls from elsewhere, and then
//! now and then.
//!
//! Not for reading the device. It keeps true that a client which stays adds one word in ten minutes, however often its keys
//! are renewed, and that reading takes a small part of the time however many peers there are.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{MemberId, Timestamp};
use wire::{ClientSeen, HostMap, Report};

use crate::Device;
use crate::access::is_client;

/// How often the device is read while there are clients.
const EACH: Duration = Duration::from_secs(5);
/// Reading may take one part in this many of the time.
const SHARE: u32 = 20;
/// A handshake so long after the one before begins a session.
const SESSION: Duration = Duration::from_secs(180);
/// A session that goes on is told again after this.
const AGAIN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    told: ClientSeen,
    latest: Timestamp,
}

/// The clients of this gateway. See the module.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    seen: BTreeMap<MemberId, Client>,
    expected: bool,
    at: Duration,
}

impl Clients {
    /// Nobody came yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The map may have other clients than before. Costs what all members cost where it is another map, so it is for
    /// `Changed::Everything`; `handle_members` is for the rest.
    pub fn handle_map(&mut self, map: &HostMap) {
        self.expected = map.peers.values().any(|peer| peer.key.is_some() && is_client(map, peer));
        self.seen.retain(|member, _| map.peers.contains_key(member));
    }

    /// These members are new, changed or gone.
    pub fn handle_members<'a>(&mut self, map: &HostMap, members: impl IntoIterator<Item = &'a MemberId>) {
        for member in members {
            match map.peers.get(member) {
                Some(peer) => self.expected |= peer.key.is_some() && is_client(map, peer),
                None => drop(self.seen.remove(member)),
            }
        }
    }

    /// What the device shows, and how long it took to read. Says whether there is something to tell.
    pub fn handle_observed(&mut self, map: &HostMap, device: &Device, took: Duration, now: Duration) -> bool {
        self.at = now + EACH.max(took.saturating_mul(SHARE));
        if !self.expected {
            return false;
        }
        let mut news = false;
        for (member, peer) in map.peers.iter().filter(|(_, peer)| is_client(map, peer)) {
            let there = peer.key.and_then(|key| device.peers.get(&key));
            let Some((there, handshake)) = there.and_then(|there| Some((there, there.last_handshake?)))
            else {
                continue;
            };
            let told = ClientSeen { id: *member, endpoint: there.endpoint, handshake };
            let known = self.seen.get_mut(member);
            let is_news = known.as_ref().is_none_or(|known| {
                known.told.endpoint != there.endpoint
                    || handshake.distance(known.latest) > SESSION
                    || handshake.distance(known.told.handshake) >= AGAIN
            });
            news |= is_news;
            match known {
                Some(known) if !is_news => known.latest = handshake,
                Some(_) | None => drop(self.seen.insert(*member, Client { told, latest: handshake })),
            }
        }
        news
    }

    /// For the report, by id. Of too many those who came last.
    pub fn seen(&self) -> Vec<ClientSeen> {
        let mut seen: Vec<ClientSeen> = self.seen.values().map(|client| client.told.clone()).collect();
        if seen.len() > Report::MOST_CLIENTS {
            seen.sort_unstable_by_key(|client| std::cmp::Reverse(client.handshake));
            seen.truncate(Report::MOST_CLIENTS);
            seen.sort_unstable_by_key(|client| client.id);
        }
        seen
    }

    /// When the device is to be read again.
    pub fn poll_deadline(&self) -> Option<Duration> {
        self.expected.then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use model::{Addresses, Endpoint, Generation, HostId, HostName, Mtu, NetworkId, Ranges, WgPublicKey};
    use wire::{Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks};

    use super::*;
    use crate::{ActualPeer, LinkKind};

    const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
    const PHONE: MemberId = MemberId::from_bytes([7; 16]);
    const KEY: WgPublicKey = WgPublicKey::from_bytes([7; 32]);
    const OWN: HostId = HostId::from_bytes([9; 16]);

    fn map() -> HostMap {
        let ranges = Ranges::new(Some("10.1.0.0/24".parse().unwrap()), None).unwrap();
        let node = PeerNode { via: vec![OWN], ..PeerNode::new(NETWORK, Addresses::default()) };
        let phone = Peer {
            name: HostName::nearest("phone"),
            key: Some(KEY),
            nodes: vec![node],
            seen: vec![],
            local: vec![],
            fixed: None,
            nat: NatMapping::Unknown,
        };
        HostMap {
            generation: Generation::from_number(1),
            host: OwnHost {
                id: OWN,
                name: HostName::nearest("own"),
                mtu: Mtu::DEFAULT,
                seen: vec![],
                nat: NatMapping::Unknown,
                rotate: false,
            },
            server: ServerLinks::default(),
            networks: [(NETWORK, Membership::plain("net".parse().unwrap(), ranges))].into(),
            peers: [(PHONE, phone)].into(),
        }
    }

    struct Gateway {
        clients: Clients,
        map: HostMap,
    }

    impl Gateway {
        fn new() -> Self {
            let (mut clients, map) = (Clients::new(), map());
            clients.handle_map(&map);
            Self { clients, map }
        }

        fn sees(&mut self, second: i64, endpoint: &str) -> bool {
            let endpoint: Endpoint = endpoint.parse().unwrap();
            let last_handshake = Some(Timestamp::from_millis(second * 1000));
            let peer = ActualPeer { endpoint: Some(endpoint), last_handshake, ..ActualPeer::default() };
            let (kind, at) = (LinkKind::Kernel, Timestamp::from_millis(second * 1000));
            let device = Device { kind, at, key: None, port: 1, mark: 0, peers: [(KEY, peer)].into() };
            self.clients.handle_observed(&self.map, &device, Duration::ZERO, Duration::ZERO)
        }
    }

    #[test]
    fn a_session_is_told_when_it_begins_when_it_moves_and_each_tenth_minute() {
        let mut gateway = Gateway::new();
        assert!(gateway.sees(1_000, "192.0.2.1:7"));
        assert!(!gateway.sees(1_000, "192.0.2.1:7"));
        assert!(!gateway.sees(1_120, "192.0.2.1:7"));
        assert_eq!(gateway.clients.seen()[0].handshake, Timestamp::from_millis(1_000_000));
        assert!(gateway.sees(1_120, "192.0.2.2:7"), "from elsewhere");
        for second in (1_240..1_720).step_by(120) {
            assert!(!gateway.sees(second, "192.0.2.2:7"), "{second}");
        }
        assert!(gateway.sees(1_720, "192.0.2.2:7"), "ten minutes later");
        assert!(gateway.sees(2_000, "192.0.2.2:7"), "a session after a pause");
        assert_eq!(gateway.clients.seen()[0].endpoint, Some("192.0.2.2:7".parse().unwrap()));
    }

    #[test]
    fn whoever_is_gone_is_told_no_more_and_without_clients_nothing_is_read() {
        let mut gateway = Gateway::new();
        assert!(gateway.sees(1_000, "192.0.2.1:7") && gateway.clients.poll_deadline().is_some());
        gateway.map.peers.clear();
        gateway.clients.handle_members(&gateway.map, &[PHONE]);
        assert_eq!(gateway.clients.seen(), []);
        gateway.clients.handle_map(&gateway.map);
        assert_eq!(gateway.clients.poll_deadline(), None);
    }

    #[test]
    fn a_node_is_no_client() {
        let mut gateway = Gateway::new();
        gateway.map.peers.get_mut(&PHONE).unwrap().local = vec!["192.0.2.1:7".parse().unwrap()];
        gateway.clients.handle_map(&gateway.map);
        assert!(!gateway.sees(1_000, "192.0.2.1:7"));
    }
}
