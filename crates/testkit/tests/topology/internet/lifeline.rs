//! A full tunnel never cuts an agent off from its server, whatever becomes of the gateway, and nothing else gets past it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::house::{Host, House, patience};
use testkit::lab::{Capture, Daemon, Flow, Machine, NatKind, eventually};

use super::{Scene, WEB, pings_over_eth0, scene, seen_from, strange};
use crate::{SOON, ip, join_all, state};

/// What an agent hears of its server it hears within this, also without a gateway. A name that nobody tells takes two
/// seconds of it.
const PROMPT: Duration = Duration::from_secs(10);
const V6: &str = "2001:db8::1";

/// A gateway, a node that goes out through it, and somebody in the internet.
struct Stage<'a> {
    house: &'a House,
    gate: &'a Host,
    node: &'a Host,
    web: &'a Machine,
}

impl Stage<'_> {
    fn tunnel(&self, on: bool) {
        let internet = if on { json!({"gateway": "gate", "lan": false}) } else { Value::Null };
        self.house.desk().unwrap().node("node", &json!({"internet": internet})).unwrap();
    }

    /// Waits until the internet sees the node at these addresses.
    fn is_seen_at(&self, addresses: &[IpAddr]) {
        eventually(patience(PROMPT), || {
            let seen = seen_from(self.web, self.node.machine(), WEB[0])?;
            ensure!(seen == addresses, "{} is seen at {seen:?}", self.node.name());
            Ok(())
        })
        .unwrap();
    }

    fn seen(&self, host: &Host) -> Vec<IpAddr> {
        seen_from(self.web, host.machine(), WEB[0]).unwrap()
    }

    /// The server says something new, the node does it, and the server hears of that: words go both ways.
    fn hears(&self, mtu: Option<u16>) {
        let body = json!({"mtu": mtu});
        self.house.desk().unwrap().request("PATCH", "/api/v1/hosts/node", &body).unwrap();
        let wanted = format!(" mtu {} ", mtu.unwrap_or(1420));
        eventually(patience(PROMPT), || {
            let said = self.node.machine().run("ip", ["-o", "link", "show", "dev", "netloom0"])?.stdout;
            ensure!(said.contains(&wanted), "not{wanted}but {said}");
            let seen = self.house.administrator().host("node")?.inventory;
            let done = seen.wanted_generation.is_some() && seen.wanted_generation == seen.applied_generation;
            ensure!(done, "the server does not know that it was done: {seen:?}");
            Ok(())
        })
        .unwrap();
    }

    /// The agent ends as by `kill -9`, starts anew, and is back.
    fn restarts(&self) {
        self.node.kill_agent().unwrap();
        let administrator = self.house.administrator();
        administrator.wait_for_presence("node", false, patience(SOON)).unwrap();
        self.node.start_agent().unwrap();
        administrator.wait_for_presence("node", true, patience(PROMPT)).unwrap();
    }

    fn goes_nowhere(&self) {
        for to in WEB {
            self.node.machine().cannot_ping(ip(to)).unwrap();
            assert!(!pings_over_eth0(self.node.machine(), to), "{to} is reached by naming the link");
        }
    }

    /// The gateway dies and is taken away, with a restart of the agent in between; nothing but this passes beside the tunnel.
    fn lives_without_the_gateway(&self, is_allowed: impl Fn(&Flow) -> bool) {
        let before = state(self.node.machine()).unwrap();
        let (direct, through) = (self.seen(self.node), self.seen(self.gate));
        assert_ne!(direct, through);
        self.tunnel(true);
        self.is_seen_at(&through);
        let capture = Capture::start(self.node.machine(), "eth0", "lifeline").unwrap();
        self.gate.die().unwrap();
        self.goes_nowhere();
        self.hears(Some(1380));
        self.restarts();
        self.hears(Some(1340));
        self.goes_nowhere();
        let strange = strange(capture.stop().unwrap(), self.node).without(is_allowed);
        assert!(strange.is_empty(), "beside the tunnel there is:\n{strange}");
        self.tunnel(false);
        self.is_seen_at(&direct);
        self.hears(None);
        eventually(patience(SOON), || {
            let difference = before.diff(&state(self.node.machine())?);
            ensure!(difference.is_empty(), "{difference}");
            Ok(())
        })
        .unwrap();
    }
}

/// The agent's connections to its server, by their ends here.
fn connections(node: &Host) -> Result<BTreeSet<String>> {
    let said = node.machine().run("ss", ["-Htn", "state", "established", "dport = 8443"])?.stdout;
    Ok(said.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect())
}

#[test]
fn a_gateway_that_died_is_taken_away_from_afar() {
    let Scene { house, gate, node, web, neighbour: _neighbour, _home } = scene("lifeline");
    let stage = Stage { house: &house, gate: &gate, node: &node, web: &web };
    stage.lives_without_the_gateway(|_| false);
}

