//! A full tunnel and a gateway's settings on a real network stack: rules, routes to nowhere, forwarding; and that the machine
//! is what it was when they go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::{Keepalive, Mtu, WgPublicKey};
use platform::Machine;
use reconcile::{
    Actual, Around, Desired, DesiredFirewall, DesiredPeer, Family, Filter, Firewall, FirewallLook, Interface,
    Kept, LinkKind, Need, Op, Rule, Services, Side, Sysctl, Tunnel, reconcile,
};
use wire::WgSecret;

use crate::common::{LINK, eventually, inside, ip, machine, our_device, output, picture, run, secret};

/// A machine with a way out, and a LAN.
const OUTSIDE: &str = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad; ip link add eth0 type veth peer name far0; ip link set eth0 up; ip link set far0 up; ip address add 192.0.2.7/24 dev eth0; \
     ip address add 192.168.3.7/24 dev eth0; ip address add 2001:db8::7/64 dev eth0 nodad; ip route add default via 192.0.2.1; \
     ip route add 0.0.0.0/1 via 192.0.2.1; ip route add 128.0.0.0/1 via 192.0.2.1; \
     ip -6 route add default via 2001:db8::1 dev eth0; ip link add lan0 type veth peer name site0; ip link set lan0 up; \
     ip link set site0 up; ip address add 192.168.7.1/24 dev lan0; ip address add fd07::1/64 dev lan0 nodad;";

fn absent() -> Desired {
    Desired::absent(LINK.parse().unwrap(), secret().public())
}

fn interface(tunnel: Option<Tunnel>, forwards: bool) -> Interface {
    let all = |texts: &[&str]| texts.iter().map(|net| net.parse().unwrap()).collect::<BTreeSet<_>>();
    let gateway = DesiredPeer {
        allowed: all(&["10.20.0.1/32", "0.0.0.0/0", "::/0"]),
        keepalive: Keepalive::DEFAULT,
        endpoint: Some("192.0.2.99:51820".parse().unwrap()),
    };
    let closed = Firewall { forward: Filter::Only(Vec::new()), ..Firewall::default() };
    Interface {
        kind: LinkKind::Userspace,
        mtu: Mtu::DEFAULT,
        port: 51820,
        addresses: BTreeSet::from([ip("10.20.0.5")]),
        routes: BTreeMap::from([("10.20.0.0/16".parse().unwrap(), ip("10.20.0.5"))]),
        peers: BTreeMap::from([(WgPublicKey::from_bytes([3; 32]), gateway)]),
        firewall: Some(DesiredFirewall {
            digest: closed.digest(),
            firewall: closed.into(),
            need: Need::Essential,
        }),
        forwards,
        tunnel,
    }
}

fn tunnel(lan: bool) -> Option<Tunnel> {
    let nets = |texts: &[&str]| texts.iter().map(|range| range.parse().unwrap()).collect();
    let leads_to = nets(&["192.168.7.0/24", "172.16.9.0/24", "fd07::/64"]);
    let lan = if lan { nets(&["192.168.0.0/16", "fe80::/10", "2001:db8::/64"]) } else { BTreeSet::new() };
    Some(Tunnel { lan, leads_to, sources: BTreeMap::from([(Family::V4, ip("10.20.0.5"))]) })
}

/// The machine before anything was done, once the kernel is done with its own addresses.
async fn at_rest() -> String {
    let settled = async || {
        let addresses = output("ip -6 -o address show scope link");
        addresses.lines().count() == 4 && !addresses.contains("tentative")
    };
    eventually("links have their own addresses", settled).await;
    picture()
}

async fn settle(machine: &Machine, desired: &Desired) -> Actual {
    let ops = reconcile(desired, &machine.observe().await.unwrap());
    for (outcome, op) in machine.execute_all(&ops, &secret()).await.into_iter().zip(&ops) {
        outcome.unwrap_or_else(|error| panic!("{op}: {error:#}"));
    }
    let actual = machine.observe().await.unwrap();
    assert_eq!(reconcile(desired, &actual), []);
    actual
}

/// Whether a packet has none.
fn nowhere(to: &str) -> bool {
    let way = way(to);
    (way.contains("No route to host") || way.contains("unreachable")) && !way.contains(" via ")
}

