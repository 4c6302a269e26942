//! The engine between two devices on loopback, without interfaces: what `wg` cannot see or do at the right moment.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use gotatun::tun::MtuWatcher;
use gotatun::tun::channel::{TunChannelRx, TunChannelTx};
use gotatun::udp::channel::{UdpChannelFactory, new_udp_tun_channel};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::*;
use crate::device::udp::Sockets;

const DEADLINE: Duration = Duration::from_secs(20);
/// gotatun looks after its peers four times a second.
const TWO_TICKS: Duration = Duration::from_millis(600);
const INITIATION: usize = 148;

mod rotation;

/// Machine n is 10.0.0.n.
struct Machine {
    engine: Engine<(Sockets, TunChannelTx, TunChannelRx)>,
    key: String,
    interface: UdpChannelFactory,
}

impl Machine {
    async fn new(number: u8) -> Self {
        let mtu = MtuWatcher::new(1420);
        let (writer, reader, interface) =
            new_udp_tun_channel(8, Ipv4Addr::new(10, 0, 0, number), Ipv6Addr::LOCALHOST, mtu);
        let engine = Engine::start(Sockets::new(), (writer, reader)).await.unwrap();
        let mut machine = Self { engine, key: String::new(), interface };
        machine.set_key(number).await;
        machine
    }

    async fn set_key(&mut self, number: u8) {
        let private = [number; 32];
        self.set(&format!("private_key={}\n", hex(&private))).await;
        self.key = hex(&Point::from(&StaticSecret::from(private)).to_bytes());
    }

    async fn set(&mut self, what: &str) {
        assert_eq!(self.engine.answer(&format!("set=1\n{what}\n")).await, "errno=0\n\n");
    }

    async fn get(&mut self) -> String {
        self.engine.answer("get=1\n\n").await
    }

