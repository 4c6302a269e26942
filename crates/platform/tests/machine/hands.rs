//! Each op does to a real network what it means: `observe` after `execute` is what `Actual::apply` says.
//!
//! With our own userspace device, with wireguard-go where it is installed, and with the kernel's WireGuard where there is
//! one (in the virtual machine).

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use crate::common::{LINK, device_processes, inside, ip, machine, our_device, output, run, secret};
use ipnet::IpNet;
use model::{Endpoint, Keepalive, Mtu, WgPublicKey};
use platform::{Choice, Machine, udp_port_is_free};
use reconcile::{
    Actual, Desired, DesiredPeer, Device, FIREWALL_MARK, Interface, Link, LinkKind, Op, Route, reconcile,
};

fn key(byte: u8) -> WgPublicKey {
    WgPublicKey::from_bytes([byte; 32])
}

fn nets(all: &[&str]) -> BTreeSet<IpNet> {
    all.iter().map(|net| net.parse().unwrap()).collect()
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn peer(allowed: &[&str], at: Option<&str>) -> DesiredPeer {
    DesiredPeer { allowed: nets(allowed), keepalive: Keepalive::DEFAULT, endpoint: at.map(endpoint) }
}

fn route(destination: &str, source: &str) -> Route {
    Route::ours(destination.parse().unwrap(), ip(source))
}

/// One of each op at least, removals of what is there and of what is not.
fn life(kind: LinkKind) -> Vec<Op> {
    let seconds = Keepalive::new(33).unwrap();
    vec![
        Op::CreateLink(kind),
        Op::SetKey(secret().public()),
        Op::SetPort(51820),
        Op::SetMark(FIREWALL_MARK),
        Op::SetMtu(Mtu::new(1380).unwrap()),
        Op::AddAddress(ip("10.20.0.5")),
        Op::AddAddress(ip("fd20::5")),
        Op::SetUp,
        Op::AddPeer(key(3), peer(&["10.20.0.3/32", "fd20::3/128"], Some("127.0.0.1:7003"))),
        Op::AddPeer(key(4), peer(&["10.20.0.4/32"], Some("[::1]:7004"))),
        Op::AddPeer(key(6), peer(&[], None)),
        Op::AddRoute(route("10.20.0.0/16", "10.20.0.5")),
        Op::AddRoute(route("fd20::/64", "fd20::5")),
        Op::SetEndpoint(key(3), endpoint("127.0.0.1:7033")),
        Op::SetKeepalive(key(3), seconds),
        Op::Poke(key(3), seconds),
        Op::AllowMore(key(4), nets(&["10.20.0.40/32", "fd20::3/128"])),
        Op::SetAllowed(key(4), nets(&["10.20.0.40/32"])),
        Op::SetEndpoint(key(9), endpoint("127.0.0.1:7009")),
        Op::AllowMore(key(9), nets(&["10.20.0.9/32"])),
        Op::SetPort(51821),
        Op::SetMtu(Mtu::DEFAULT),
        Op::RemovePeer(key(4)),
        Op::RemovePeer(key(9)),
        Op::RemoveRoute(route("fd20::/64", "fd20::5")),
        Op::RemoveAddress("fd20::5/128".parse().unwrap()),
        Op::AddAddress(ip("10.20.0.6")),
        Op::RemoveAddress("10.20.0.5/32".parse().unwrap()),
        Op::DeleteLink,
    ]
}

/// Leaves out what is not the ops' doing: numbers, times, counters, and what the kernel adds on its own.
fn essence(mut actual: Actual) -> Actual {
    // Each link has its own, with which it comes and goes.
    actual.surroundings.sysctls.clear();
    let Some(link) = &mut actual.link else {
        return actual;
    };
    link.index = 0;
    link.routes.retain(Route::is_ours);
    link.addresses.retain(|net| !matches!(net, IpNet::V6(v6) if v6.addr().is_unicast_link_local()));
    let device = link.device.as_mut().expect("our link is a WireGuard device");
    device.at = Default::default();
    for peer in device.peers.values_mut() {
        (peer.rx, peer.tx, peer.last_handshake) = (0, 0, None);
    }
    actual
}

/// What a new device has before it is told: a port it may have chosen itself, and an MTU.
fn as_new(seen: &mut Link, expected: &Link, op: &Op) {
    if matches!(op, Op::CreateLink(_)) {
        seen.mtu = expected.mtu;
    }
    if let (Some(seen), Some(Device { port: 0, .. })) = (&mut seen.device, &expected.device) {
        seen.port = 0;
    }
}

async fn each_op_does_what_it_means(kind: LinkKind, program: &Path) {
    let machine = machine(program);
    let before = crate::common::picture();
    let mut expected = machine.observe().await.unwrap();
    assert_eq!(expected.link, None);
    let mut index = None;
    for op in life(kind) {
        for time in ["first", "second"] {
            machine.execute(&op, &secret()).await.unwrap_or_else(|error| panic!("{op}, {time}: {error:#}"));
            expected.apply(&op);
            let seen = machine.observe().await.unwrap();
            let seen_index = seen.link.as_ref().map(|link| link.index);
            index = index.or(seen_index);
            assert!(seen_index.is_none() || seen_index == index, "{op}, {time}: the link is another one");
            let mut seen = essence(seen);
            if let (Some(seen), Some(expected)) = (&mut seen.link, &expected.link) {
                as_new(seen, expected, &op);
            }
            assert_eq!(seen, essence(expected.clone()), "{op}, {time} time");
        }
    }
    assert_eq!(crate::common::picture(), before, "all is as it was before");
}

/// A desired state that ops in their right order make, at once and again after any drift.
async fn what_is_desired_comes_true(kind: LinkKind, program: &Path) {
    let machine = machine(program);
    let peers =
        (1..=200u8).map(|n| (key(n), peer(&[&format!("10.20.1.{n}/32"), &format!("fd20::1:{n}/128")], None)));
    let interface = Interface {
        kind,
        mtu: Mtu::DEFAULT,
        port: 51820,
        addresses: BTreeSet::from([ip("10.20.0.5"), ip("fd20::5")]),
        routes: [
            ("10.20.0.0/16".parse().unwrap(), ip("10.20.0.5")),
            ("fd20::/64".parse().unwrap(), ip("fd20::5")),
        ]
        .into(),
        peers: peers.collect(),
        firewall: None,
        forwards: false,
        tunnel: None,
    };
    let absent = Desired::absent(LINK.parse().unwrap(), secret().public());
    let desired = Desired { interface: Some(interface), ..absent };
    let converge = async |most_ops: usize| {
        let ops = reconcile(&desired, &machine.observe().await.unwrap());
        assert!(ops.len() <= most_ops, "{} ops", ops.len());
        for (outcome, op) in machine.execute_all(&ops, &secret()).await.into_iter().zip(&ops) {
            outcome.unwrap_or_else(|error| panic!("{op}: {error:#}"));
        }
        assert_eq!(reconcile(&desired, &machine.observe().await.unwrap()), []);
    };
    converge(usize::MAX).await;
    let index = machine.observe().await.unwrap().link.unwrap().index;

    // Strangers at work.
    let stranger = crate::common::machine(program);
    stranger.execute(&Op::RemovePeer(key(7)), &secret()).await.unwrap();
    stranger
        .execute(&Op::AllowMore(key(8), nets(&["10.20.1.9/32", "192.0.2.0/24"])), &secret())
        .await
        .unwrap();
    assert!(run(&format!(
        "ip address delete 10.20.0.5/32 dev {LINK} && ip address add 10.66.0.1/24 dev {LINK}"
    )));
    assert!(run(&format!("ip -6 route delete fd20::/64 dev {LINK} && ip link set {LINK} mtu 1300")));
    converge(12).await;
    assert!(run(&format!("ip link set {LINK} down")));
    converge(12).await;
    assert_eq!(machine.observe().await.unwrap().link.unwrap().index, index);

    assert!(run(&format!("ip link delete {LINK}")));
    converge(usize::MAX).await;
    let gone = Desired { interface: None, ..desired.clone() };
    let ops = reconcile(&gone, &machine.observe().await.unwrap());
    assert!(machine.execute_all(&ops, &secret()).await.iter().all(Result::is_ok));
    assert_eq!(machine.observe().await.unwrap().link, None);
}

#[test]
fn our_userspace_device_does_what_each_op_means() {
    inside("hands::our_userspace_device_does_what_each_op_means", "", async || {
        each_op_does_what_it_means(LinkKind::Userspace, &our_device()).await;
    });
}

#[test]
fn what_is_desired_comes_true_in_userspace_and_again_after_drift() {
    inside("hands::what_is_desired_comes_true_in_userspace_and_again_after_drift", "", async || {
        what_is_desired_comes_true(LinkKind::Userspace, &our_device()).await;
    });
}

#[test]
fn another_userspace_implementation_does_as_well_where_it_is_installed() {
    inside("hands::another_userspace_implementation_does_as_well_where_it_is_installed", "", async || {
        let other = output("command -v wireguard-go");
        // Ours stands in where there is no other, so that the test is never empty.
        let program = if other.is_empty() { our_device() } else { other.trim().into() };
        what_is_desired_comes_true(LinkKind::Userspace, &program).await;
    });
}

#[test]
fn the_kernels_wireguard_does_what_each_op_means_or_is_known_to_be_missing() {
    inside(
        "hands::the_kernels_wireguard_does_what_each_op_means_or_is_known_to_be_missing",
        "",
        async || {
            let machine = machine(&our_device());
            let before = crate::common::picture();
            let only = machine.kind(Choice::Only(LinkKind::Kernel)).await;
            let auto = machine.kind(Choice::Auto).await.unwrap();
            assert_eq!(crate::common::picture(), before, "looking leaves no trace");
            assert_eq!(machine.kind(Choice::Only(LinkKind::Userspace)).await.unwrap(), LinkKind::Userspace);
            if !crate::common::kernel_has_wireguard() {
                let text = only.unwrap_err().to_string();
                assert!(text.contains("modprobe wireguard"), "{text}");
                assert_eq!(auto, LinkKind::Userspace);
                let text = machine
                    .execute(&Op::CreateLink(LinkKind::Kernel), &secret())
                    .await
                    .unwrap_err()
                    .to_string();
                assert!(text.contains("no WireGuard"), "{text}");
                return;
            }
            assert_eq!((only.unwrap(), auto), (LinkKind::Kernel, LinkKind::Kernel));
            each_op_does_what_it_means(LinkKind::Kernel, &our_device()).await;
            what_is_desired_comes_true(LinkKind::Kernel, &our_device()).await;
            taken_port_is_told(LinkKind::Kernel, &our_device()).await;
        },
    );
}

#[test]
fn a_new_peer_hears_from_us_at_once() {
    inside("hands::a_new_peer_hears_from_us_at_once", "", async || {
        let machine = machine(&our_device());
        let kind = machine.kind(Choice::Auto).await.unwrap();
        let far_end = UdpSocket::bind("127.0.0.1:0").unwrap();
        far_end.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        let at = far_end.local_addr().unwrap().to_string();
        let wanted = peer(&["10.20.0.3/32"], Some(&at));
        let ops = [
            Op::CreateLink(kind),
            Op::SetKey(secret().public()),
            Op::SetPort(0),
            Op::SetUp,
            Op::AddPeer(wire::WgSecret::from_random([9; 32]).public(), wanted),
        ];
        for op in &ops {
            machine.execute(op, &secret()).await.unwrap_or_else(|error| panic!("{op}: {error:#}"));
        }
        let heard = tokio::task::spawn_blocking(move || {
            let mut datagram = [0; 200];
            let (length, _) = far_end.recv_from(&mut datagram).expect("a handshake comes");
            datagram[..length].to_vec()
        });
        let heard = heard.await.unwrap();
        assert_eq!((heard.len(), heard[0]), (148, 1), "a handshake initiation");
        machine.execute(&Op::DeleteLink, &secret()).await.unwrap();
    });
}

async fn taken_port_is_told(kind: LinkKind, program: &Path) {
    let machine: Machine = machine(program);
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert!(!udp_port_is_free(port));
    let first = [Op::CreateLink(kind), Op::SetKey(secret().public()), Op::SetPort(port), Op::SetUp];
    let outcomes = machine.execute_all(&first, &secret()).await;
    let told: Vec<String> =
        outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    assert!(told.iter().any(|text| text.contains("port is taken")), "{told:?}");
    machine.execute(&Op::DeleteLink, &secret()).await.unwrap();
}

#[test]
fn a_taken_port_is_told() {
    inside("hands::a_taken_port_is_told", "", async || {
        taken_port_is_told(LinkKind::Userspace, &our_device()).await;
    });
}

#[test]
fn the_device_outlives_the_hands_and_belongs_to_no_group_of_theirs() {
    inside("hands::the_device_outlives_the_hands_and_belongs_to_no_group_of_theirs", "", async || {
        let first = machine(&our_device());
        first.execute(&Op::CreateLink(LinkKind::Userspace), &secret()).await.unwrap();
        let [process] = device_processes()[..] else { panic!("one process") };
        let group = output(&format!("cut -d' ' -f5 /proc/{process}/stat"));
        assert_eq!(group.trim(), process.to_string(), "it leads a group of its own");
        let index = first.observe().await.unwrap().link.unwrap().index;
        drop(first);
        let second = machine(Path::new("/nonexistent"));
        second.execute(&Op::CreateLink(LinkKind::Userspace), &secret()).await.unwrap();
        assert_eq!(second.observe().await.unwrap().link.unwrap().index, index);
        second.execute(&Op::DeleteLink, &secret()).await.unwrap();
        crate::common::eventually("the process has ended", async || device_processes().is_empty()).await;
    });
}