/// The way of a packet, as the kernel says.
fn way(to: &str) -> String {
    output(&format!("ip route get {to} 2>&1"))
}

#[test]
fn each_op_around_the_link_does_what_it_means() {
    inside("tunnel::each_op_around_the_link_does_what_it_means", "", async || {
        let machine = machine(&our_device());
        let before = picture();
        let mut expected = machine.observe().await.unwrap();
        assert_eq!(expected.surroundings.firewall, Some(FirewallLook::Absent));
        let ranges =
            ["198.51.100.0/24", "198.51.100.7/32", "2001:db8:7::/48"].map(|range| range.parse().unwrap());
        let of_tunnel = tunnel(true).iter().flat_map(Rule::of_tunnel).collect::<BTreeSet<_>>();
        let rules: Vec<Rule> = of_tunnel.into_iter().chain(Rule::of_ranges(ranges.into_iter())).collect();
        let firewall = Firewall {
            input: Filter::Only(vec![reconcile::Grant {
                from: Side::Any,
                to: Side::Any,
                services: Services::All,
            }]),
            ..Firewall::default()
        };
        let forward = |value: &str| Op::from(Around::SetSysctl(Sysctl::new("net/ipv4/ip_forward", value)));
        let was = expected.surroundings.sysctls["net/ipv4/ip_forward"].clone();
        let other = if was == "1" { "0" } else { "1" };
        let mut ops: Vec<Op> = Family::ALL.map(Around::AddUnreachable).map(Op::Around).into();
        ops.extend(rules.iter().copied().map(Around::AddRule).map(Op::Around));
        ops.extend([
            Around::SetFirewall(firewall.into(), Need::Essential).into(),
            forward(other),
            forward(&was),
        ]);
        ops.extend(rules.iter().copied().map(Around::RemoveRule).map(Op::Around));
        ops.extend(Family::ALL.map(Around::RemoveUnreachable).map(Op::Around));
        ops.push(Around::RemoveFirewall.into());
        for op in ops {
            for time in ["first", "second"] {
                machine
                    .execute(&op, &secret())
                    .await
                    .unwrap_or_else(|error| panic!("{op}, {time}: {error:#}"));
                expected.apply(&op);
                assert_eq!(machine.observe().await.unwrap(), expected, "{op}, {time}");
            }
        }
        assert_eq!(picture(), before);
    });
}

#[test]
fn a_full_tunnel_takes_everything_and_leaks_nothing() {
    inside("tunnel::a_full_tunnel_takes_everything_and_leaks_nothing", OUTSIDE, async || {
        let machine = machine(&our_device());
        let before = at_rest().await;
        let wanted = |lan| Desired { interface: Some(interface(tunnel(lan), false)), ..absent() };
        for lan in [true, false] {
            let actual = settle(&machine, &wanted(lan)).await;
            assert_eq!(actual.device().unwrap().mark, 0x4e4c);
            assert!(way("198.51.100.1").contains(LINK), "{}", way("198.51.100.1"));
            assert!(way("10.20.0.9").contains("src 10.20.0.5"), "{}", way("10.20.0.9"));
            assert!(way("198.51.100.1 mark 0x4e4c").contains("dev eth0"), "our own datagrams");
            assert!(nowhere("2001:db8:1::1"), "no IPv6 in the network: {}", way("2001:db8:1::1"));
            assert!(way("2001:db8:1::1 mark 0x4e4c").contains("dev eth0"));
            assert!(way("ff02::1 oif eth0").contains("dev eth0"), "{}", way("ff02::1 oif eth0"));
            assert!(
                way("192.0.2.20").contains(LINK),
                "a public LAN is the internet's: {}",
                way("192.0.2.20")
            );
            for (to, is_lan) in
                [("192.168.3.20", true), ("2001:db8::20", true), ("1.2.3.4", false), ("2001:db8:1::1", false)]
            {
                assert_eq!(way(to).contains("dev eth0"), lan && is_lan, "LAN {lan}: {}", way(to));
            }
            for (range, link) in
                [("192.168.7.20", "dev lan0"), ("fd07::20", "dev lan0"), ("172.16.9.9", "via 192.0.2.1")]
            {
                assert!(way(range).contains(link), "what it leads to, its LAN or beyond: {}", way(range));
            }
            assert!(way("192.0.2.1 ipproto udp sport 68 dport 67").contains("dev eth0"), "DHCP");
            assert!(way("127.0.0.1").contains("dev lo"));

            // Down, and gone: it stays where nothing leaks, and comes back.
            assert!(run(&format!("ip link set {LINK} down")));
            assert!(nowhere("198.51.100.1"), "{}", way("198.51.100.1"));
            assert!(run(&format!("ip link delete {LINK}")));
            assert!(nowhere("198.51.100.1"), "{}", way("198.51.100.1"));
            settle(&machine, &wanted(lan)).await;
            assert!(way("198.51.100.1").contains(LINK));
        }
        settle(&machine, &Desired { interface: Some(interface(None, false)), ..absent() }).await;
        assert!(way("198.51.100.1").contains("via 192.0.2.1"), "the old way is back");
        assert!(way("2001:db8:1::1").contains("via 2001:db8::1"));
        settle(&machine, &absent()).await;
        assert_eq!(picture(), before);
    });
}

