//! What it costs to keep an interface, counted: a machine that is a value, and how often it was looked at.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Addresses, Generation, HostName, Mtu, NetworkId, Ranges, Timestamp, WgPublicKey};
use reconcile::{Around, FirewallLook, LinkKind, LinkLook, LinkName, Own};
use wire::{Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks};

use super::*;

mod clients;
mod shut;

const NETWORK: NetworkId = NetworkId::from_bytes([7; 16]);

/// What was done to the machine since the last time somebody asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    observed: usize,
    looked_at_link: usize,
    calls: usize,
    ops: Vec<String>,
}

/// A machine that is a value. It cannot be read, or has no room for a firewall, where it is told so.
#[derive(Default)]
struct Pretended(Mutex<(Actual, Done)>, AtomicBool, AtomicBool);

impl Hands for Pretended {
    async fn observe(&self) -> anyhow::Result<Actual> {
        let mut inner = self.0.lock().unwrap();
        inner.1.observed += 1;
        anyhow::ensure!(!self.1.load(Ordering::Relaxed), "it cannot be read");
        let mut actual = inner.0.clone();
        if let Some(device) = actual.link.as_mut().and_then(|link| link.device.as_mut()) {
            device.at = Timestamp::from_millis(1_800_000_000_000);
        }
        Ok(actual)
    }

    async fn look_at_link(&self) -> anyhow::Result<Look> {
        let mut inner = self.0.lock().unwrap();
        inner.1.looked_at_link += 1;
        let link = inner.0.link.clone().map(|link| LinkLook {
            index: link.index,
            up: link.up,
            mtu: link.mtu,
            addresses: link.addresses,
            routes: link.routes,
        });
        Ok(Look { link, surroundings: inner.0.surroundings.clone() })
    }

    async fn execute_all(&self, ops: &[Op], _: &WgSecret) -> Vec<anyhow::Result<()>> {
        let mut inner = self.0.lock().unwrap();
        inner.1.calls += usize::from(!ops.is_empty());
        let no_room = self.2.load(Ordering::Relaxed);
        let mut gate = reconcile::Gate::default();
        let each = |op: &Op| {
            gate.ask(op)?;
            let fails = match op {
                Op::Around(Around::SetFirewall(..)) => no_room,
                Op::Around(Around::ChangeFirewall(had, ..)) => {
                    no_room || inner.0.surroundings.firewall != Some(FirewallLook::Intact(*had))
                }
                _ => false,
            };
            gate.tell(op, !fails);
            anyhow::ensure!(!fails, "it cannot be");
            inner.0.apply(op);
            inner.1.ops.push(op.to_string());
            Ok(())
        };
        ops.iter().map(each).collect()
    }
}