    async fn addr(&self) -> SocketAddr {
        let port = self.engine.device.read(async |d| d.listen_port()).await;
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Where gotatun believes a peer to be; the engine does not learn it by this.
    async fn truth(&self, peer: &str) -> Option<SocketAddr> {
        let stats = self.engine.device.peers().await;
        let is_it =
            |stats: &&gotatun::device::configure::PeerStats| hex(stats.peer.public_key.as_bytes()) == peer;
        stats.iter().find(is_it).unwrap().peer.endpoint
    }

    async fn has_session(&self) -> bool {
        let stats = self.engine.device.peers().await;
        stats.iter().any(|peer| peer.stats.last_handshake.is_some())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !happened().await {
        assert!(began.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two machines with a session; the first knows where the second is, and the second has learned it.
async fn two_machines() -> (Machine, Machine) {
    let (mut a, mut b) = (Machine::new(1).await, Machine::new(2).await);
    b.set(&format!("public_key={}\nallowed_ip=10.0.0.1/32\n", a.key)).await;
    a.set(&format!(
        "public_key={}\nallowed_ip=10.0.0.2/32\nendpoint={}\npersistent_keepalive_interval=3600\n",
        b.key,
        b.addr().await
    ))
    .await;
    eventually("the session", async || a.has_session().await && b.has_session().await).await;
    (a, b)
}

#[tokio::test]
async fn a_peer_that_has_moved_by_itself_is_set_back_to_where_it_was_set_before() {
    let (mut a, mut b) = two_machines().await;
    let first = b.addr().await;
    for others in [0, WORTH_LISTING] {
        let others: Vec<String> = (100..).take(others).map(|i| hex(&[i; 32])).collect();
        let others: String =
            others.iter().map(|key| format!("public_key={key}\nendpoint=127.0.0.1:9\n")).collect();
        a.set(&format!("{others}public_key={}\nupdate_only=true\nendpoint={first}\n", b.key)).await;
        assert_eq!(a.truth(&b.key).await, Some(first));
        // Another port, and one keepalive from there.
        let poke = |seconds| format!("public_key={}\npersistent_keepalive_interval={seconds}\n", a.key);
        b.set(&format!("listen_port=0\n{}{}", poke(0), poke(3600))).await;
        let moved = b.addr().await;
        assert_ne!(moved, first);
        eventually("the move", async || a.truth(&b.key).await == Some(moved)).await;

        a.set(&format!("{others}public_key={}\nendpoint={first}\n", b.key)).await;
        assert_eq!(a.truth(&b.key).await, Some(first));
        assert!(a.get().await.contains(&format!("endpoint={first}\n")));
        assert!(a.has_session().await);
    }
}

#[tokio::test]
async fn where_a_peer_is_is_shown_when_it_has_moved_and_forgotten_when_it_is_to_be_as_new() {
    let (a, mut b) = two_machines().await;
    let seen = format!("endpoint={}\n", a.addr().await);
    b.set(&format!("public_key={}\nallowed_ip=10.0.0.7/32\n", a.key)).await;
    assert!(b.get().await.contains(&seen), "nobody said where it is");
    b.set(&format!("replace_peers=true\npublic_key={}\nendpoint=127.0.0.1:9\n", a.key)).await;
    b.set(&format!("replace_peers=true\npublic_key={}\n", a.key)).await;
    let shown = b.get().await;
    assert!(!shown.contains("endpoint=") && !shown.contains("allowed_ip="), "{shown}");
    assert!(b.has_session().await);
}

/// gotatun gives a peer up after ninety seconds without an answer, and no clock of its can be set. Taking its session
/// away with the key leaves it in the same state for us: kept alive, not due, and no attempt under way.
#[tokio::test]
async fn a_peer_that_is_kept_alive_and_given_up_is_tried_again_at_the_next_upkeep() {
    let (mut a, b) = two_machines().await;
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = silent.local_addr().unwrap();
    a.set(&format!("public_key={}\nendpoint={endpoint}\n", b.key)).await;
    while a.engine.nudges.join_next().await.is_some() {}
    a.set(&format!("private_key={}\n", hex(&[3; 32]))).await;
    assert!(!a.has_session().await);
    let mut datagram = [0; 2000];
    let by_itself = timeout(TWO_TICKS, silent.recv(&mut datagram)).await;
    assert!(by_itself.is_err(), "the test does not test upkeep");

    a.engine.upkeep().await;
    let length = timeout(DEADLINE, silent.recv(&mut datagram)).await.unwrap().unwrap();
    assert_eq!((length, datagram[0]), (INITIATION, 1));
}

#[tokio::test]
async fn a_peer_that_is_looked_for_elsewhere_or_poked_is_tried_at_once() {
    let (mut a, b) = two_machines().await;
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = silent.local_addr().unwrap();
    let mut datagram = [0; 2000];
    let changes = [format!("endpoint={endpoint}\n"), "persistent_keepalive_interval=3601\n".to_owned()];
    for (change, key) in changes.iter().zip(3..) {
        // The sessions and attempts go with the key.
        a.set(&format!("private_key={}\n", hex(&[key; 32]))).await;
        a.set(&format!("public_key={}\n{change}", b.key)).await;
        let length = timeout(DEADLINE, silent.recv(&mut datagram)).await.unwrap().unwrap();
        assert_eq!((length, datagram[0]), (INITIATION, 1), "{change}");
    }
}

#[tokio::test]
async fn peers_that_come_and_go_leave_nothing_behind() {
    const ROUNDS: usize = 300;
    let mut a = Machine::new(1).await;
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = silent.local_addr().unwrap();
    let peer = Point::from(&StaticSecret::from([9; 32]));
    let key = hex(peer.as_bytes());
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut waiting = JoinSet::new();
    let mut datagram = [0; 2000];
    for round in 0..ROUNDS {
        a.set(&format!(
            "public_key={key}\nremove=true\npublic_key={key}\nallowed_ip=10.0.{}.{}/32\n\
             persistent_keepalive_interval=25\npublic_key={key}\nendpoint={endpoint}\n",
            round / 250,
            round % 250
        ))
        .await;
        timeout(DEADLINE, silent.recv(&mut datagram)).await.unwrap().unwrap();
        // It ends when gotatun has nothing of this peer any more.
        let device = Arc::clone(&a.engine.device);
        waiting.spawn(async move { device.force_handshake(&peer).await });
        tokio::task::yield_now().await;
    }
    assert_eq!(a.get().await.matches("allowed_ip=").count(), 1);
    a.set(&format!("public_key={key}\nremove=true\n")).await;
    assert!(a.engine.table.is_empty() && !a.get().await.contains("public_key="));
    while let Some(ended) = timeout(DEADLINE, waiting.join_next()).await.unwrap() {
        assert!(matches!(ended.unwrap(), Err(Error::PeerNotFound)));
    }
    eventually("the end of all nudges", async || Handle::current().metrics().num_alive_tasks() <= tasks)
        .await;
    a.engine.stop().await;
}
