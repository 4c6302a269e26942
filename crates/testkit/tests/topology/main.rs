//! Every topology in the lab, with the real programs and with foreign ones: gateways, sites, relays, policies, names.
//!
//! Not for single decisions: the pure crates test those. One test for each promise that a user would notice being broken.
//! Tests run one at a time, whatever the test runner says, because they measure time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its parts")]

mod clients;
mod internet;
mod joining;
mod life;
mod names;
mod policies;
mod ranges;
mod relay;
mod remote;
mod rotation;
mod sites;
mod two_networks;
mod vm;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testkit::house::{Host, House, all_reach_all, patience};
use testkit::lab::{Machine, MachineState};
use testkit::probe::{Probe, Transport};

/// Long enough for anything that has no limit of its own.
const SOON: Duration = Duration::from_secs(20);
/// A port that machines answer on in these tests.
const PORT: u16 = 7000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A house with these public hosts, that all reach each other.
fn public_hosts(name: &str, names: &[&str]) -> (House, String, Vec<Host>) {
    let (house, token) = House::with_network(name).unwrap();
    let hosts: Vec<Host> = names.iter().map(|name| house.public(name).unwrap()).collect();
    join_all(&hosts.iter().collect::<Vec<_>>(), &token);
    (house, token, hosts)
}

fn join_all(hosts: &[&Host], token: &str) {
    for host in hosts {
        host.join(token).unwrap();
    }
    all_reach_all(hosts, patience(SOON)).unwrap();
}

/// A probe that answers at these addresses of its machine, on [`PORT`].
fn ears(machine: &Machine, addresses: &[IpAddr]) -> Probe {
    let mut probe = Probe::start(machine).unwrap();
    probe.listen(addresses, &[PORT]).unwrap();
    probe
}

/// Each of these answers the probe by TCP and UDP.
#[track_caller]
fn reaches(probe: &mut Probe, addresses: &[IpAddr]) {
    for address in addresses {
        for transport in [Transport::Tcp, Transport::Udp] {
            let to = SocketAddr::new(*address, PORT);
            let reached = probe.reaches(transport, to, patience(SOON)).unwrap();
            assert!(reached, "{} does not reach {to} by {transport:?}", probe.name());
        }
    }
}

/// What a machine is beside what the agent remembers: its networks go on.
fn state(machine: &Machine) -> anyhow::Result<MachineState> {
    Ok(machine.snapshot()?.without(|_, line| line.contains("/var/lib/netclient")))
}

/// The machine is what it was.
#[track_caller]
fn as_before(machine: &Machine, before: &MachineState) {
    let difference = before.diff(&machine.snapshot().unwrap());
    assert!(difference.is_empty(), "{} is not what it was:\n{difference}", machine.name());
}

/// Leaving all networks makes each machine what it was.
fn all_leave(hosts: &[(&Host, MachineState)]) {
    for (host, before) in hosts {
        host.netclient(["uninstall"]).unwrap();
        as_before(host.machine(), before);
    }
}