fn host(number: u16) -> MemberId {
    let mut bytes = [1; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    MemberId::from_bytes(bytes)
}

fn key(number: u16) -> WgPublicKey {
    let mut bytes = [2; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    WgPublicKey::from_bytes(bytes)
}

fn address(number: u16) -> Addresses {
    let [high, low] = number.to_be_bytes();
    Addresses { v4: Some([10, 88, high, low].into()), v6: None }
}

fn peer(number: u16) -> Peer {
    Peer {
        name: HostName::nearest("peer"),
        key: Some(key(number)),
        nodes: vec![PeerNode::new(NETWORK, address(number))],
        seen: vec!["192.0.2.1:51820".parse().unwrap()],
        local: Vec::new(),
        fixed: None,
        nat: NatMapping::Endpoint,
    }
}

fn map(peers: u16) -> HostMap {
    let ranges = Ranges::new(Some("10.88.0.0/16".parse().unwrap()), None).unwrap();
    let membership =
        Membership { addresses: address(0), ..Membership::plain("office".parse().unwrap(), ranges) };
    HostMap {
        generation: Generation::from_number(1),
        host: OwnHost {
            id: model::HostId::from_bytes(*host(0).as_bytes()),
            name: HostName::nearest("own"),
            mtu: Mtu::DEFAULT,
            seen: Vec::new(),
            nat: NatMapping::Endpoint,
            rotate: false,
        },
        server: ServerLinks::default(),
        networks: [(NETWORK, membership)].into(),
        peers: (1..=peers).map(|number| (host(number), peer(number))).collect(),
    }
}

/// An interface with this many peers that has come to rest.
async fn at_rest(map: &HostMap) -> Keeper<Pretended> {
    // Nothing is written where no setting of the kernel is changed.
    let kept = KeptFile::open("/nonexistent/sysctls.json".into()).unwrap();
    settled(map, Pretended::default(), kept).await
}

async fn settled(map: &HostMap, hands: Pretended, kept: KeptFile) -> Keeper<Pretended> {
    let secret = WgSecret::from_random([3; 32]);
    let local = LocalSettings {
        link: LinkName::default(),
        kind: LinkKind::Userspace,
        key: secret.public(),
        former: None,
        port: 51_820,
        mtu: None,
    };
    let mut keeper = Keeper::new(hands, local, secret, kept, Actual::default(), Instant::now());
    keeper.paths.handle_own(Own::default(), Duration::ZERO);
    keeper.paths.handle_map(map, ["192.0.2.77/24".parse().unwrap()].into(), keeper.now());
    keeper.settle(map).await;
    while keeper.follow_paths().await.is_some() {}
    assert_eq!(keeper.failures(), []);
    done(&keeper);
    keeper
}

fn done(keeper: &Keeper<Pretended>) -> Done {
    std::mem::take(&mut keeper.hands.0.lock().unwrap().1)
}

/// The map says this of one host; all that follows at once.
async fn follow(keeper: &mut Keeper<Pretended>, map: &mut HostMap, number: u16, says: Option<Peer>) {
    let mut keys: BTreeSet<WgPublicKey> = says.iter().filter_map(|peer| peer.key).collect();
    let before = match says {
        Some(peer) => map.peers.insert(host(number), peer),
        None => map.peers.remove(&host(number)),
    };
    keys.extend(before.and_then(|peer| peer.key));
    let hosts = BTreeSet::from([host(number)]);
    keeper.paths.handle_map_peers(map, &hosts, &keys, keeper.now());
    keeper.settle_peers(map, &hosts).await;
    while keeper.follow_paths().await.is_some() {}
}

fn is_as_derived_anew(keeper: &Keeper<Pretended>, map: &HostMap) {
    let anew = reconcile::desired(map, &keeper.local, &Circumstances::default());
    let actual = keeper.hands.0.lock().unwrap().0.clone();
    // Endpoints are the paths' own.
    let ops: Vec<Op> = reconcile(&anew, &actual);
    assert_eq!(ops, []);
    assert!(keeper.actual.device().unwrap().peers.keys().eq(actual.device().unwrap().peers.keys()));
}

#[tokio::test]
async fn one_peer_that_comes_changes_or_goes_costs_one_op_and_no_look() {
    let mut map = map(300);
    let mut keeper = at_rest(&map).await;

    follow(&mut keeper, &mut map, 301, Some(peer(301))).await;
    let came = done(&keeper);
    assert_eq!((came.observed, came.looked_at_link, came.ops.len()), (0, 0, 1), "{came:?}");

    let renamed = Peer { name: HostName::nearest("other"), ..peer(17) };
    follow(&mut keeper, &mut map, 17, Some(renamed)).await;
    assert_eq!(done(&keeper), Done::default());

    let moved = Peer { nodes: vec![PeerNode::new(NETWORK, address(999))], ..peer(17) };
    follow(&mut keeper, &mut map, 17, Some(moved)).await;
    let changed = done(&keeper);
    assert_eq!((changed.observed, changed.looked_at_link, changed.ops.len()), (0, 0, 2), "{changed:?}");

    follow(&mut keeper, &mut map, 5, None).await;
    let left = done(&keeper);
    assert_eq!(left.ops, [Op::RemovePeer(key(5)).to_string()]);
    assert_eq!((left.observed, left.looked_at_link), (0, 0));
    is_as_derived_anew(&keeper, &map);
}

#[tokio::test]
async fn what_many_paths_want_at_the_same_time_is_handed_over_together() {
    let map = map(200);
    let mut keeper = at_rest(&map).await;
    // The first and only address of each has had its time.
    keeper.paths.handle_deadline(Duration::from_secs(5));
    assert_eq!(keeper.follow_paths().await, Some(Followed::Look));
    let tried = done(&keeper);
    assert_eq!((tried.observed, tried.calls), (1, 0));
    assert_eq!(keeper.follow_paths().await, Some(Followed::Changes));
    let tried = done(&keeper);
    assert_eq!((tried.observed, tried.calls, tried.ops.len()), (0, 1, 400));
    assert_eq!(keeper.follow_paths().await, None);
}

#[tokio::test]
async fn an_address_that_changes_hands_leaves_its_old_peer_first() {
    let mut map = map(20);
    let mut keeper = at_rest(&map).await;
    let taking = Peer { nodes: vec![PeerNode::new(NETWORK, address(9))], ..peer(3) };
    follow(&mut keeper, &mut map, 3, Some(taking)).await;
    is_as_derived_anew(&keeper, &map);
    follow(&mut keeper, &mut map, 3, None).await;
    is_as_derived_anew(&keeper, &map);
    assert_eq!(done(&keeper).observed, 0);
}

#[tokio::test]
async fn a_notice_about_the_link_does_not_read_the_device_and_mends_the_link() {
    let mut keeper = at_rest(&map(50)).await;
    keeper.hands.0.lock().unwrap().0.apply(&Op::RemoveAddress("10.88.0.0/32".parse().unwrap()));
    assert!(keeper.look_at_link().await);
    let mended = done(&keeper);
    assert_eq!((mended.observed, mended.looked_at_link), (0, 1));
    assert_eq!(mended.ops, ["add address 10.88.0.0", "add route 10.88.0.0/16 from 10.88.0.0"]);
    assert!(keeper.look_at_link().await);
    assert_eq!(done(&keeper), Done { looked_at_link: 1, ..Done::default() });
}

#[tokio::test]
async fn a_link_that_is_another_one_is_looked_at_wholly() {
    let mut keeper = at_rest(&map(50)).await;
    keeper.hands.0.lock().unwrap().0 = Actual::default();
    assert!(keeper.look_at_link().await);
    let remade = done(&keeper);
    assert_eq!(remade.observed, 1);
    assert_eq!(remade.ops[..2], ["set the firewall", "create link, userspace WireGuard"]);
    assert_eq!(remade.ops.iter().filter(|op| op.starts_with("add peer")).count(), 50);

    keeper.hands.0.lock().unwrap().0.link.as_mut().unwrap().index += 1;
    assert!(keeper.look_at_link().await);
    assert_eq!(done(&keeper).observed, 1);
}

#[tokio::test]
async fn an_interface_of_somebody_else_is_never_touched_whatever_the_map_says() {
    let mut map = map(3);
    let mut keeper = at_rest(&map).await;
    let strangers = WgPublicKey::from_bytes([99; 32]);
    keeper.hands.0.lock().unwrap().0.apply(&Op::SetKey(strangers));
    assert!(keeper.look().await);
    assert!(keeper.failures()[0].error.contains("not ours"), "{:?}", keeper.failures());
    follow(&mut keeper, &mut map, 4, Some(peer(4))).await;
    follow(&mut keeper, &mut map, 1, None).await;
    keeper.paths.handle_own(Own::default(), keeper.now());
    keeper.follow_paths().await;
    keeper.look_at_link().await;
    assert_eq!(done(&keeper).ops, Vec::<String>::new());
}

#[tokio::test]
async fn a_link_that_is_another_one_and_cannot_be_read_gets_no_peers_and_is_not_read_at_each_notice() {
    let mut keeper = at_rest(&map(3)).await;
    keeper.hands.0.lock().unwrap().0.link.as_mut().unwrap().index += 1;
    keeper.hands.1.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        keeper.look_at_link().await;
        keeper.paths.handle_deadline(Duration::from_secs(1));
        keeper.paths.handle_server_back(Duration::from_secs(1));
        keeper.follow_paths().await;
    }
    let vain = done(&keeper);
    assert_eq!((vain.observed, vain.ops), (1, Vec::new()));
    assert_eq!(keeper.failures()[0].error, "it cannot be read");
}

#[tokio::test]
async fn a_link_made_anew_has_the_endpoints_that_the_paths_have_now() {
    let mut map = map(3);
    let mut keeper = at_rest(&map).await;
    let there = "192.0.2.9:9".parse().unwrap();
    map.peers.get_mut(&host(2)).unwrap().seen = vec![there];
    keeper.paths.handle_map(&map, ["192.0.2.77/24".parse().unwrap()].into(), keeper.now());
    keeper.paths.handle_deadline(Duration::from_secs(5));
    while keeper.follow_paths().await.is_some() {}
    let now = keeper.paths.endpoint(&key(2));
    keeper.hands.0.lock().unwrap().0 = Actual::default();
    assert!(keeper.look_at_link().await);
    let actual = keeper.hands.0.lock().unwrap().0.clone();
    assert_eq!((actual.device().unwrap().peers[&key(2)].endpoint, now), (Some(there), Some(there)));
}

#[tokio::test]
async fn a_host_with_a_new_key_is_one_change_and_is_where_it_was() {
    let mut map = map(20);
    let mut keeper = at_rest(&map).await;
    let there = "198.51.100.7:4242".parse().unwrap();
    {
        let mut inner = keeper.hands.0.lock().unwrap();
        let device = inner.0.link.as_mut().and_then(|link| link.device.as_mut()).unwrap();
        let peer = device.peers.get_mut(&key(7)).unwrap();
        peer.endpoint = Some(there);
        peer.last_handshake = Some(Timestamp::from_millis(1_799_999_990_000));
    }
    assert!(keeper.look().await);
    done(&keeper);
    follow(&mut keeper, &mut map, 7, Some(Peer { key: Some(key(777)), ..peer(7) })).await;
    let changed = done(&keeper);
    assert_eq!((changed.observed, changed.calls, changed.ops.len()), (0, 1, 2), "{changed:?}");
    assert_eq!(changed.ops[0], Op::RemovePeer(key(7)).to_string());
    assert!(changed.ops[1].ends_with("at 198.51.100.7:4242"), "{changed:?}");
    is_as_derived_anew(&keeper, &map);
}

#[tokio::test]
async fn a_device_takes_the_new_key_stays_the_same_link_and_may_have_the_former_again() {
    let map = map(3);
    let mut keeper = at_rest(&map).await;
    let index = keeper.actual().link.as_ref().unwrap().index;
    let (old, new) = (keeper.secret.clone(), WgSecret::from_random([8; 32]));
    for secret in [&new, &old] {
        keeper.set_key(secret.clone());
        assert!(!keeper.has_its_key());
        keeper.settle(&map).await;
        assert!(keeper.has_its_key());
        let ops: Vec<String> = done(&keeper).ops;
        assert_eq!(ops, [Op::SetKey(secret.public()).to_string()]);
    }
    assert_eq!(keeper.actual().link.as_ref().unwrap().index, index);
    keeper.poke_all().await;
    assert_eq!(done(&keeper).ops.len(), 3);
}

/// A map in which this host leads to a range.
fn gateway(peers: u16) -> HostMap {
    let mut map = map(peers);
    let range = wire::Net("192.168.7.0/24".parse().unwrap());
    let duty = wire::EgressDuty { id: host(900), range, mapped: None, nat: true };
    map.networks.get_mut(&NETWORK).unwrap().egress.push(duty);
    map
}

const FORWARD: &str = "net/ipv4/ip_forward";

/// A machine that passes nothing on.
fn closed() -> Pretended {
    let pretended = Pretended::default();
    let sysctls = [(FORWARD, "0"), ("net/ipv4/conf/all/accept_redirects", "1")];
    pretended.0.lock().unwrap().0.surroundings.sysctls =
        sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    pretended
}

fn forwards(keeper: &Keeper<Pretended>) -> String {
    keeper.hands.0.lock().unwrap().0.surroundings.sysctls[FORWARD].clone()
}

#[tokio::test]
async fn what_a_setting_was_is_on_disk_before_it_is_changed_and_until_it_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sysctls.json");
    let mut map = gateway(3);
    let mut keeper = settled(&map, closed(), KeptFile::open(path.clone()).unwrap()).await;
    assert_eq!(forwards(&keeper), "1");
    assert_eq!(KeptFile::open(path.clone()).unwrap().kept().0[FORWARD], "0");

    // Nothing is led to any more: it is put back, and nothing is left of it.
    map.networks.get_mut(&NETWORK).unwrap().egress.clear();
    keeper.settle(&map).await;
    assert_eq!((forwards(&keeper).as_str(), path.exists()), ("0", false));
}

