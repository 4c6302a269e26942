//! Paths as stories: what the device shows and what the map says go in, a log of what is done comes out.

use std::collections::{BTreeMap, BTreeSet};

use model::{Keepalive, Mtu};
use wire::NatMapping;

use super::*;
use crate::{ActualPeer, LinkKind};

const PEER: WgPublicKey = WgPublicKey::from_bytes([1; 32]);
const DOOR: WgPublicKey = WgPublicKey::from_bytes([2; 32]);

fn at(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn view(addresses: &[&str]) -> PeerView {
    PeerView {
        seen: addresses.iter().map(|text| at(text)).collect(),
        local: vec![],
        fixed: None,
        nat: NatMapping::Endpoint,
        keepalive: Keepalive::DEFAULT,
    }
}

fn own(local: &str) -> Own {
    Own { local: BTreeSet::from([local.parse().unwrap()]), ..Own::default() }
}

/// The machine and its peers, with the time.
struct Story {
    paths: Paths,
    device: Device,
    now: Duration,
    log: Vec<String>,
    looks: usize,
    look_takes: Duration,
}

impl Story {
    /// A host with one peer, just added.
    fn with_peer(addresses: &[&str]) -> Self {
        let device = Device {
            kind: LinkKind::Kernel,
            at: Timestamp::default(),
            key: None,
            port: 1,
            mark: 0,
            peers: BTreeMap::new(),
        };
        let mut story = Self {
            paths: Paths::new(),
            device,
            now: Duration::ZERO,
            log: vec![],
            looks: 0,
            look_takes: Duration::ZERO,
        };
        story.paths.handle_own(own("10.1.1.1/24"), story.now);
        story.paths.handle_peer(PEER, view(addresses), story.now);
        let endpoint = story.paths.endpoint(&PEER);
        story.device.peers.insert(PEER, ActualPeer { endpoint, ..ActualPeer::default() });
        story.settle();
        story
    }

    /// One whose peer answers at once.
    fn connected(addresses: &[&str]) -> Self {
        let mut story = Self::with_peer(addresses);
        story.handshake();
        story.run(1_000);
        assert!(matches!(story.paths.status(&PEER), Some(PathStatus::Direct { .. })));
        story.log.clear();
        story
    }

    fn peer(&mut self) -> &mut ActualPeer {
        self.device.peers.get_mut(&PEER).unwrap()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000) + self.now
    }

    fn handshake(&mut self) {
        let wall = self.wall();
        let peer = self.peer();
        (peer.last_handshake, peer.rx) = (Some(wall), peer.rx + 92);
    }

    fn settle(&mut self) {
        while let Some(action) = self.paths.poll_action() {
            let millis = self.now.as_millis();
            match action {
                PathAction::Look => {
                    self.looks += 1;
                    self.device.at = self.wall();
                    self.paths.handle_observed(&self.device, self.look_takes, self.now);
                }
                PathAction::Point(key, endpoint, how) => {
                    self.log.push(format!("{millis} {how:?} {endpoint}"));
                    let peer = self.device.peers.entry(key).or_default();
                    if how == Pointing::Restart {
                        *peer = ActualPeer::default();
                    }
                    peer.endpoint = Some(endpoint);
                }
                PathAction::Poke(_) => self.log.push(format!("{millis} Poke")),
            }
        }
    }

    /// Lets this many milliseconds pass.
    fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some((deadline, _)) = self.paths.poll_deadline().filter(|(deadline, _)| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.paths.handle_deadline(self.now);
            self.settle();
        }
        self.now = end;
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.log), expected);
    }
}

#[test]
fn candidates_are_tried_in_turn_then_ever_more_patiently() {
    let mut story = Story::with_peer(&["192.0.2.1:1", "192.0.2.2:2"]);
    story.run(3_000);
    story.check(&[
        "500 Restart 192.0.2.2:2",
        "1000 Restart 192.0.2.1:1",
        "2000 Restart 192.0.2.2:2",
        "3000 Restart 192.0.2.1:1",
    ]);
    story.run(60_000);
    let text = story.paths.status(&PEER).unwrap().to_string();
    assert!(text.starts_with("unreachable: no answer at any of its 2 addresses"), "{text}");
}

