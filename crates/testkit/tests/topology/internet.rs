//! Internet gateways: everything leaves through one, nothing beside it.

pub(crate) mod lifeline;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::house::{Home, Host, House, patience};
use testkit::lab::{Capture, Flow, Machine, NatKind, Traffic, eventually};

use crate::{SOON, as_before, ip, join_all, state};

pub(crate) const WEB: [&str; 2] = ["203.0.113.250", "2001:db8::250"];
const SERVER: &str = "203.0.113.1";

struct Scene {
    house: House,
    gate: Host,
    node: Host,
    neighbour: Machine,
    web: Machine,
    _home: Home,
}

/// A gateway in public, a node behind a NAT with a neighbour in its LAN, and somebody in the internet.
fn scene(name: &str) -> Scene {
    let (house, token) = House::with_network(name).unwrap();
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let (gate, node) = (house.public("gate").unwrap(), house.behind(&home, "node").unwrap());
    join_all(&[&gate, &node], &token);
    let neighbour = house.lab().machine("neighbour").unwrap();
    neighbour.attach(home.lan(), &["192.168.1.200/24", "fd00:1::200/64"], &[]).unwrap();
    let web = house.lab().machine("web").unwrap();
    web.attach(house.internet(), &["203.0.113.250/24", "2001:db8::250/64"], &[]).unwrap();
    house.desk().unwrap().node("gate", &json!({"internet_gateway": true})).unwrap();
    Scene { house, gate, node, neighbour, web, _home: home }
}

/// From which address the machine in the internet sees a ping of this host.
pub(crate) fn seen_from(web: &Machine, host: &Machine, to: &str) -> Result<Vec<IpAddr>> {
    let capture = Capture::start(web, "eth0", "web")?;
    let pings = |traffic: &Traffic| -> Vec<IpAddr> {
        let pings =
            traffic.flows().filter(|(flow, _)| matches!(flow.protocol, 1 | 58) && flow.to.0 == ip(to));
        pings.map(|(flow, _)| flow.from.0).collect()
    };
    host.ping(ip(to))?;
    // What was answered was seen, but perhaps not written down yet.
    eventually(patience(SOON), || {
        ensure!(!pings(&capture.traffic()?).is_empty(), "{} answered a ping that it did not see", web.name());
        Ok(())
    })?;
    Ok(pings(&capture.stop()?))
}

/// What may pass beside the tunnel: WireGuard, and the way to the server.
fn is_expected(node_port: u16) -> impl Fn(&Flow) -> bool {
    move |flow| {
        let dhcp = flow.is_udp(67) || flow.is_udp(68) || flow.is_udp(546) || flow.is_udp(547);
        let server = flow.protocol == 6 && flow.concerns(ip(SERVER));
        flow.is_udp(node_port) || dhcp || server
    }
}

/// Whether a ping that names the link by which it leaves is answered.
fn pings_over_eth0(machine: &Machine, to: &str) -> bool {
    let ping = machine.attempt("ping", ["-n", "-q", "-c", "1", "-W", "1", "-I", "eth0", to]).unwrap();
    ping.status.success()
}

fn strange(traffic: Traffic, node: &Host) -> Traffic {
    let port = node.look().unwrap().interface.unwrap().port;
    traffic.without(is_expected(port))
}

#[test]
fn everything_leaves_through_the_internet_gateway_and_nothing_leaks_when_it_dies() {
    let Scene { house, gate, node, neighbour, web, _home } = scene("internet");
    nothing_leaks_when_the_gateway_dies(&house, &gate, &node, &web);
    neighbour.ping(node_lan(&node)).unwrap();
}

