//! A gateway whose device is a value.

use model::{Addresses, Generation, HostId, HostName, Mtu, NetworkId, Ranges, WgPublicKey};
use wire::{Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks};

use super::*;
use crate::{ActualPeer, LinkKind};

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const PHONE: MemberId = MemberId::from_bytes([7; 16]);
const KEY: WgPublicKey = WgPublicKey::from_bytes([7; 32]);
const OWN: HostId = HostId::from_bytes([9; 16]);
const OTHER: HostId = HostId::from_bytes([8; 16]);
const THIRD: HostId = HostId::from_bytes([7; 16]);
const THERE: &str = "192.0.2.1:7";

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
        clients.handle_map(&map, Duration::ZERO);
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
        let now = Duration::from_millis(at.as_millis().unsigned_abs());
        self.clients.handle_observed(&self.map, &device, Duration::ZERO, now)
    }

    /// The client is looked for at another gateway before this one, or not.
    fn comes_second(&mut self, second: bool) {
        self.is_led(0, if second { &[OTHER, OWN] } else { &[OWN, OTHER] });
    }

    /// From this second on the map leads to it so.
    fn is_led(&mut self, second: u64, via: &[HostId]) {
        self.map.peers.get_mut(&PHONE).unwrap().nodes[0].via = via.to_vec();
        self.clients.handle_members(&self.map, &[PHONE], Duration::from_secs(second));
    }

    fn has_it(&self) -> bool {
        self.clients.here().contains(&PHONE)
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
    gateway.clients.handle_members(&gateway.map, &[PHONE], Duration::ZERO);
    assert_eq!(gateway.clients.seen(), []);
    gateway.clients.handle_map(&gateway.map, Duration::ZERO);
    assert_eq!(gateway.clients.poll_deadline(), None);
}

#[test]
fn a_node_is_no_client() {
    let mut gateway = Gateway::new();
    gateway.map.peers.get_mut(&PHONE).unwrap().nodes[0].relayed = true;
    gateway.clients.handle_map(&gateway.map, Duration::ZERO);
    assert!(!gateway.sees(1_000, "192.0.2.1:7"));
}

#[test]
fn who_shakes_hands_here_is_here_wherever_the_map_leads_until_nothing_is_heard() {
    let mut gateway = Gateway::new();
    gateway.sees(1_000, THERE);
    assert!(!gateway.has_it(), "the map says so itself");
    gateway.is_led(1_050, &[OTHER, OWN]);
    assert!(!gateway.has_it());
    // Its session here is not over, and neither used.
    gateway.looks(1_052, 1_049, THERE);
    gateway.looks(1_054, 1_049, THERE);
    assert!(!gateway.has_it(), "it shook hands before it went");
    gateway.looks(1_092, 1_091, THERE);
    assert!(gateway.has_it(), "it is back");
    gateway.looks(1_270, 1_091, THERE);
    assert!(gateway.has_it(), "its session may live");
    gateway.looks(1_272, 1_091, THERE);
    assert!(!gateway.has_it(), "it was not heard for three minutes");
    gateway.looks(1_302, 1_301, THERE);
    assert!(gateway.has_it(), "and again");
}

#[test]
fn a_map_that_says_something_new_of_a_client_is_believed_until_it_is_heard_again() {
    let mut gateway = Gateway::new();
    gateway.is_led(0, &[OTHER, OWN]);
    gateway.looks(1_000, 999, THERE);
    gateway.looks(1_002, 1_001, THERE);
    assert!(gateway.has_it());
    gateway.is_led(1_003, &[OTHER, THIRD, OWN]);
    assert!(gateway.has_it(), "it leads where it led");
    gateway.is_led(1_003, &[OWN, OTHER]);
    assert!(!gateway.has_it(), "the map says so itself");
    gateway.is_led(1_004, &[OTHER, OWN]);
    gateway.looks(1_006, 1_001, THERE);
    assert!(!gateway.has_it(), "it went");
    gateway.rx += 32;
    gateway.looks(1_008, 1_001, THERE);
    assert!(gateway.has_it(), "it talks by the session that it had");
    gateway.is_led(1_009, &[THIRD, OWN]);
    gateway.looks(1_010, 1_001, THERE);
    assert!(!gateway.has_it(), "and went elsewhere");
    gateway.map.peers.clear();
    gateway.looks(1_012, 1_011, THERE);
    gateway.clients.handle_map(&gateway.map, Duration::from_secs(1_013));
    assert!(!gateway.has_it() && gateway.clients.elsewhere.is_empty());
}

#[test]
fn a_client_that_comes_by_its_second_gateway_first_is_there_at_once() {
    let mut gateway = Gateway::new();
    gateway.map.peers.clear();
    gateway.clients.handle_map(&gateway.map, Duration::ZERO);
    gateway.looks(1_000, 0, THERE);
    gateway.map = map();
    gateway.is_led(1_001, &[OTHER, OWN]);
    gateway.looks(1_004, 1_002, THERE);
    assert!(gateway.has_it());
    // A clock that is set back by an hour makes nobody wait for that hour.
    gateway.is_led(1_005, &[THIRD, OWN]);
    gateway.looks(400, 300, THERE);
    gateway.looks(402, 401, THERE);
    assert!(gateway.has_it());
}

#[test]
fn an_agent_that_starts_again_leaves_a_client_where_the_device_has_it() {
    for (allowed, handshake, stays) in [(true, 900, true), (false, 900, false), (true, 800, false)] {
        let mut gateway = Gateway::new();
        gateway.is_led(0, &[OTHER, OWN]);
        let allowed = allowed.then(|| "10.1.0.7/32".parse().unwrap()).into_iter().collect();
        let last_handshake = Some(Timestamp::from_millis(handshake * 1000));
        let peer = ActualPeer { allowed, last_handshake, ..ActualPeer::default() };
        let (kind, at) = (LinkKind::Kernel, Timestamp::from_millis(1_000_000));
        let device = Device { kind, at, key: None, port: 1, mark: 0, peers: [(KEY, peer)].into() };
        gateway.clients.handle_start(&gateway.map, &device);
        assert_eq!(gateway.has_it(), stays, "{handshake}");
        gateway.looks(1_000, handshake, THERE);
        assert_eq!(gateway.has_it(), stays, "{handshake}");
    }
}
