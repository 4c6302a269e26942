//! Which clients came in at this gateway, as the device shows: told when a session begins or calls from elsewhere, when others
//! look for the client at another gateway, and else now and then.
//!
//! Not for reading the device, and not for saying where a client is: the server hears all of its gateways. It keeps true that
//! a client which stays adds one word in ten minutes, however often its keys are renewed; that whatever is told was so, in
//! particular that nothing was heard later than told; that reading takes a small part of the time however many peers there
//! are; and that a client which shakes hands here is `here` although the map leads elsewhere first, also while no server is
//! there to say so, and not for longer than it is heard.
//!
//! ```text
//!   first seen, from elsewhere, after a pause ──────────────────────────► told
//!   heard since it was told, and the map leads to another gateway first ─► told again; the next time not so soon
//!   ten minutes later ──────────────────────────────────────────────────► told again
//!
//!   the map leads to another gateway first ─► away ── heard since then ──────────────────────────► here
//!                                              ▲                                                   │
//!                                              └── no handshake for 180 s, or to yet another one ──┘
//!   the map leads here first ─► neither: it is sent to as the map says
//! ```
//!
//! A device shows when the latest handshake was, some only to a quarter of a second, and how many bytes were received. Bytes
//! that came between two readings were heard after the first of them. So a client that is at two gateways within a moment,
//! or back at the first with the session it had there, is found where it talks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{HostId, MemberId, Timestamp};
use wire::{ClientSeen, HostMap, Peer, Report};

use crate::access::{is_client, is_own_client};
use crate::{ActualPeer, Device};

/// How often the device is read while there are clients.
const EACH: Duration = Duration::from_secs(2);
/// Reading may take one part in this many of the time.
const SHARE: u32 = 50;
/// A handshake so long after the one before begins a session: none lives longer.
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

/// A client of this gateway that is looked for at another one first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Elsewhere {
    first: HostId,
    /// Since the map says so, by the device's clock; none before the device was read.
    since: Option<Timestamp>,
}

/// The gateway at which those who look for it begin, if that is another one.
fn elsewhere(map: &HostMap, peer: &Peer) -> Option<HostId> {
    let own = map.host.id;
    let mut nodes = peer.nodes.iter().filter(|node| is_own_client(own, node));
    nodes.find_map(|node| node.via.first().copied().filter(|first| *first != own))
}

/// Whether a session of this handshake may live.
fn lives(handshake: Option<Timestamp>, at: Timestamp) -> bool {
    handshake.is_some_and(|then| at.since(then) <= SESSION)
}

/// The clients of this gateway. See the module.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    seen: BTreeMap<MemberId, Client>,
    elsewhere: BTreeMap<MemberId, Elsewhere>,
    /// Those of them that are here all the same.
    here: BTreeSet<MemberId>,
    /// The device's clock when it was last read, and `now` then.
    clock: Option<(Timestamp, Duration)>,
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
    pub fn handle_map(&mut self, map: &HostMap, now: Duration) {
        self.expected = map.peers.values().any(|peer| peer.key.is_some() && is_client(map, peer));
        self.seen.retain(|member, _| map.peers.contains_key(member));
        let gone: Vec<MemberId> =
            self.elsewhere.keys().filter(|member| !map.peers.contains_key(member)).copied().collect();
        for member in map.peers.keys().chain(&gone) {
            self.look_for(map, *member, now);
        }
    }

    /// These members are new, changed or gone.
    pub fn handle_members<'a>(
        &mut self,
        map: &HostMap,
        members: impl IntoIterator<Item = &'a MemberId>,
        now: Duration,
    ) {
        for member in members {
            self.look_for(map, *member, now);
            match map.peers.get(member) {
                Some(peer) => self.expected |= peer.key.is_some() && is_client(map, peer),
                None => drop(self.seen.remove(member)),
            }
        }
    }

    /// This agent begins with a map and a device that an earlier run has left: whom that let in where the map leads
    /// elsewhere, as its addresses say, was here.
    pub fn handle_start(&mut self, map: &HostMap, device: &Device) {
        let was_here = |member: &&MemberId| {
            let key = map.peers.get(*member).and_then(|peer| peer.key);
            let there = key.and_then(|key| device.peers.get(&key)).filter(|there| !there.allowed.is_empty());
            there.is_some_and(|there| lives(there.last_handshake, device.at))
        };
        self.here.extend(self.elsewhere.keys().filter(was_here));
    }

    /// What the map says of where a client is.
    fn look_for(&mut self, map: &HostMap, member: MemberId, now: Duration) {
        let Some(first) = map.peers.get(&member).and_then(|peer| elsewhere(map, peer)) else {
            self.elsewhere.remove(&member);
            self.here.remove(&member);
            return;
        };
        if self.elsewhere.get(&member).is_some_and(|before| before.first == first) {
            return;
        }
        let since = self.clock.map(|(at, then)| at + now.saturating_sub(then));
        self.elsewhere.insert(member, Elsewhere { first, since });
        self.here.remove(&member);
    }

    /// What the device shows, and how long it took to read. Says whether there is something to tell.
    pub fn handle_observed(&mut self, map: &HostMap, device: &Device, took: Duration, now: Duration) -> bool {
        self.handle_unobserved(took, now);
        self.clock = Some((device.at, now));
        if !self.expected {
            return false;
        }
        let mut news = false;
        for (member, peer) in map.peers.iter().filter(|(_, peer)| is_client(map, peer)) {
            let there = peer.key.and_then(|key| device.peers.get(&key));
            let handshake = there.and_then(|there| there.last_handshake);
            if let (Some(there), Some(handshake)) = (there, handshake) {
                news |= self.observe(*member, there, handshake, device.at);
            }
            self.place(*member, handshake, device.at);
        }
        news
    }

    /// What the device shows of a client; whether that is news.
    fn observe(&mut self, member: MemberId, there: &ActualPeer, handshake: Timestamp, at: Timestamp) -> bool {
        let is_elsewhere = self.elsewhere.contains_key(&member);
        let Some(known) = self.seen.get_mut(&member) else {
            self.seen.insert(member, Client::new(member, there, handshake, at));
            return true;
        };
        known.count(there, at);
        let is_news = known.is_news(there, handshake, is_elsewhere);
        if is_news {
            known.tell(there);
        }
        is_news
    }

    /// Whether a client is here that is looked for elsewhere first.
    fn place(&mut self, member: MemberId, handshake: Option<Timestamp>, at: Timestamp) {
        let Some(elsewhere) = self.elsewhere.get_mut(&member) else { return };
        // Clocks are set back, too.
        let since = elsewhere.since.map_or(at, |since| since.min(at));
        elsewhere.since = Some(since);
        if !lives(handshake, at) {
            self.here.remove(&member);
        } else if self.seen.get(&member).is_some_and(|client| client.last_heard() >= since) {
            self.here.insert(member);
        }
    }

    /// Those who are here although the map leads to another gateway first: `Circumstances::here`, `Derived::set_here`.
    pub const fn here(&self) -> &BTreeSet<MemberId> {
        &self.here
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
}