#[tokio::test]
async fn a_process_that_was_killed_leaves_what_the_next_one_puts_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sysctls.json");
    let map = gateway(3);
    let mut keeper = settled(&map, closed(), KeptFile::open(path.clone()).unwrap()).await;
    let machine = std::mem::take(&mut keeper.hands);
    drop(keeper);
    let mut kept = KeptFile::open(path.clone()).unwrap();
    let mut identity = crate::state::Identity::generate(None).unwrap();
    identity.wireguard = WgSecret::from_random([3; 32]);
    assert!(crate::hands::take_down(&machine, &LinkName::default(), &identity, &mut kept).await.unwrap());
    let actual = machine.0.lock().unwrap().0.clone();
    assert_eq!((actual.link, actual.surroundings.sysctls[FORWARD].as_str()), (None, "0"));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_setting_that_could_not_be_written_down_is_not_changed_and_that_is_told() {
    let map = gateway(3);
    let nowhere = KeptFile::open("/proc/nowhere/sysctls.json".into()).unwrap();
    let secret = WgSecret::from_random([3; 32]);
    let local = LocalSettings {
        link: LinkName::default(),
        kind: LinkKind::Userspace,
        key: secret.public(),
        former: None,
        port: 51_820,
        mtu: None,
    };
    let mut keeper = Keeper::new(closed(), local, secret, nowhere, Actual::default(), Instant::now());
    keeper.settle(&map).await;
    assert_eq!(forwards(&keeper), "0");
    assert!(keeper.failures()[0].op.contains("settings of the kernel"), "{:?}", keeper.failures());
    assert!(keeper.actual().device().is_some());
}

#[tokio::test]
async fn a_range_that_is_the_machine_s_own_lan_is_told_and_left_out() {
    let mut map = map(2);
    let node = PeerNode {
        ranges: vec![wire::Net("192.168.7.0/24".parse().unwrap())],
        via: vec![model::HostId::from_bytes(*host(1).as_bytes())],
        ..PeerNode::new(NETWORK, Addresses::default())
    };
    map.peers.insert(host(900), Peer { key: None, nodes: vec![node], ..peer(900) });
    let mut keeper = at_rest(&map).await;
    assert_eq!(keeper.left_out(), []);
    keeper.set_addresses(["192.168.7.9/24".parse().unwrap()].into());
    keeper.settle(&map).await;
    assert!(keeper.left_out()[0].error.contains("own LAN"), "{:?}", keeper.left_out());
    assert_eq!(keeper.failures(), []);
}
