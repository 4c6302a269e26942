//! Notices of what others do, and where the machine can be reached.

use std::time::Duration;

use crate::common::{LINK, inside, machine, our_device, run, secret};
use platform::{Notice, Watch};
use reconcile::{Around, Filter, Firewall, LinkKind, Need, Op};
use tokio::time::timeout;

const OURS: Notice = Notice { ours: true, others: false };

fn judging() -> Firewall {
    Firewall { input: Filter::Only(Vec::new()), ..Firewall::default() }
}

/// All notices until there has been silence for a moment, as one.
async fn all(watch: &mut Watch) -> Notice {
    let mut all = Notice::default();
    while let Ok(notice) = timeout(Duration::from_millis(200), watch.changed()).await {
        let notice = notice.unwrap();
        all = Notice { ours: all.ours | notice.ours, others: all.others | notice.others };
    }
    all
}

#[test]
fn drift_of_our_link_and_changes_elsewhere_are_told_apart() {
    inside("watching::drift_of_our_link_and_changes_elsewhere_are_told_apart", "", async || {
        let machine = machine(&our_device());
        let mut watch = machine.watch().await.unwrap();
        assert_eq!(all(&mut watch).await, Notice::default(), "nothing happened");
        for op in [Op::CreateLink(LinkKind::Userspace), Op::SetUp] {
            machine.execute(&op, &secret()).await.unwrap();
        }
        assert!(all(&mut watch).await.ours);
        assert!(run(&format!("ip address add 10.20.0.5/32 dev {LINK}")));
        assert_eq!(all(&mut watch).await, OURS);
        assert!(run(&format!("ip route add 10.20.0.0/16 dev {LINK}")));
        assert_eq!(all(&mut watch).await, OURS);
        for family in ["-4", "-6"] {
            for step in ["add", "delete"] {
                assert!(run(&format!("ip {family} rule {step} priority 20044 lookup 20044 protocol 78")));
                assert_eq!(all(&mut watch).await, OURS, "a rule of ours, {family} {step}");
            }
        }
        assert!(run("ip rule add priority 500 lookup 500"));
        assert_eq!(all(&mut watch).await, Notice { ours: false, others: true });
        assert!(run("ip route add unreachable default table 20044"));
        assert_eq!(all(&mut watch).await, OURS, "in a table of ours");
        assert!(run("ip link add other type bridge"));
        assert_eq!(all(&mut watch).await, Notice { ours: false, others: true });
        machine
            .execute(&Around::SetFirewall(judging().into(), Need::Essential).into(), &secret())
            .await
            .unwrap();
        assert_eq!(all(&mut watch).await, OURS);
        assert!(run("nft add table inet other"));
        assert_eq!(all(&mut watch).await, Notice::default(), "another firewall");
        assert!(run("nft flush ruleset"));
        assert_eq!(all(&mut watch).await, OURS, "our firewall is gone");
        assert!(run(&format!("ip link delete {LINK}")));
        assert!(all(&mut watch).await.ours);
    });
}

#[test]
fn a_storm_of_changes_becomes_a_few_notices() {
    inside(
        "watching::a_storm_of_changes_becomes_a_few_notices",
        "ip link add other type bridge",
        async || {
            let machine = machine(&our_device());
            let mut watch = machine.watch().await.unwrap();
            // More than the socket's buffer holds.
            let storm = "i=0; while [ $i -lt 4000 ]; do echo address add 10.$((i / 250)).$((i % 250)).1/24 dev other; \
                     i=$((i + 1)); done | ip -batch -";
            assert!(run(storm));
            let mut notices = 0;
            while let Ok(notice) = timeout(Duration::from_millis(300), watch.changed()).await {
                assert!(notice.unwrap().others);
                notices += 1;
            }
            assert!((1..=100).contains(&notices), "{notices} notices");
            assert!(run("ip address add 192.0.2.1/24 dev other"));
            assert!(watch.changed().await.unwrap().others, "it still hears after the storm");
        },
    );
}

#[test]
fn the_machines_own_addresses_are_told_without_those_of_our_link() {
    inside("watching::the_machines_own_addresses_are_told_without_those_of_our_link", "", async || {
        let machine = machine(&our_device());
        for op in
            [Op::CreateLink(LinkKind::Userspace), Op::AddAddress(crate::common::ip("10.20.0.5")), Op::SetUp]
        {
            machine.execute(&op, &secret()).await.unwrap();
        }
        assert!(run("ip link add eth0 type veth peer name far && ip link set eth0 up && ip link set far up"));
        assert!(run("ip address add 192.0.2.7/24 dev eth0 && ip address add 2001:db8::7/64 dev eth0 nodad"));
        assert!(run(
            "ip link add docker0 type bridge && ip link set docker0 up && ip address add 172.17.0.1/16 dev docker0"
        ));
        let told = async || -> Vec<String> {
            machine.local_addresses().await.unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(told().await, ["192.0.2.7/24", "2001:db8::7/64"]);
        assert!(run("ip route add default dev docker0"));
        assert_eq!(told().await, ["172.17.0.1/16", "192.0.2.7/24", "2001:db8::7/64"]);
        machine.execute(&Op::DeleteLink, &secret()).await.unwrap();
    });
}
