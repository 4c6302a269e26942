//! What does not change loses no packet, whatever changes beside it: other peers, sets of the firewall, the whole firewall,
//! other routes; nor because the device gets no turn for a moment.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use model::{Keepalive, Mtu, WgPublicKey};
use platform::Machine;
use reconcile::{
    AddressSet, Around, DesiredPeer, FIREWALL_MARK, Filter, Firewall, Grant, LinkKind, Need, Op, Ports,
    Route, Service, Services, SetChange, SetChanges, SetId, Side,
};
use wire::WgSecret;

use crate::common::{device_processes, eventually, inside, ip, machine, our_device, output, run, secret};
use crate::firewall_stage::At;
use crate::stream::Stream;

/// This machine and a peer, and no way to anywhere else: who is said to be elsewhere is out of reach.
const STAGE: &str = "mkdir -p /run/netns; ip netns add peer; ip -n peer link set lo up; \
     ip link add eth0 type veth peer name eth0 netns peer; ip link set eth0 up; ip -n peer link set eth0 up; \
     ip address add 192.0.2.1/24 dev eth0; ip -n peer address add 192.0.2.2/24 dev eth0";
const PORT: u16 = 4001;
/// How long all changes.
const LONG: Duration = Duration::from_secs(8);
/// Peers that come in one round; as many are changed, and as many go.
const AT_ONCE: u32 = 16;
/// Rounds that a peer stays.
const STAY: u32 = 60;

fn key(number: u32) -> WgPublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    WgPublicKey::from_bytes(bytes)
}

fn net(number: u32, second: u8) -> IpNet {
    let [_, _, third, fourth] = number.to_be_bytes();
    IpNet::from(IpAddr::from(Ipv4Addr::new(10, second, third, fourth)))
}

/// What the peer has all the while.
fn own_nets() -> BTreeSet<IpNet> {
    ["10.20.0.2/32".parse().unwrap()].into()
}

/// Somebody else, who is looked for where nobody is.
fn stranger(number: u32) -> DesiredPeer {
    let endpoint = format!("198.51.100.{}:51820", number % 250).parse().unwrap();
    DesiredPeer { allowed: [net(number, 21)].into(), keepalive: Keepalive::DEFAULT, endpoint: Some(endpoint) }
}

/// The other end of the stream: a device of its own.
struct Peer(Child);

