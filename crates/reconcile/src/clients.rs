//! Which clients came in at this gateway, as the device shows: told when a session begins or calls from elsewhere, when others
//! look for the client at another gateway, and else now and then.
//!
//! Not for reading the device, and not for saying where a client is: the server hears all of its gateways. It keeps true that
//! a client which stays adds one word in ten minutes, however often its keys are renewed; that whatever is told was so, in
//! particular that nothing was heard later than told; and that reading takes a small part of the time however many peers there
//! are.
//!
//! ```text
//!   first seen, from elsewhere, after a pause ──────────────────────────► told
//!   heard since it was told, and the map leads to another gateway first ─► told again; the next time not so soon
//!   ten minutes later ──────────────────────────────────────────────────► told again
//! ```
//!
//! A device shows when the latest handshake was, some only to a quarter of a second, and how many bytes were received. Bytes
//! that came between two readings were heard after the first of them. So a client that is at two gateways within a moment,
//! or back at the first with the session it had there, is found where it talks.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{MemberId, Timestamp};
use wire::{ClientSeen, HostMap, Peer, Report};

use crate::access::is_client;
use crate::{ActualPeer, Device};

/// How often the device is read while there are clients.
const EACH: Duration = Duration::from_secs(2);
/// Reading may take one part in this many of the time.
const SHARE: u32 = 50;
/// A handshake so long after the one before begins a session.
const SESSION: Duration = Duration::from_secs(180);
/// A session that goes on is told again after this.
const AGAIN: Duration = Duration::from_secs(600);
/// Heard later than it was told by less than this says nothing: reports take their time, and the server allows for that.
const SURELY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    told: ClientSeen,
    /// The latest handshake.
    handshake: Timestamp,
    /// Bytes received, and when they were counted.
    counted: (u64, Timestamp),
    /// It was heard after this.
    heard: Option<Timestamp>,
    /// How often in a row the map was contradicted.
    claims: u32,
}

impl Client {
    fn new(id: MemberId, peer: &ActualPeer, handshake: Timestamp, at: Timestamp) -> Self {
        let told = ClientSeen { id, endpoint: peer.endpoint, handshake, heard: None };
        Self { told, handshake, counted: (peer.rx, at), heard: None, claims: 0 }
    }

    /// What the device shows now.
    fn count(&mut self, peer: &ActualPeer, at: Timestamp) {
        let (rx, counted) = self.counted;
        if peer.rx > rx {
            self.heard = Some(counted);
        }
        self.counted = (peer.rx, at);
    }

    /// Whether this is worth a word although the client was told of already.
    fn is_news(&mut self, peer: &ActualPeer, handshake: Timestamp, is_elsewhere: bool) -> bool {
        let before = std::mem::replace(&mut self.handshake, handshake);
        if self.told.endpoint != peer.endpoint || handshake.distance(before) > SESSION {
            self.claims = 0;
            return true;
        }
        if is_elsewhere && self.last_heard().since(last_heard(&self.told)) > self.patience() {
            self.claims += 1;
            return true;
        }
        handshake.distance(self.told.handshake) >= AGAIN
    }

    /// So long after it was told the map is contradicted at the soonest. It grows, for one that talks with two gateways all
    /// the time must not have everybody follow it to and fro.
    fn patience(&self) -> Duration {
        match self.claims {
            0 => SURELY,
            claims => EACH.saturating_mul(1_u32.checked_shl(claims).unwrap_or(u32::MAX)).min(AGAIN),
        }
    }

    fn last_heard(&self) -> Timestamp {
        self.heard.map_or(self.handshake, |heard| heard.max(self.handshake))
    }

    fn tell(&mut self, peer: &ActualPeer) {
        let Self { handshake, heard, .. } = *self;
        self.told = ClientSeen { id: self.told.id, endpoint: peer.endpoint, handshake, heard };
    }
}

fn last_heard(seen: &ClientSeen) -> Timestamp {
    seen.heard.map_or(seen.handshake, |heard| heard.max(seen.handshake))
}