#[test]
fn a_connection_lives_through_a_tunnel_that_is_switched_on_and_off() {
    let Scene { house, gate, node, web, neighbour: _neighbour, _home } = scene("switch");
    let stage = Stage { house: &house, gate: &gate, node: &node, web: &web };
    let (direct, through) = (stage.seen(&node), stage.seen(&gate));
    let before = connections(&node).unwrap();
    assert!(!before.is_empty());
    for (on, seen) in [(true, &through), (false, &direct), (true, &through)] {
        stage.tunnel(on);
        stage.is_seen_at(seen);
        let now = connections(&node).unwrap();
        assert!(!now.is_disjoint(&before), "{now:?} are other connections than {before:?}");
        stage.hears(Some(if on { 1380 } else { 1340 }));
    }
}

/// A server that is known by this address, a gateway and a node with nothing between, and somebody in the internet. A
/// resolver that is given is there before anybody asks it.
fn public(house: &House, resolver: Option<&str>) -> (Host, Host, Machine) {
    let token = house.first_network().unwrap();
    let [gate, node] = ["gate", "node"].map(|name| {
        let host = house.public_machine(name).unwrap();
        if let Some(resolver) = resolver {
            host.machine().write("/etc/resolv.conf", &format!("nameserver {resolver}\n")).unwrap();
        }
        host.start_agent().unwrap();
        host
    });
    join_all(&[&gate, &node], &token);
    let web = house.lab().machine("web").unwrap();
    web.attach(house.internet(), &["203.0.113.250/24", "2001:db8::250/64"], &[]).unwrap();
    house.desk().unwrap().node("gate", &json!({"internet_gateway": true})).unwrap();
    (gate, node, web)
}

#[test]
fn a_server_that_is_reached_by_ipv6_is_reached_without_the_gateway_too() {
    let house = House::with_server_at("lifeline6", "https://[2001:db8::1]:8443").unwrap();
    let (gate, node, web) = public(&house, None);
    let stage = Stage { house: &house, gate: &gate, node: &node, web: &web };
    stage.lives_without_the_gateway(|flow| flow.protocol == 6 && flow.concerns(ip(V6)));
}

pub(crate) const ISP: &str = "203.0.113.62";

/// A provider's name server, which knows the server's name and says what it is asked.
pub(crate) fn provider(house: &House) -> (Machine, Daemon) {
    let machine = house.lab().machine("isp").unwrap();
    machine.attach(house.internet(), &[&format!("{ISP}/24")], &[]).unwrap();
    let settings = format!(
        "server:\n username: \"\"\n chroot: \"\"\n directory: \"/run\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n \
         log-queries: yes\n interface: {ISP}\n access-control: 0.0.0.0/0 allow\n local-zone: \"example.\" static\n \
         local-data: \"vpn.example. A 203.0.113.1\"\n local-data: \"vpn.example. AAAA {V6}\"\nremote-control:\n control-enable: no\n"
    );
    machine.write("/run/dns.conf", &settings).unwrap();
    let mut command = machine.command("unbound").unwrap();
    let daemon = machine.spawn("unbound", command.args(["-d", "-c", "/run/dns.conf"])).unwrap();
    (machine, daemon)
}

#[test]
fn a_server_that_is_known_by_name_is_found_without_the_gateway_and_no_other_name_is_asked_for() {
    let house = House::with_server_at("lifeline-name", "https://vpn.example:8443").unwrap();
    let (_isp, unbound) = provider(&house);
    let (gate, node, web) = public(&house, Some(ISP));
    let stage = Stage { house: &house, gate: &gate, node: &node, web: &web };
    let own = stage.seen(&node)[0];
    let asked_before = std::fs::read_to_string(unbound.log_path()).unwrap().len();
    stage.lives_without_the_gateway(|flow| {
        let server = flow.protocol == 6 && flow.concerns(ip(V6));
        server || (flow.is_udp(53) && flow.concerns(ip(ISP)))
    });
    let log = std::fs::read_to_string(unbound.log_path()).unwrap();
    let asked: Vec<&str> =
        log[asked_before..].lines().filter(|line| line.contains(&format!("info: {own} "))).collect();
    let others: Vec<&&str> = asked.iter().filter(|line| !line.contains(" vpn.example. ")).collect();
    assert!(!asked.is_empty() && others.is_empty(), "{own} asked for other names: {others:#?}");
}

#[test]
fn a_server_that_only_the_gateway_reaches_is_reached_through_the_tunnel() {
    let Scene { house, gate, node, web, neighbour: _neighbour, _home: home } = scene("through");
    let stage = Stage { house: &house, gate: &gate, node: &node, web: &web };
    let (direct, through) = (stage.seen(&node), stage.seen(&gate));
    stage.tunnel(true);
    stage.is_seen_at(&through);
    let block = ["insert", "rule", "inet", "nat", "pass", "meta", "l4proto", "tcp", "drop"];
    home.nat().machine().run("nft", block).unwrap();
    node.kill_agent().unwrap();
    node.start_agent().unwrap();
    stage.hears(Some(1380));
    // It hears by the tunnel that there is no tunnel any more, and is on its own until somebody opens the other way.
    stage.tunnel(false);
    stage.is_seen_at(&direct);
    home.nat().set_kind(NatKind::PortRestricted).unwrap();
    eventually(patience(SOON), || {
        ensure!(!connections(&node)?.is_empty(), "it is not connected");
        Ok(())
    })
    .unwrap();
    stage.hears(Some(1340));
}
