//! The tools that look at networks from outside: foreign WireGuard, captures, streams, probes. Without anything of ours
//! between them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its parts")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testkit::house::{Foreign, patience};
use testkit::lab::{Capture, Lab, Load, Switch};
use testkit::probe::{Part, Probe, Target, Transport, Waiting, round};

const SOON: Duration = Duration::from_secs(20);
const WAITING: Waiting = Waiting { at_least: Duration::from_millis(300), at_most: SOON };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn foreign(lab: &Lab, lan: &Switch, name: &str, number: u8) -> Foreign {
    let addresses = [format!("192.0.2.{number}/24"), format!("2001:db8::{number}/64")];
    Foreign::create(lab.machine(name).unwrap(), lan, &addresses.each_ref().map(String::as_str), &[]).unwrap()
}

#[test]
fn two_foreign_machines_come_together_by_their_configurations() {
    let lab = Lab::new("foreign").unwrap();
    let lan = lab.switch().unwrap();
    let (a, b) = (foreign(&lab, &lan, "a", 1), foreign(&lab, &lan, "b", 2));
    let before = b.machine().snapshot().unwrap();
    let (ours, theirs) = (a.key_pair().unwrap(), b.key_pair().unwrap());
    a.up(&format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51820\nAddress = 10.9.0.1/24, fd09::1/64\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.2/32, fd09::2/128\n",
        ours.private, theirs.public
    ))
    .unwrap();
    b.up(&format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.2/32, fd09::2/128\nDNS = 10.9.0.1, example.internal\nMTU = 1380\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.0/24, fd09::/64\nEndpoint = 192.0.2.1:51820\n",
        theirs.private, ours.public
    ))
    .unwrap();
    b.is_wireguard_go().unwrap();
    let capture = Capture::start(b.machine(), "eth0", "b").unwrap();
    b.machine().ping(ip("10.9.0.1")).unwrap();
    b.handshaken(patience(SOON)).unwrap();
    a.machine().ping(ip("fd09::2")).unwrap();
    assert!(
        b.machine()
            .read("/etc/resolv.conf")
            .unwrap()
            .starts_with("nameserver 10.9.0.1\nsearch example.internal")
    );

    let load = Load::start(b.machine(), a.machine(), ip("10.9.0.1"), 5201, 1).unwrap();
    let report = load.finish(patience(SOON)).unwrap();
    assert!(report.completed && report.bytes() > 100_000, "{report:?}");
    assert!(report.longest_stall() < Duration::from_secs(1), "{report:?}");

    let traffic = capture.stop().unwrap();
    assert!(traffic.count(|flow| flow.is_udp(51820)) > 100, "{traffic}");
    let strange = traffic.without(|flow| flow.is_udp(51820));
    assert!(strange.is_empty(), "beside WireGuard there is:\n{strange}");

    b.down().unwrap();
    let difference = before.diff(&b.machine().snapshot().unwrap()).to_string();
    let left: Vec<&str> = difference.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(left.iter().all(|line| line.contains("wireguard")), "{difference}");
}

#[test]
fn a_probe_tells_what_is_reached_and_what_is_not() {
    let lab = Lab::new("probe").unwrap();
    let lan = lab.switch().unwrap();
    let machines = ["a", "b"].map(|name| lab.machine(name).unwrap());
    machines[0].attach(&lan, &["10.1.0.1/24", "fd01::1/64"], &[]).unwrap();
    machines[1].attach(&lan, &["10.1.0.2/24", "fd01::2/64"], &[]).unwrap();
    let rules = "table inet t {\n chain c {\n type filter hook input priority 0\n\
                 tcp dport 81 drop\nmeta nfproto ipv6 udp dport 80 reject\n}\n}\n";
    machines[1].write("/run/rules", rules).unwrap();
    machines[1].run("nft", ["-f", "/run/rules"]).unwrap();
    let [mut a, mut b] = machines.each_ref().map(|machine| Probe::start(machine).unwrap());
    b.listen(&[ip("10.1.0.2"), ip("fd01::2")], &[80, 81]).unwrap();

    let target = |transport, to: &str| Target { transport, to: to.parse::<SocketAddr>().unwrap() };
    let reachable: BTreeSet<Target> = [
        target(Transport::Tcp, "10.1.0.2:80"),
        target(Transport::Tcp, "[fd01::2]:80"),
        target(Transport::Udp, "10.1.0.2:80"),
        target(Transport::Udp, "10.1.0.2:81"),
        target(Transport::Udp, "[fd01::2]:81"),
    ]
    .into();
    let mut targets: Vec<Target> = reachable.iter().copied().collect();
    targets.push(target(Transport::Tcp, "10.1.0.2:81"));
    targets.push(target(Transport::Udp, "[fd01::2]:80"));
    targets.push(target(Transport::Tcp, "10.1.0.2:82"));
    assert_eq!(a.reached(&targets, |target| reachable.contains(target), WAITING).unwrap(), reachable);

    // Judged by a wrong expectation, both mistakes are told.
    let short = Waiting { at_most: Duration::from_millis(900), ..WAITING };
    let expected = [target(Transport::Tcp, "10.1.0.2:81")].into();
    let targets = vec![target(Transport::Tcp, "10.1.0.2:81"), target(Transport::Tcp, "10.1.0.2:80")];
    let wrong = round(&mut [Part { probe: &mut a, targets, expected }], short).unwrap();
    assert_eq!(wrong, ["a reaches, and must not, Tcp 10.1.0.2:80", "a does not reach Tcp 10.1.0.2:81"]);
}
