//! The lab's network: NAT boxes of every kind, roaming, trouble on links, and the pinger.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its parts")]

mod lab_common;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use lab_common::Probe;
use testkit::lab::{Lab, Machine, Nat, NatKind, NatPlan, Switch, eventually};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn udp_probe() {
    lab_common::be_a_probe_if_asked();
}

/// One machine behind a box, and two public ones.
struct Scene {
    _lab: Lab,
    nat: Nat,
    inner: Probe,
    one: Probe,
    two: Probe,
    second_port: Probe,
    machines: [Machine; 3],
    internet: Switch,
}

const ONE: &str = "203.0.113.1:1000";
const TWO: &str = "203.0.113.2:1000";

fn scene(kind: NatKind) -> Scene {
    let lab = Lab::new("nat").unwrap();
    let (home, internet) = (lab.switch().unwrap(), lab.switch().unwrap());
    let nat = lab
        .nat(
            "box",
            &NatPlan {
                kind,
                inside: &home,
                inside_addresses: &["192.168.1.1/24", "fd01::1/64"],
                outside: &internet,
                outside_addresses: &["203.0.113.9/24", "2001:db8::9/64"],
                gateways: &[],
            },
        )
        .unwrap();
    let machines = ["inner", "one", "two"].map(|name| lab.machine(name).unwrap());
    let [inner, one, two] = &machines;
    inner.attach(&home, &["192.168.1.2/24", "fd01::2/64"], &["192.168.1.1", "fd01::1"]).unwrap();
    one.attach(&internet, &["203.0.113.1/24", "2001:db8::1/64"], &[]).unwrap();
    two.attach(&internet, &["203.0.113.2/24", "2001:db8::2/64"], &[]).unwrap();
    Scene {
        nat,
        inner: Probe::start(inner, "[::]:5000"),
        one: Probe::start(one, "[::]:1000"),
        two: Probe::start(two, "[::]:1000"),
        second_port: Probe::start(one, "[::]:1001"),
        machines,
        internet,
        _lab: lab,
    }
}

fn plain(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// `[::]` sockets want IPv4 written as IPv6.
fn mapped(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()).to_string(),
        SocketAddr::V6(_) => address.to_string(),
    }
}

impl Scene {
    /// Where the inner machine is seen by each of the two others.
    fn seen(&mut self) -> (String, String) {
        let one = plain(self.inner.tell(&self.one, &mapped(ONE), "hello one"));
        let two = plain(self.inner.tell(&self.two, &mapped(TWO), "hello two"));
        (one, two)
    }

    /// Sends from outside what must be dropped, then what must pass: when the latter has come, the former was dropped.
    fn only_the_friend_passes(&mut self, public: &str, stranger: fn(&mut Scene) -> &mut Probe) {
        stranger(self).send(&mapped(public), "stranger");
        self.one.tell(&self.inner, &mapped(public), "friend");
        assert!(self.inner.heard_nothing());
    }
}

#[test]
fn a_full_cone_lets_strangers_in() {
    let mut scene = scene(NatKind::FullCone);
    let public = plain(scene.inner.tell(&scene.one, &mapped(ONE), "hello"));
    assert_eq!(public, "203.0.113.9:5000");
    scene.two.tell(&scene.inner, &mapped(&public), "stranger");
    scene.second_port.tell(&scene.inner, &mapped(&public), "other port");
    let public = plain(scene.inner.tell(&scene.one, "[2001:db8::1]:1000", "hello"));
    scene.two.tell(&scene.inner, &public, "stranger by IPv6");
}

#[test]
fn an_address_restricted_box_lets_in_any_port_of_those_it_sent_to() {
    let mut scene = scene(NatKind::AddressRestricted);
    let public = plain(scene.inner.tell(&scene.one, &mapped(ONE), "hello"));
    scene.second_port.tell(&scene.inner, &mapped(&public), "other port");
    scene.only_the_friend_passes(&public, |scene| &mut scene.two);
    scene.inner.tell(&scene.two, &mapped(TWO), "hello two");
    scene.two.tell(&scene.inner, &mapped(&public), "a friend now");
}

#[test]
fn a_port_restricted_box_keeps_one_mapping_and_lets_in_only_those_it_sent_to() {
    let mut scene = scene(NatKind::PortRestricted);
    let public = plain(scene.inner.tell(&scene.one, &mapped(ONE), "hello"));
    scene.only_the_friend_passes(&public, |scene| &mut scene.two);
    scene.only_the_friend_passes(&public, |scene| &mut scene.second_port);
    // The stranger knocked first, and still gets the same mapping: this is what hole punching stands on.
    let (one, two) = scene.seen();
    assert_eq!((one.as_str(), two.as_str()), (public.as_str(), public.as_str()));
    scene.two.tell(&scene.inner, &mapped(&public), "punched");
    let by_ipv6 = plain(scene.inner.tell(&scene.one, "[2001:db8::1]:1000", "hello"));
    assert_eq!(by_ipv6, "[2001:db8::9]:5000");
    scene.one.tell(&scene.inner, &by_ipv6, "answer by IPv6");
}

#[test]
fn a_symmetric_box_makes_a_mapping_for_each_peer() {
    let mut scene = scene(NatKind::Symmetric);
    let (one, two) = scene.seen();
    assert_ne!(one, two);
    assert_eq!(scene.seen(), (one.clone(), two.clone()), "a mapping is kept while it is used");
    scene.only_the_friend_passes(&one, |scene| &mut scene.two);
    scene.two.tell(&scene.inner, &mapped(&two), "its own mapping");
}