/// A node behind the first NAT box goes out through the gateway, which dies, and then by itself again.
pub(crate) fn nothing_leaks_when_the_gateway_dies(house: &House, gate: &Host, node: &Host, web: &Machine) {
    let desk = house.desk().unwrap();
    let direct = seen_from(web, node.machine(), WEB[0]).unwrap();
    assert_eq!(direct, [ip("203.0.113.101")], "the NAT box");
    let before = state(node.machine()).unwrap();
    let gate_address = seen_from(web, gate.machine(), WEB[0]).unwrap();

    let capture = Capture::start(node.machine(), "eth0", "tunnel").unwrap();
    desk.node(node.name(), &json!({"internet": {"gateway": gate.name(), "lan": false}})).unwrap();
    eventually(patience(SOON), || {
        let seen = seen_from(web, node.machine(), WEB[0])?;
        ensure!(seen == gate_address, "{} is seen at {seen:?}", node.name());
        Ok(())
    })
    .unwrap();
    // Only what the test itself asked for before the tunnel was on leaves beside it.
    let switching = strange(capture.stop().unwrap(), node);
    let switching = switching.without(|flow| flow.protocol == 1 && flow.concerns(ip(WEB[0])));
    assert!(switching.is_empty(), "beside the tunnel, while it is switched on, there is:\n{switching}");
    // From here on every packet counts.
    let capture = Capture::start(node.machine(), "eth0", "full").unwrap();
    for to in WEB {
        eventually(patience(SOON), || node.machine().ping(ip(to))).unwrap();
        assert!(!pings_over_eth0(node.machine(), to), "a program that names the link gets past the tunnel");
    }
    node.machine().cannot_ping(ip("192.168.1.200")).unwrap();
    assert!(!pings_over_eth0(node.machine(), "192.168.1.200"), "the LAN is out of reach");
    house.administrator().wait_for_presence(node.name(), true, patience(SOON)).unwrap();
    gate.die().unwrap();
    for to in WEB {
        node.machine().cannot_ping(ip(to)).unwrap();
        assert!(!pings_over_eth0(node.machine(), to));
    }
    node.machine().cannot_ping(ip("192.168.1.1")).unwrap();
    let traffic = capture.stop().unwrap();
    assert!(!traffic.is_empty());
    let strange = strange(traffic, node);
    assert!(strange.is_empty(), "beside the tunnel there is:\n{strange}");

    desk.node(node.name(), &json!({"internet": Value::Null})).unwrap();
    eventually(patience(SOON), || {
        ensure!(seen_from(web, node.machine(), WEB[0])? == direct, "it does not go out by itself again");
        let difference = before.diff(&state(node.machine())?);
        ensure!(difference.is_empty(), "{difference}");
        Ok(())
    })
    .unwrap();
}