#[test]
fn a_range_takes_what_is_sent_there_but_nothing_that_we_send_ourselves() {
    inside(
        "tunnel::a_range_takes_what_is_sent_there_but_nothing_that_we_send_ourselves",
        OUTSIDE,
        async || {
            let machine = machine(&our_device());
            let before = at_rest().await;
            // The machine's own way into the range, and a wider one.
            assert!(run(
                "ip route add 198.51.100.64/28 via 192.0.2.1 && ip route add 198.51.0.0/16 via 192.0.2.1"
            ));
            let own = ip("10.20.0.5");
            let mut wanted = interface(None, false);
            wanted.routes.extend(
                ["198.51.100.0/24", "198.51.100.66/32", "10.9.0.0/16"].map(|net| (net.parse().unwrap(), own)),
            );
            let wanted = Desired { interface: Some(wanted), ..absent() };
            settle(&machine, &wanted).await;
            for (to, ours) in [
                ("198.51.100.1", true),
                ("198.51.100.66", true),
                ("10.9.0.1", true),
                ("198.51.100.65", false),
                ("198.51.101.1", false),
                ("203.0.113.1", false),
            ] {
                let found = way(to);
                assert_eq!(found.contains(LINK) && found.contains("src 10.20.0.5"), ours, "{found}");
                let marked = way(&format!("{to} mark 0x4e4c"));
                assert!(marked.contains("via 192.0.2.1"), "{marked}");
            }
            assert!(way("10.20.0.9 mark 0x4e4c").contains(LINK), "networks are in the main table");
            settle(&machine, &absent()).await;
            assert!(run("ip route delete 198.51.100.64/28 && ip route delete 198.51.0.0/16"));
            assert_eq!(picture(), before);
        },
    );
}

#[test]
fn a_tunnel_that_stopped_half_way_is_finished_or_undone_by_the_next_run() {
    inside(
        "tunnel::a_tunnel_that_stopped_half_way_is_finished_or_undone_by_the_next_run",
        OUTSIDE,
        async || {
            let machine = machine(&our_device());
            let before = at_rest().await;
            let wanted = Desired { interface: Some(interface(tunnel(false), false)), ..absent() };
            let ops = reconcile(&wanted, &machine.observe().await.unwrap());
            for count in [3, ops.len() / 2, ops.len() - 3, ops.len() - 1] {
                assert!(machine.execute_all(&ops[..count], &secret()).await.iter().all(Result::is_ok));
                if count % 2 == 0 {
                    settle(&machine, &wanted).await;
                }
                settle(&machine, &absent()).await;
                assert_eq!(picture(), before, "after {count} of {}", ops.len());
            }
        },
    );
}