/// Whether those who look for it begin at another gateway.
fn is_elsewhere(map: &HostMap, peer: &Peer) -> bool {
    let own = map.host.id;
    peer.nodes.iter().any(|node| node.via.contains(&own) && node.via.first() != Some(&own))
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
        self.handle_unobserved(took, now);
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
            let Some(known) = self.seen.get_mut(member) else {
                self.seen.insert(*member, Client::new(*member, there, handshake, device.at));
                news = true;
                continue;
            };
            known.count(there, device.at);
            if known.is_news(there, handshake, is_elsewhere(map, peer)) {
                known.tell(there);
                news = true;
            }
        }
        news
    }

    /// The device could not be read, or is not ours, and that took so long.
    pub fn handle_unobserved(&mut self, took: Duration, now: Duration) {
        self.at = now + EACH.max(took.saturating_mul(SHARE));
    }

    /// For the report, by id. Of too many those who came last.
    pub fn seen(&self) -> Vec<ClientSeen> {
        let mut seen: Vec<ClientSeen> = self.seen.values().map(|client| client.told.clone()).collect();
        if seen.len() > Report::MOST_CLIENTS {
            seen.sort_unstable_by_key(|client| std::cmp::Reverse(last_heard(client)));
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
    use model::{Addresses, Generation, HostId, HostName, Mtu, NetworkId, Ranges, WgPublicKey};
    use wire::{Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks};

    use super::*;
    use crate::{ActualPeer, LinkKind};

    const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
    const PHONE: MemberId = MemberId::from_bytes([7; 16]);
    const KEY: WgPublicKey = WgPublicKey::from_bytes([7; 32]);
    const OWN: HostId = HostId::from_bytes([9; 16]);

    fn map() -> HostMap {
        let ranges = Ranges::new(Some("10.1.0.0/24".parse().unwrap()), None).unwrap();
        let addresses = Addresses { v4: Some([10, 1, 0, 7].into()), v6: None };
        let node = PeerNode { via: vec![OWN], ..PeerNode::new(NETWORK, addresses) };
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
        rx: u64,
    }

    impl Gateway {
        fn new() -> Self {
            let (mut clients, map) = (Clients::new(), map());
            clients.handle_map(&map);
            Self { clients, map, rx: 0 }
        }

        /// The device is looked at right after a handshake.
        fn sees(&mut self, second: i64, endpoint: &str) -> bool {
            self.looks(second, second, endpoint)
        }

        fn looks(&mut self, at: i64, handshake: i64, endpoint: &str) -> bool {
            let [at, handshake] = [at, handshake].map(|second| Timestamp::from_millis(second * 1000));
            let peer = ActualPeer {
                endpoint: endpoint.parse().ok(),
                last_handshake: Some(handshake),
                rx: self.rx,
                ..ActualPeer::default()
            };
            let kind = LinkKind::Kernel;
            let device = Device { kind, at, key: None, port: 1, mark: 0, peers: [(KEY, peer)].into() };
            self.clients.handle_observed(&self.map, &device, Duration::ZERO, Duration::ZERO)
        }

        /// The client is looked for at another gateway before this one, or not.
        fn comes_second(&mut self, second: bool) {
            let other = HostId::from_bytes([8; 16]);
            let via = if second { vec![other, OWN] } else { vec![OWN, other] };
            self.map.peers.get_mut(&PHONE).unwrap().nodes[0].via = via;
            self.clients.handle_members(&self.map, &[PHONE]);
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
    fn a_client_that_is_looked_for_elsewhere_and_talks_here_is_told_again_but_ever_more_rarely() {
        let mut gateway = Gateway::new();
        gateway.comes_second(true);
        assert!(gateway.looks(1_000, 999, "192.0.2.1:7"));
        assert!(!gateway.looks(1_002, 999, "192.0.2.1:7"), "it said nothing");
        let mut told = Vec::new();
        for second in (1_004..1_100).step_by(2) {
            gateway.rx += 32;
            if gateway.looks(second, 999, "192.0.2.1:7") {
                let seen = gateway.clients.seen();
                assert_eq!(seen[0].heard, Some(Timestamp::from_millis((second - 2) * 1000)));
                told.push(second);
            }
        }
        assert_eq!(told, [1_004, 1_010, 1_020, 1_038, 1_072]);
        gateway.comes_second(false);
        gateway.rx += 32;
        assert!(!gateway.looks(1_500, 1_101, "192.0.2.1:7"), "all know where it is");
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
        gateway.map.peers.get_mut(&PHONE).unwrap().nodes[0].relayed = true;
        gateway.clients.handle_map(&gateway.map);
        assert!(!gateway.sees(1_000, "192.0.2.1:7"));
    }
}
