//! What cannot be done is told in words that say what to do, and changes nothing.

use std::path::Path;

use crate::common::{LINK, device_processes, inside, ip, machine, our_device, run, secret};
use platform::{Choice, Machine};
use reconcile::{LinkKind, Op, Route};

async fn refused(machine: &Machine, op: Op) -> String {
    format!("{:#}", machine.execute(&op, &secret()).await.expect_err("this cannot be done"))
}

async fn made(program: &Path) -> Machine {
    let machine = machine(program);
    for op in [Op::CreateLink(LinkKind::Userspace), Op::SetKey(secret().public()), Op::SetUp] {
        machine.execute(&op, &secret()).await.unwrap();
    }
    machine
}

#[test]
fn without_rights_it_says_run_as_root() {
    let without = "exec setpriv --bounding-set=-net_admin --inh-caps=-net_admin --";
    inside("trouble::without_rights_it_says_run_as_root", without, async || {
        let machine = machine(&our_device());
        assert_eq!(machine.observe().await.unwrap().link, None, "looking needs no rights");
        let text = refused(&machine, Op::CreateLink(LinkKind::Kernel)).await;
        assert!(text.contains("run as root") && text.contains(LINK), "{text}");
        let text = format!("{:#}", machine.kind(Choice::Auto).await.unwrap_err());
        assert!(text.contains("run as root"), "{text}");
    });
}

#[test]
fn a_missing_tun_device_is_named() {
    inside("trouble::a_missing_tun_device_is_named", "mount -t tmpfs tmpfs /dev/net", async || {
        let text = refused(&machine(&our_device()), Op::CreateLink(LinkKind::Userspace)).await;
        assert!(text.contains("/dev/net/tun is missing"), "{text}");
    });
}

#[test]
fn a_link_of_another_kind_is_left_alone() {
    inside("trouble::a_link_of_another_kind_is_left_alone", "", async || {
        assert!(run(&format!("ip link add {LINK} type bridge")));
        let machine = machine(&our_device());
        let link = machine.observe().await.unwrap().link.unwrap();
        assert_eq!(link.device, None);
        let text = refused(&machine, Op::CreateLink(LinkKind::Userspace)).await;
        assert!(text.contains("another kind"), "{text}");
        let text = refused(&machine, Op::SetPort(7)).await;
        assert!(text.contains("no WireGuard device"), "{text}");
        let text = refused(&machine, Op::DeleteLink).await;
        assert!(text.contains("not ours to delete"), "{text}");
        assert!(run(&format!("ip link show {LINK} type bridge | grep -q {LINK}")));
    });
}

#[test]
fn somebody_elses_route_is_neither_replaced_nor_removed() {
    inside("trouble::somebody_elses_route_is_neither_replaced_nor_removed", "", async || {
        let machine = made(&our_device()).await;
        assert!(run("ip link add other type bridge && ip link set other up"));
        assert!(run(
            "ip route add 10.20.0.0/16 dev other metric 20044 && ip -6 route add fd20::/64 dev other metric 20044"
        ));
        for (range, address) in [("10.20.0.0/16", "10.20.0.5"), ("fd20::/64", "fd20::5")] {
            machine.execute(&Op::AddAddress(ip(address)), &secret()).await.unwrap();
            let route = Route::ours(range.parse().unwrap(), ip(address));
            let text = refused(&machine, Op::AddRoute(route)).await;
            assert!(text.contains("not ours") && text.contains(range), "{text}");
            machine.execute(&Op::RemoveRoute(route), &secret()).await.unwrap();
        }
        assert!(run("ip route show 10.20.0.0/16 | grep -q 'dev other'"));
        assert!(run("ip -6 route show fd20::/64 | grep -q 'dev other'"));
        machine.execute(&Op::DeleteLink, &secret()).await.unwrap();
    });
}

#[test]
fn switched_off_ipv6_is_told() {
    inside("trouble::switched_off_ipv6_is_told", "", async || {
        let machine = made(&our_device()).await;
        assert!(run(&format!("echo 1 > /proc/sys/net/ipv6/conf/{LINK}/disable_ipv6")));
        let text = refused(&machine, Op::AddAddress(ip("fd20::5"))).await;
        assert!(text.contains("IPv6 is switched off"), "{text}");
        machine.execute(&Op::AddAddress(ip("10.20.0.5")), &secret()).await.unwrap();
        machine.execute(&Op::DeleteLink, &secret()).await.unwrap();
    });
}

#[test]
fn another_hosts_key_is_not_set() {
    inside("trouble::another_hosts_key_is_not_set", "", async || {
        let machine = made(&our_device()).await;
        let other = wire::WgSecret::from_random([1; 32]).public();
        assert!(refused(&machine, Op::SetKey(other)).await.contains("not this host's"));
        assert_eq!(
            machine.observe().await.unwrap().link.unwrap().device.unwrap().key,
            Some(secret().public())
        );
        machine.execute(&Op::DeleteLink, &secret()).await.unwrap();
    });
}

#[test]
fn a_process_that_was_killed_is_replaced() {
    inside("trouble::a_process_that_was_killed_is_replaced", "", async || {
        let machine = made(&our_device()).await;
        let [process] = device_processes()[..] else { panic!("one process") };
        assert!(run(&format!("kill -9 {process}")));
        crate::common::eventually("the link went with its process", async || {
            machine.observe().await.unwrap().link.is_none()
        })
        .await;
        assert!(run(&format!("test -S /run/wireguard/{LINK}.sock")), "a killed process leaves its socket");
        machine.execute(&Op::CreateLink(LinkKind::Userspace), &secret()).await.unwrap();
        assert!(machine.observe().await.unwrap().link.unwrap().device.is_some());
        machine.execute(&Op::DeleteLink, &secret()).await.unwrap();
        assert!(!run(&format!("test -e /run/wireguard/{LINK}.sock")));
    });
}