#[test]
fn rules_and_routes_of_others_stay() {
    let others = format!(
        "{OUTSIDE} ip rule add priority 20044 to 203.0.113.0/24 lookup main; ip rule add priority 500 lookup main; \
         ip route add unreachable 203.0.113.0/24 table 20044;"
    );
    inside("tunnel::rules_and_routes_of_others_stay", &others, async || {
        let machine = machine(&our_device());
        let before = picture();
        let actual = machine.observe().await.unwrap();
        assert!(actual.surroundings.rules.is_empty() && actual.surroundings.unreachable.is_empty());
        settle(&machine, &Desired { interface: Some(interface(tunnel(true), false)), ..absent() }).await;
        settle(&machine, &Desired { interface: Some(interface(None, false)), ..absent() }).await;
        let rules = output("ip rule");
        assert!(rules.contains("203.0.113.0/24") && rules.contains("500:"), "{rules}");
        settle(&machine, &absent()).await;
        assert_eq!(picture(), before);
    });
}

#[test]
fn a_gateway_forwards_and_afterwards_all_settings_are_what_they_were() {
    let hardened = format!(
        "{OUTSIDE} echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects; echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_ra; \
         echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter; \
         for family in ipv4 ipv6; do echo 1 >/proc/sys/net/$family/conf/eth0/forwarding; done;"
    );
    inside(
        "tunnel::a_gateway_forwards_and_afterwards_all_settings_are_what_they_were",
        &hardened,
        async || {
            let machine = machine(&our_device());
            let settings = || {
                output(
                    "grep -r . /proc/sys/net/ipv4 /proc/sys/net/ipv6/conf 2>/dev/null | grep -E 'forward|accept_r|rp_filter'",
                )
            };
            let (before, looks) = (settings(), picture());
            let wanted = Desired { interface: Some(interface(tunnel(true), true)), ..absent() };
            let actual = machine.observe().await.unwrap();
            let kept =
                Kept::default().before(&wanted.link, &reconcile(&wanted, &actual), &actual.surroundings);
            let wanted = Desired { kept: kept.clone(), ..wanted };
            let actual = settle(&machine, &wanted).await;
            let value = |name: &str| actual.surroundings.sysctls[name].as_str();
            assert_eq!(value("net/ipv4/ip_forward"), "1");
            assert_eq!(value("net/ipv6/conf/all/forwarding"), "1");
            assert_eq!(value("net/ipv6/conf/eth0/accept_ra"), "2", "it still heeds its router");
            assert_eq!(
                value("net/ipv4/conf/all/rp_filter"),
                "2",
                "answers to the tunnel's datagrams are taken"
            );
            assert_eq!(kept.after(&wanted), kept);

            let gone = Desired { kept: kept.clone(), ..absent() };
            settle(&machine, &gone).await;
            assert_eq!(settings(), before);
            assert_eq!(picture(), looks);
            assert_eq!(kept.after(&gone), Kept::default());
        },
    );
}

#[test]
fn behind_a_firewall_that_cannot_be_set_nothing_is_opened() {
    inside("tunnel::behind_a_firewall_that_cannot_be_set_nothing_is_opened", "", async || {
        let machine = machine(Path::new(&our_device()));
        let wanted = Desired { interface: Some(interface(None, true)), ..absent() };
        let mut ops = reconcile(&wanted, &machine.observe().await.unwrap());
        // A set change for a firewall that is not there is refused.
        let changes = reconcile::SetChanges::default();
        for op in &mut ops {
            if matches!(op, Op::Around(Around::SetFirewall(..))) {
                *op = Around::ChangeFirewall(Firewall::default().digest(), changes.clone(), Need::Essential)
                    .into();
            }
        }
        let outcomes = machine.execute_all(&ops, &WgSecret::from_random([0x42; 32])).await;
        for (op, outcome) in ops.iter().zip(outcomes) {
            let refused = op.opens() || matches!(op, Op::Around(Around::ChangeFirewall(..)));
            assert_eq!(outcome.is_err(), refused, "{op}: {outcome:?}");
        }
        let actual = machine.observe().await.unwrap();
        assert_eq!(actual.device().unwrap().peers, BTreeMap::new());
        assert_eq!(
            actual.surroundings.sysctls["net/ipv4/ip_forward"],
            output("cat /proc/sys/net/ipv4/ip_forward").trim()
        );
        assert!(!output("ip route").contains("10.20.0.0"), "no route");
    });
}