#[test]
fn a_handshake_ends_the_trying() {
    let mut story = Story::with_peer(&["192.0.2.1:1", "192.0.2.2:2"]);
    story.run(400);
    story.handshake();
    story.run(10_000);
    story.check(&[]);
    assert_eq!(story.paths.status(&PEER).unwrap().to_string(), "direct (192.0.2.1:1)");
}

#[test]
fn a_session_that_the_peer_is_making_is_not_torn_down() {
    let mut story = Story::with_peer(&["192.0.2.1:1", "192.0.2.2:2"]);
    story.run(400);
    story.peer().rx += 148;
    story.run(200);
    story.handshake();
    story.run(10_000);
    story.check(&[]);
}

#[test]
fn an_agent_that_restarts_leaves_living_sessions_alone() {
    let mut story = Story::with_peer(&["192.0.2.1:1"]);
    story.log.clear();
    story.paths = Paths::new();
    let wall = story.wall();
    (story.peer().endpoint, story.peer().last_handshake) = (Some(at("198.51.100.9:9")), Some(wall));
    story.paths.handle_own(own("10.1.1.1/24"), story.now);
    story.paths.handle_peer(PEER, view(&["192.0.2.1:1"]), story.now);
    story.settle();
    story.run(10_000);
    story.check(&[]);
    assert_eq!(story.paths.endpoint(&PEER), Some(at("198.51.100.9:9")));
    assert_eq!(
        story.paths.status(&PEER).unwrap().to_string(),
        "direct, address learned from it (198.51.100.9:9)"
    );
}

#[test]
fn a_peer_that_roamed_is_followed_at_once() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    story.paths.handle_peer(PEER, view(&["192.0.2.2:2"]), story.now);
    story.settle();
    story.check(&["1000 Move 192.0.2.2:2"]);
    story.run(100);
    story.peer().rx += 32;
    story.run(10_000);
    story.check(&[]);
}

#[test]
fn a_peer_that_roamed_and_stays_silent_gets_pokes_and_then_a_fresh_start() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    story.paths.handle_peer(PEER, view(&["192.0.2.2:2"]), story.now);
    story.settle();
    story.run(1_000);
    story.check(&["1000 Move 192.0.2.2:2", "1200 Poke", "1500 Poke", "1900 Restart 192.0.2.2:2"]);
}

#[test]
fn a_path_that_works_is_not_left_for_a_private_address_while_the_server_sees_nobody() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    let mut forgotten = view(&[]);
    forgotten.local = vec![at("192.168.7.7:51820")];
    let known = PeerView { local: forgotten.local.clone(), ..view(&["192.0.2.1:1"]) };
    story.paths.handle_peer(PEER, known.clone(), story.now);
    story.settle();
    story.log.clear();
    story.paths.handle_peer(PEER, forgotten, story.now);
    story.settle();
    story.check(&["1000 Poke"]);
    story.run(100);
    story.peer().rx += 32;
    story.run(1_000);
    story.paths.handle_peer(PEER, known, story.now);
    story.settle();
    story.check(&["2100 Poke"]);
}

#[test]
fn where_wireguard_has_roamed_already_the_peer_is_only_told_that_we_live() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    (story.peer().endpoint, story.peer().rx) = (Some(at("192.0.2.2:2")), 500);
    story.paths.handle_peer(PEER, view(&["192.0.2.2:2"]), story.now);
    story.settle();
    story.run(10_000);
    story.check(&["1000 Poke"]);
}

#[test]
fn a_peer_found_behind_a_nat_that_maps_per_destination_is_not_sent_elsewhere_by_a_change() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    (story.peer().endpoint, story.peer().rx) = (Some(at("192.0.2.1:777")), 500);
    story.run(60_000);
    story.peer().rx += 32;
    story.paths.handle_peer(PEER, view(&["192.0.2.1:1", "[2001:db8::1]:1"]), story.now);
    let mut moved = view(&["192.0.2.1:1"]);
    moved.local = vec![at("10.1.1.7:1")];
    story.paths.handle_peer(PEER, moved, story.now);
    story.settle();
    story.run(100);
    story.peer().rx += 32;
    story.run(1_000);
    story.check(&["61000 Poke"]);
}

