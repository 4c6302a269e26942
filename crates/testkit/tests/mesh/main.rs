//! The mesh in the lab, with the real programs: server, administrator's command line, agents, WireGuard, NAT boxes.
//!
//! Not for single decisions: the pure crates test those. One test for each promise that a user would notice being broken.
//! Tests run one at a time, whatever the test runner says, because they measure time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its parts")]

mod addresses;
mod broker;
mod commands;
mod demo;
mod leave;
mod reach;
mod refuse;
mod rekey;
mod roam;
mod survive;
mod vm;

use std::time::Duration;

use reconcile::LinkKind;
use testkit::house::{Host, House, all_reach_all, patience};

/// Long enough for anything that has no limit of its own.
const SOON: Duration = Duration::from_secs(20);

/// Joins all of these (those that are in already stay), waits until all reach all, and checks whose WireGuard it is.
fn join_all(hosts: &[&Host], token: &str) {
    for host in hosts {
        host.join(token).unwrap();
    }
    all_reach_all(hosts, patience(SOON)).unwrap();
    for host in hosts {
        let kind = host.look().unwrap().interface.unwrap().wireguard.unwrap();
        assert_eq!(kind, testkit::vm::expected_wireguard(), "on {}", host.name());
    }
}

/// A house with this many public hosts, `a`, `b`, …, that all reach each other.
fn public_hosts(name: &str, names: &[&str]) -> (House, String, Vec<Host>) {
    let (house, token) = House::with_network(name).unwrap();
    let hosts: Vec<Host> = names.iter().map(|name| house.public(name).unwrap()).collect();
    join_all(&hosts.iter().collect::<Vec<_>>(), &token);
    (house, token, hosts)
}

/// The programs of ours that run on a host, by their place.
fn our_processes(host: &Host) -> Vec<String> {
    let script = "for each in /proc/[0-9]*; do readlink $each/exe; done; true";
    let said = host.machine().run("sh", ["-c", script]).unwrap().stdout;
    said.lines().filter(|program| program.contains("netclient")).map(str::to_owned).collect()
}

fn is_userspace() -> bool {
    testkit::vm::expected_wireguard() == LinkKind::Userspace
}
