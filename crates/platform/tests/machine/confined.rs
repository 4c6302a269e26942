//! Everything is to leave over our link: what a program sends over another one, by its name, does not get out.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Mark;
use platform::FirewallTable;
use reconcile::{AddressSet, FIREWALL_MARK, Firewall};
use tokio::net::UdpSocket;

use crate::common::{LINK, inside, run};

/// A way out, in both families, and our link; neighbours are given, for none is there to answer.
const OUTSIDE: &str = "sysctl -qw net.ipv6.conf.default.accept_dad=0; for link in eth0 netloom0; do \
     ip link add $link type veth peer name far-$link; ip link set $link up; ip link set far-$link up; done; \
     ip address add 192.0.2.7/24 dev eth0; ip address add 2001:db8::7/64 dev eth0 nodad; \
     ip address add 10.20.0.5/16 dev netloom0; ip address add fd20::5/64 dev netloom0 nodad; \
     ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1 dev eth0; \
     ip -6 route add default via fd20::1 dev netloom0 metric 2000;";

/// How a program sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Over this link, whatever the routes say.
    Over(&'static str),
    /// As the agent and WireGuard do.
    Marked,
    /// As routes say, from this port.
    From(u16),
}

/// Whether it gets out.
async fn leaves(how: How, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let port = if let How::From(port) = how { port } else { 0 };
    let socket = UdpSocket::bind(SocketAddr::new(any, port)).await.unwrap();
    match how {
        How::Over(link) => socket.bind_device(Some(link.as_bytes())).unwrap(),
        How::Marked => setsockopt(&socket, Mark, &FIREWALL_MARK).unwrap(),
        How::From(_) => {}
    }
    match socket.send_to(b"out", to).await {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{how:?} to {to}: {error}"),
    }
}

fn confined(to: &[&str]) -> Firewall {
    let to: AddressSet = to.iter().map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect();
    Firewall { confined: Some(to), ..Firewall::default() }
}

#[test]
fn what_names_another_link_gets_out_only_where_it_may() {
    inside("confined::what_names_another_link_gets_out_only_where_it_may", OUTSIDE, async || {
        let table = FirewallTable::open(&LINK.parse().unwrap()).unwrap();
        let far = ["203.0.113.9:53", "192.0.2.20:53", "[2001:db8:9::9]:53", "[2001:db8::20]:53"];
        let lan = ["192.168.3.20:53", "[fd03::20]:53"];
        let here = ["127.0.0.1:53", "192.0.2.7:53", "[::1]:53", "[2001:db8::7]:53"];
        for to in far.iter().chain(&lan) {
            assert!(leaves(How::Over("eth0"), to).await, "without a firewall, to {to}");
        }
        for (let_out, is_lan_let_out) in [(&["192.168.0.0/16", "fd00::/8"][..], true), (&[], false)] {
            table.set(&confined(let_out)).await.unwrap();
            for to in far {
                assert!(!leaves(How::Over("eth0"), to).await, "{to}");
                assert!(!leaves(How::From(0), to).await, "by a route beside ours, to {to}");
                assert!(leaves(How::Over(LINK), to).await, "{to} over our link");
                assert!(leaves(How::Marked, to).await, "{to}, marked");
            }
            for to in lan {
                assert_eq!(leaves(How::Over("eth0"), to).await, is_lan_let_out, "{to}");
            }
            for to in here {
                assert!(leaves(How::From(0), to).await, "{to}, itself");
            }
            for (from, to, gets_out) in [
                (68, "192.0.2.1:67", true),
                (0, "192.0.2.1:67", false),
                (68, "192.0.2.1:68", false),
                (546, "[2001:db8::1]:547", true),
                (0, "[2001:db8::1]:547", false),
            ] {
                assert_eq!(leaves(How::From(from), to).await, gets_out, "from port {from} to {to}");
            }
        }
        // Who is there is asked and told all the same, and what is sent to oneself passes.
        assert!(run("ip -6 neighbour flush dev eth0; ping -6 -c1 -W1 -q ::1 >/dev/null"));
        table.remove().await.unwrap();
        assert!(leaves(How::Over("eth0"), far[0]).await);
    });
}

#[test]
fn neighbours_are_found_while_nothing_else_gets_out() {
    let neighbour = "mkdir -p /run/netns; ip netns add far; sysctl -qw net.ipv6.conf.default.accept_dad=0; \
         ip link add eth0 type veth peer name eth0 netns far; ip link set eth0 up; ip -n far link set eth0 up; \
         ip address add 2001:db8::7/64 dev eth0 nodad; ip -n far address add 2001:db8::20/64 dev eth0 nodad;";
    inside("confined::neighbours_are_found_while_nothing_else_gets_out", neighbour, async || {
        let table = FirewallTable::open(&LINK.parse().unwrap()).unwrap();
        table.set(&confined(&[])).await.unwrap();
        assert!(!leaves(How::Over("eth0"), "[2001:db8::20]:53").await);
        assert!(leaves(How::Marked, "[2001:db8::20]:53").await);
        let known =
            async || crate::common::output("ip -6 neighbour").contains("2001:db8::20 dev eth0 lladdr");
        crate::common::eventually("the neighbour answers", known).await;
    });
}