#[test]
fn a_roam_of_this_host_is_told_to_the_rendezvous_until_it_answers_and_to_all_peers() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    story.paths.handle_rendezvous(BTreeMap::from([(DOOR, at("203.0.113.1:51821"))]), story.now);
    let wall = story.wall();
    story.device.peers.insert(DOOR, ActualPeer { last_handshake: Some(wall), ..ActualPeer::default() });
    story.run(1_000);
    story.check(&[]);
    assert_eq!(story.paths.rendezvous_answers(), BTreeMap::from([(DOOR, true)]));

    story.paths.handle_own(own("10.2.2.2/24"), story.now);
    story.settle();
    story.run(100);
    story.peer().rx += 32;
    story.run(500);
    story.check(&["2000 Poke", "2000 Restart 203.0.113.1:51821", "2300 Restart 203.0.113.1:51821"]);
    let wall = story.wall();
    story.device.peers.get_mut(&DOOR).unwrap().last_handshake = Some(wall);
    story.run(30_000);
    story.check(&[]);
}

#[test]
fn a_peer_that_falls_silent_is_tried_again() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    story.run(200_000);
    assert!(story.log.first().is_some_and(|line| line.ends_with("Restart 192.0.2.1:1")), "{:?}", story.log);
}

#[test]
fn an_unreachable_peer_is_tried_at_once_when_an_address_comes() {
    let mut story = Story::with_peer(&[]);
    story.run(100_000);
    story.check(&[]);
    let text = story.paths.status(&PEER).unwrap().to_string();
    assert!(text.starts_with("unreachable: no address of it is known"), "{text}");
    story.paths.handle_peer(PEER, view(&["192.0.2.1:1"]), story.now);
    story.settle();
    story.check(&["100000 Restart 192.0.2.1:1"]);
}

#[test]
fn at_rest_the_device_is_read_once_a_minute() {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    story.looks = 0;
    for _ in 0..60 {
        story.peer().rx += 32;
        story.run(60_000);
    }
    assert!((59..=61).contains(&story.looks), "{} looks in an hour", story.looks);
    story.check(&[]);
}