#[test]
fn a_box_that_blocks_udp_lets_ping_pass() {
    let mut scene = scene(NatKind::UdpBlocked);
    scene.inner.send(&mapped(ONE), "lost");
    scene.machines[0].ping("203.0.113.1".parse().unwrap()).unwrap();
    scene.nat.set_kind(NatKind::PortRestricted).unwrap();
    scene.inner.tell(&scene.one, &mapped(ONE), "passes");
    assert!(scene.one.heard_nothing());
}

#[test]
fn a_box_can_get_another_public_address() {
    let mut scene = scene(NatKind::PortRestricted);
    assert_eq!(scene.seen().0, "203.0.113.9:5000");
    scene.nat.set_public(&["203.0.113.77/24"], &[]).unwrap();
    let seen = eventually(SOON, || {
        scene.inner.send(&mapped(ONE), "moved");
        let seen = plain(scene.one.hear("moved"));
        ensure!(seen.starts_with("203.0.113.77:"), "seen at {seen}");
        Ok(seen)
    })
    .unwrap();
    assert_eq!(seen, "203.0.113.77:5000");
}

#[test]
fn a_router_translates_nothing() {
    let mut scene = scene(NatKind::Router);
    scene.machines[1].run("ip", ["route", "add", "192.168.1.0/24", "via", "203.0.113.9"]).unwrap();
    let seen = plain(scene.inner.tell(&scene.one, &mapped(ONE), "hello"));
    assert_eq!(seen, "192.168.1.2:5000");
    scene.second_port.tell(&scene.inner, &mapped(&seen), "unasked");
}

#[test]
fn a_machine_roams_to_another_switch_with_the_same_interface() {
    let scene = scene(NatKind::PortRestricted);
    let [inner, one, _two] = &scene.machines;
    let lan = inner.interface_index("eth0").unwrap();
    assert!(lan.is_some());
    let roamer = scene._lab.machine("roamer").unwrap();
    let other = scene._lab.switch().unwrap();
    let link = roamer.attach(&other, &["10.0.0.5/24"], &[]).unwrap();
    let index = roamer.interface_index("eth0").unwrap();
    roamer.cannot_ping("203.0.113.1".parse().unwrap()).unwrap();
    link.move_to(&scene.internet, &["203.0.113.50/24", "2001:db8::50/64"], &[]).unwrap();
    roamer.ping("203.0.113.1".parse().unwrap()).unwrap();
    one.ping("2001:db8::50".parse().unwrap()).unwrap();
    assert_eq!(roamer.interface_index("eth0").unwrap(), index);
    link.set_addresses(&["203.0.113.51/24"], &[]).unwrap();
    one.ping("203.0.113.51".parse().unwrap()).unwrap();
    one.cannot_ping("203.0.113.50".parse().unwrap()).unwrap();
}

#[test]
fn a_link_can_lose_packets_and_be_pulled() {
    let lab = Lab::new("trouble").unwrap();
    let lan = lab.switch().unwrap();
    let (a, b) = (lab.machine("a").unwrap(), lab.machine("b").unwrap());
    let link = a.attach(&lan, &["10.1.0.1/24"], &[]).unwrap();
    b.attach(&lan, &["10.1.0.2/24"], &[]).unwrap();
    let to = "10.1.0.2".parse().unwrap();

    let pinger = a.pinger(to).unwrap();
    pinger.wait_for(100, SOON).unwrap();
    pinger.stop().unwrap().none_lost().unwrap();

    link.lose(30).unwrap();
    let pinger = a.pinger(to).unwrap();
    pinger.wait_for(60, SOON).unwrap();
    let report = pinger.stop().unwrap();
    assert!(!report.lost.is_empty() && report.none_lost().is_err(), "{report:?}");

    link.lose(100).unwrap();
    a.cannot_ping(to).unwrap();
    a.reboot().unwrap();
    a.cannot_ping(to).unwrap();
    link.lose(0).unwrap();
    a.ping(to).unwrap();

    link.down().unwrap();
    a.cannot_ping(to).unwrap();
    link.up().unwrap();
    a.ping(to).unwrap();
}

#[test]
fn a_link_can_block_udp_alone() {
    let lab = Lab::new("udp").unwrap();
    let lan = lab.switch().unwrap();
    let (a, b) = (lab.machine("a").unwrap(), lab.machine("b").unwrap());
    let link = a.attach(&lan, &["10.1.0.1/24"], &[]).unwrap();
    b.attach(&lan, &["10.1.0.2/24"], &[]).unwrap();
    let mut one = Probe::start(&a, "0.0.0.0:1");
    let two = Probe::start(&b, "0.0.0.0:2");
    link.block_udp(true).unwrap();
    one.send("10.1.0.2:2", "lost");
    a.ping("10.1.0.2".parse().unwrap()).unwrap();
    link.block_udp(false).unwrap();
    one.tell(&two, "10.1.0.2:2", "passes");
    assert!(two.heard_nothing());
}

#[test]
fn two_labs_at_once_do_not_see_each_other() {
    let labs = [Lab::new("twin").unwrap(), Lab::new("twin").unwrap()];
    let machines = labs.each_ref().map(|lab| {
        let lan = lab.switch().unwrap();
        let machine = lab.machine("a").unwrap();
        machine.attach(&lan, &["10.1.0.1/24"], &[]).unwrap();
        machine
    });
    let [a, b] = &machines;
    a.write("/etc/mark", "a").unwrap();
    assert!(!b.exists("/etc/mark").unwrap());
    a.ping("10.1.0.1".parse().unwrap()).unwrap();
    b.ping("10.1.0.1".parse().unwrap()).unwrap();
}