impl Peer {
    fn start(secret: &WgSecret, us: &WgPublicKey) -> Self {
        let device = our_device().display().to_string();
        let child = Command::new("ip").args(["netns", "exec", "peer", &device, "peer0"]).spawn().unwrap();
        let peer = Self(child);
        let deadline = Instant::now() + Duration::from_secs(15);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let set = format!(
            "set=1\nprivate_key={}\nlisten_port=51820\npublic_key={}\nallowed_ip=10.20.0.1/32\n\n",
            hex(secret.expose()),
            hex(us.as_bytes())
        );
        let mut socket = loop {
            match UnixStream::connect("/run/wireguard/peer0.sock") {
                Ok(socket) => break socket,
                Err(error) => assert!(Instant::now() < deadline, "the peer's device does not start: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        socket.write_all(set.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "errno=0\n\n");
        assert!(run("ip -n peer address add 10.20.0.2/16 dev peer0 && ip -n peer link set peer0 up"));
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What lets the peer in for the stream's sake, and strangers by a set that they come into and leave. It is one of two, that
/// differ in what is none of the stream's business.
fn firewall(round: u32) -> Firewall {
    let only = |port| Services::Only(vec![Service::Udp(Ports::one(port))]);
    let own = || Side::Nets(["10.20.0.1/32".parse::<IpNet>().unwrap()].into_iter().collect());
    let grant = |set, port| Grant { from: Side::Set(SetId(set)), to: own(), services: only(port) };
    let mut input = vec![grant(1, PORT), grant(2, PORT + 1)];
    let known = AddressSet::from_iter(["10.20.0.2/32".parse::<IpNet>().unwrap()]);
    let strangers = AddressSet::from_iter((0..50 + round % 50).map(|number| net(number, 22)));
    let mut sets = vec![(SetId(1), known), (SetId(2), strangers.clone())];
    if round.is_multiple_of(2) {
        input.insert(0, grant(0, PORT + 2));
        sets.push((SetId(0), strangers));
    }
    Firewall {
        sets: sets.into_iter().collect(),
        input: Filter::Only(input),
        forward: Filter::Only(Vec::new()),
        inside: ["10.20.0.0/16".parse().unwrap()].into(),
        clamp: round.is_multiple_of(3),
        ..Firewall::default()
    }
}

/// A link with this peer.
fn beginning(known: WgPublicKey, firewall: &Firewall) -> Vec<Op> {
    let peer = DesiredPeer {
        allowed: own_nets(),
        keepalive: Keepalive::DEFAULT,
        endpoint: Some("192.0.2.2:51820".parse().unwrap()),
    };
    vec![
        Op::CreateLink(LinkKind::Userspace),
        Op::SetKey(secret().public()),
        Op::SetPort(51820),
        Op::SetMark(FIREWALL_MARK),
        Op::SetMtu(Mtu::DEFAULT),
        Op::AddAddress(ip("10.20.0.1")),
        Op::SetUp,
        Around::SetFirewall(Arc::new(firewall.clone()), Need::Essential).into(),
        Op::AddRoute(Route::ours("10.20.0.0/16".parse().unwrap(), ip("10.20.0.1"))),
        Op::AddPeer(known, peer),
    ]
}

/// The changes of one round. The peer itself has its share of them: addresses behind it come and go, one of a stranger's among
/// them.
fn changes(round: u32, known: WgPublicKey, firewall: &mut Firewall) -> Vec<Op> {
    let numbers = |ago: u32| round.checked_sub(ago).map(|round| round * AT_ONCE..(round + 1) * AT_ONCE);
    let mut ops = Vec::new();
    for number in numbers(STAY).into_iter().flatten() {
        ops.push(Op::RemovePeer(key(number)));
    }
    for number in numbers(2).into_iter().flatten() {
        ops.push(Op::SetAllowed(key(number), [net(number, 21), net(number, 23)].into()));
    }
    ops.push(Op::SetAllowed(known, own_nets()));
    let (members, left) = ([net(round, 24)], round.checked_sub(1).map(|round| net(round, 24)));
    let remove = left.filter(|net| firewall.sets[&SetId(2)].has(*net)).into_iter().collect();
    let change = SetChanges(vec![SetChange { set: SetId(2), add: members.to_vec(), remove }]);
    ops.push(Around::ChangeFirewall(firewall.digest(), change.clone(), Need::Essential).into());
    firewall.change(&change);
    if round.is_multiple_of(4) {
        *firewall = self::firewall(round / 4);
        ops.push(Around::SetFirewall(Arc::new(firewall.clone()), Need::Essential).into());
    }
    for number in numbers(0).into_iter().flatten() {
        ops.push(Op::AddPeer(key(number), stranger(number)));
    }
    ops.push(Op::AllowMore(known, [net(round, 26), net(round * AT_ONCE, 21)].into()));
    for number in numbers(1).into_iter().flatten() {
        ops.push(Op::AllowMore(key(number), [net(number, 25)].into()));
        ops.push(Op::SetEndpoint(key(number), "203.0.113.9:51820".parse().unwrap()));
    }
    let route =
        |round: u32| Route::ours(format!("10.31.{}.0/24", round % 200).parse().unwrap(), ip("10.20.0.1"));
    ops.extend([Op::AddRoute(route(round)), Op::RemoveRoute(route(round + 199))]);
    ops
}

async fn carry_out(machine: &Machine, ops: &[Op]) {
    for (outcome, op) in machine.execute_all(ops, &secret()).await.into_iter().zip(ops) {
        outcome.unwrap_or_else(|error| panic!("{op}: {error:#}"));
    }
}

#[test]
fn a_stream_loses_nothing_while_others_come_and_go_and_the_firewall_changes() {
    inside(
        "steady::a_stream_loses_nothing_while_others_come_and_go_and_the_firewall_changes",
        STAGE,
        async || {
            let machine = machine(&our_device());
            let theirs = WgSecret::from_random([0x43; 32]);
            let _peer = Peer::start(&theirs, &secret().public());
            let mut firewall = firewall(0);
            carry_out(&machine, &beginning(theirs.public(), &firewall)).await;
            eventually("the tunnel", async || run("ping -q -c 1 -W 1 10.20.0.2 > /dev/null")).await;

            let (us, peer) = ((At::This, ip("10.20.0.1")), (At::Peer, ip("10.20.0.2")));
            let streams = [Stream::start(us, peer, PORT), Stream::start(peer, us, PORT)];
            let (start, mut round, mut done) = (Instant::now(), 0, 0);
            while start.elapsed() < LONG {
                let ops = changes(round, theirs.public(), &mut firewall);
                carry_out(&machine, &ops).await;
                (round, done) = (round + 1, done + ops.len());
            }
            let reports = streams.map(Stream::stop);
            let sent: u64 = reports.iter().map(|report| report.sent).sum();
            println!("{sent} datagrams while {done} changes were made in {round} rounds");
            assert!(reports.iter().all(|report| report.lost.is_empty()), "{reports:?}");
        },
    );
}

#[test]
fn a_burst_waits_for_a_device_that_gets_no_turn() {
    inside("steady::a_burst_waits_for_a_device_that_gets_no_turn", "", async || {
        let machine = machine(&our_device());
        let firewall = firewall(0);
        carry_out(&machine, &beginning(key(1), &firewall)).await;
        let [device] = device_processes()[..] else { panic!("one device") };
        assert!(run(&format!("kill -STOP {device}")));
        let socket = UdpSocket::bind("10.20.0.1:0").unwrap();
        for _ in 0..900 {
            socket.send_to(&[0; 100], "10.20.0.2:9").unwrap();
        }
        let statistics = output("ip -j -s link show netloom0 | tr -d '\n'");
        assert!(run(&format!("kill -CONT {device}")));
        let (_, sent) = statistics.split_once("\"tx\":").unwrap();
        assert!(sent.contains("\"dropped\":0,"), "{sent}");
    });
}