/// A host whose device has this many peers besides the one, and takes this long to be read.
fn in_a_crowd(others: u16, look_takes: Duration) -> Story {
    let mut story = Story::connected(&["192.0.2.1:1"]);
    for n in 0..others {
        let mut key = [3; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        story.device.peers.insert(WgPublicKey::from_bytes(key), ActualPeer::default());
    }
    story.look_takes = look_takes;
    story.peer().rx += 32;
    story.run(60_000);
    story.looks = 0;
    story
}

#[test]
fn where_a_look_is_dear_all_that_is_tried_shares_few_of_them() {
    let mut story = in_a_crowd(10_000, Duration::from_millis(100));
    for second in 0..20u16 {
        let moved = format!("192.0.2.1:{}", second + 2);
        story.paths.handle_peer(PEER, view(&[&moved]), story.now);
        story.settle();
        story.run(1_000);
    }
    // One twentieth of twenty seconds is ten looks.
    assert!((8..=10).contains(&story.looks), "{} looks", story.looks);
    assert!(
        story.log.iter().any(|line| line.contains("192.0.2.1:")),
        "and still it is followed: {:?}",
        story.log
    );
}

#[test]
fn with_few_peers_a_look_that_was_held_up_delays_nothing() {
    let mut story = in_a_crowd(8, Duration::from_secs(2));
    let began = story.now.as_millis();
    story.paths.handle_peer(PEER, view(&["192.0.2.2:2"]), story.now);
    story.settle();
    story.run(100);
    story.check(&[&format!("{began} Move 192.0.2.2:2")]);
}

#[test]
fn a_peer_that_is_new_in_a_delta_needs_no_look_before_its_first_address_had_its_time() {
    let mut story = in_a_crowd(0, Duration::ZERO);
    let key = WgPublicKey::from_bytes([9; 32]);
    let (host, map) = (MemberId::from_bytes([9; 16]), map_of(MemberId::from_bytes([9; 16]), key));
    story.paths.handle_map_peers(&map, &BTreeSet::from([host]), &BTreeSet::from([key]), story.now);
    let endpoint = story.paths.endpoint(&key);
    story.device.peers.insert(key, ActualPeer { endpoint, ..ActualPeer::default() });
    story.settle();
    story.run(499);
    assert_eq!(story.looks, 0);
    // Its peer's initiation has come, from another address: its session is about to be made.
    let there = story.device.peers.get_mut(&key).unwrap();
    (there.endpoint, there.rx) = (Some(at("192.0.2.7:7")), 148);
    story.run(1);
    assert_eq!(story.looks, 1);
    story.check(&[]);
}

fn map_of(host: MemberId, key: WgPublicKey) -> HostMap {
    let peer = Peer {
        name: model::HostName::nearest("new"),
        key: Some(key),
        nodes: vec![],
        seen: vec![at("192.0.2.6:6")],
        local: vec![],
        fixed: None,
        nat: NatMapping::Endpoint,
    };
    let own = wire::OwnHost {
        id: model::HostId::from_bytes([1; 16]),
        name: model::HostName::nearest("own"),
        mtu: Mtu::DEFAULT,
        seen: vec![],
        nat: NatMapping::Unknown,
        rotate: false,
    };
    HostMap {
        generation: model::Generation::from_number(1),
        host: own,
        server: wire::ServerLinks::default(),
        networks: BTreeMap::new(),
        peers: BTreeMap::from([(host, peer)]),
    }
}

#[test]
fn a_device_that_cannot_be_read_is_asked_for_again_without_haste() {
    let mut story = Story::with_peer(&["192.0.2.1:1"]);
    let mut looks = 0;
    while let Some((deadline, _)) =
        story.paths.poll_deadline().filter(|(deadline, _)| deadline.as_secs() < 10)
    {
        story.now = deadline;
        story.paths.handle_deadline(deadline);
        while let Some(action) = story.paths.poll_action() {
            looks += usize::from(action == PathAction::Look);
        }
    }
    assert!((9..=11).contains(&looks), "{looks} looks in ten seconds");
}

#[test]
fn looks_that_are_in_vain_take_no_more_of_the_time_than_others() {
    for (took, most) in [(Duration::ZERO, 12), (Duration::from_secs(1), 3)] {
        let mut story = Story::with_peer(&["192.0.2.1:1"]);
        let mut looks = 0;
        while story.now < Duration::from_secs(60) {
            story.now += Duration::from_millis(400);
            story.paths.handle_deadline(story.now);
            story.paths.handle_amiss(story.now);
            while let Some(action) = story.paths.poll_action() {
                if action == PathAction::Look {
                    looks += 1;
                    story.paths.handle_unobserved(took, story.now);
                }
            }
        }
        assert!((2..=most).contains(&looks), "{looks} looks of {took:?} in a minute");
    }
}

#[test]
fn a_peer_that_is_gone_leaves_nothing() {
    let mut story = Story::with_peer(&["192.0.2.1:1"]);
    story.paths.handle_gone(&PEER);
    assert_eq!(story.paths.poll_deadline(), None);
    assert_eq!(story.paths.poll_action(), None);
    assert_eq!(story.paths.endpoint(&PEER), None);
}

#[test]
fn actions_are_ops_on_peers_that_the_interface_has() {
    let peer = DesiredPeer { allowed: BTreeSet::new(), keepalive: Keepalive::DEFAULT, endpoint: None };
    let interface = Interface {
        kind: LinkKind::Kernel,
        mtu: Mtu::DEFAULT,
        port: 1,
        addresses: BTreeSet::new(),
        routes: BTreeMap::new(),
        peers: BTreeMap::from([(PEER, peer.clone())]),
        firewall: None,
        forwards: false,
        tunnel: None,
    };
    let there = at("192.0.2.1:1");
    let fresh = DesiredPeer { endpoint: Some(there), ..peer };
    let restart = PathAction::Point(PEER, there, Pointing::Restart).ops(&interface);
    assert_eq!(restart, [Op::RemovePeer(PEER), Op::AddPeer(PEER, fresh)]);
    let moved = PathAction::Point(PEER, there, Pointing::Move).ops(&interface);
    assert_eq!(moved, [Op::SetEndpoint(PEER, there), Op::Poke(PEER, Keepalive::DEFAULT)]);
    assert_eq!(PathAction::Point(DOOR, there, Pointing::Restart).ops(&interface), []);
    assert_eq!(PathAction::Poke(DOOR).ops(&interface), []);
}