/// Whether it is of the homes' private ranges, or of groups.
fn is_lan(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

#[test]
fn a_gateway_that_is_removed_opens_nothing_until_somebody_chooses() {
    let Scene { house, gate, node, web, neighbour: _neighbour, _home } = scene("gone");
    let desk = house.desk().unwrap();
    let direct = seen_from(&web, node.machine(), WEB[0]).unwrap();
    let gate_address = seen_from(&web, gate.machine(), WEB[0]).unwrap();
    desk.node(node.name(), &json!({"internet": {"gateway": gate.name(), "lan": false}})).unwrap();
    eventually(patience(SOON), || {
        let seen = seen_from(&web, node.machine(), WEB[0])?;
        ensure!(seen == gate_address, "{} is seen at {seen:?}", node.name());
        Ok(())
    })
    .unwrap();
    let capture = Capture::start(node.machine(), "eth0", "gone").unwrap();
    let said = house.administrator().run(["host", "delete", gate.name(), "-y"]).unwrap();
    assert!(said.stdout.contains("nothing goes out") && said.stdout.contains(node.name()), "{said}");
    eventually(patience(SOON), || {
        let list = node.netclient(["list"])?;
        ensure!(list.stdout.contains("no way to the internet"), "{list}");
        Ok(())
    })
    .unwrap();
    for to in WEB {
        node.machine().cannot_ping(ip(to)).unwrap();
    }
    let strange = strange(capture.stop().unwrap(), &node);
    assert!(strange.is_empty(), "beside the tunnel there is:\n{strange}");
    desk.node(node.name(), &json!({"internet": Value::Null})).unwrap();
    eventually(patience(SOON), || {
        ensure!(seen_from(&web, node.machine(), WEB[0])? == direct, "it does not go out by itself again");
        Ok(())
    })
    .unwrap();
}

fn node_lan(node: &Host) -> IpAddr {
    let said = node.machine().run("ip", ["-o", "-4", "address", "show", "dev", "eth0"]).unwrap().stdout;
    ip(said.split_whitespace().nth(3).unwrap().split('/').next().unwrap())
}

#[test]
fn the_local_network_stays_reachable_where_that_is_chosen_and_leaving_restores_the_default_route() {
    let (house, token) = House::with_network("lan").unwrap();
    let home = house.home("box", NatKind::PortRestricted).unwrap();
    let node = house.machine_behind(&home, "node").unwrap();
    let before = node.machine().snapshot().unwrap();
    let gate = house.public("gate").unwrap();
    join_all(&[&gate, &node], &token);
    let neighbour = house.lab().machine("neighbour").unwrap();
    neighbour.attach(home.lan(), &["192.168.1.200/24", "fd00:1::200/64"], &[]).unwrap();
    let web = house.lab().machine("web").unwrap();
    web.attach(house.internet(), &["203.0.113.250/24", "2001:db8::250/64"], &[]).unwrap();
    let desk = house.desk().unwrap();
    desk.node("gate", &json!({"internet_gateway": true})).unwrap();
    desk.node("node", &json!({"internet": {"gateway": "gate", "lan": true}})).unwrap();
    // The NAT box has no way out for IPv6: only the gateway has.
    eventually(patience(SOON), || node.machine().ping(ip(WEB[1]))).unwrap();
    node.machine().ping(ip(WEB[0])).unwrap();
    node.machine().ping(ip("192.168.1.200")).unwrap();
    neighbour.ping(node_lan(&node)).unwrap();
    assert!(pings_over_eth0(node.machine(), "192.168.1.200"));

    // What the LAN says of the internet counts for nothing (DHCP's option 121), nor does what names the link.
    let halves = ["0.0.0.0/1", "128.0.0.0/1"];
    let capture = Capture::start(node.machine(), "eth0", "lan").unwrap();
    for half in halves {
        node.machine().run("ip", ["route", "add", half, "via", "192.168.1.1"]).unwrap();
    }
    node.machine().ping(ip(WEB[0])).unwrap();
    assert!(!pings_over_eth0(node.machine(), WEB[0]));
    let strange =
        strange(capture.stop().unwrap(), &node).without(|flow| is_lan(flow.from.0) && is_lan(flow.to.0));
    assert!(strange.is_empty(), "beside the tunnel there is:\n{strange}");
    for half in halves {
        node.machine().run("ip", ["route", "delete", half, "via", "192.168.1.1"]).unwrap();
    }

    // Another program removes the switches: they are back long before the agent looks by itself.
    for family in ["-4", "-6"] {
        node.machine().run("ip", [family, "rule", "delete", "priority", "20044"]).unwrap();
    }
    eventually(patience(Duration::from_secs(10)), || {
        for family in ["-4", "-6"] {
            let rules = node.machine().run("ip", [family, "rule"])?.stdout;
            ensure!(rules.contains("20044:"), "{rules}");
        }
        Ok(())
    })
    .unwrap();
    node.netclient(["uninstall"]).unwrap();
    as_before(node.machine(), &before);
    assert!(node.machine().ping(ip(WEB[0])).is_ok());
}

#[test]
fn a_tunnel_is_shut_when_the_machine_starts_before_the_agent_is_there() {
    let Scene { house, gate, node, web, neighbour: _neighbour, _home } = scene("boot");
    let desk = house.desk().unwrap();
    let (direct, through) =
        (seen_from(&web, node.machine(), WEB[0]).unwrap(), seen_from(&web, gate.machine(), WEB[0]).unwrap());
    let goes_out_as = |wanted: &[IpAddr]| {
        eventually(patience(SOON), || {
            let seen = seen_from(&web, node.machine(), WEB[0])?;
            ensure!(seen == wanted, "it is seen at {seen:?}");
            Ok(())
        })
        .unwrap();
    };
    desk.node("node", &json!({"internet": {"gateway": "gate", "lan": false}})).unwrap();
    goes_out_as(&through);
    node.die().unwrap();
    node.machine().power_on().unwrap();
    goes_out_as(&direct);
    // What the service does before any network is there; once more changes nothing.
    for _ in 0..2 {
        node.netclient(["early"]).unwrap();
        for to in WEB {
            node.machine().cannot_ping(ip(to)).unwrap();
            assert!(!pings_over_eth0(node.machine(), to), "{to}");
        }
    }
    node.start_agent().unwrap();
    goes_out_as(&through);
    desk.node("node", &json!({"internet": Value::Null})).unwrap();
    goes_out_as(&direct);
    node.netclient(["early"]).unwrap();
    goes_out_as(&direct);
}

#[test]
fn a_client_with_a_full_tunnel_goes_out_through_its_gateway() {
    let Scene { house, gate, web, node: _node, neighbour: _neighbour, _home } = scene("tunnel");
    let desk = house.desk().unwrap();
    desk.node("gate", &json!({"remote_access": true})).unwrap();
    let home = house.home("street", NatKind::PortRestricted).unwrap();
    let phone = house.foreign_behind(&home, "phone").unwrap();
    let made = desk.post("clients", &json!({"name": "phone", "full_tunnel": true})).unwrap();
    phone.up(made["config"].as_str().unwrap()).unwrap();
    let gate_address = seen_from(&web, gate.machine(), WEB[0]).unwrap();
    eventually(patience(SOON), || {
        let seen = seen_from(&web, phone.machine(), WEB[0])?;
        ensure!(seen == gate_address, "the phone is seen at {seen:?}");
        phone.machine().ping(ip(WEB[1]))
    })
    .unwrap();
    let capture = Capture::start(phone.machine(), "eth0", "phone").unwrap();
    phone.machine().ping(ip(WEB[0])).unwrap();
    let traffic =
        capture.stop().unwrap().without(|flow| flow.protocol == 17 && flow.concerns(gate_address[0]));
    assert!(traffic.is_empty(), "beside WireGuard with the gateway:\n{traffic}");
}
