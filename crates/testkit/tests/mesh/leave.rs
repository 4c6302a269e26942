//! Leaving: the others forget at once, and the machine is what it was before.

use std::time::{Duration, Instant};

use anyhow::ensure;
use testkit::house::{Host, NETWORK, all_reach_all, patience};
use testkit::lab::{MachineState, eventually};

use crate::{SOON, is_userspace, our_processes, public_hosts};

/// The promise: forgotten within one second.
const FORGOTTEN: Duration = Duration::from_secs(1);

/// The others must have forgotten a host's addresses one second after `since`.
pub(crate) fn forgotten(others: &[&Host], gone: &Host, since: Instant) {
    let limit = patience(FORGOTTEN).saturating_sub(since.elapsed());
    for other in others {
        eventually(limit, || {
            for address in gone.addresses()? {
                ensure!(!other.knows(*address)?, "{} still knows {}", other.name(), gone.name());
            }
            Ok(())
        })
        .unwrap();
        assert!(other.look().unwrap().peer(gone.name()).is_none(), "in {}'s status", other.name());
    }
}

#[track_caller]
pub(crate) fn as_before(host: &Host, before: &MachineState) {
    let difference = before.diff(&host.machine().snapshot().unwrap());
    assert!(difference.is_empty(), "{} is not what it was:\n{difference}", host.name());
    assert_eq!(our_processes(host), Vec::<String>::new());
}

#[test]
fn a_host_that_leaves_is_forgotten_within_a_second_and_its_machine_is_as_before() {
    let (house, token, hosts) = public_hosts("leave", &["a", "b"]);
    let guest = house.public_machine("guest").unwrap();
    let before = guest.machine().snapshot().unwrap();
    // As a newcomer does it: nothing runs yet, `join` sees to the daemon.
    guest.join(&token).unwrap();
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    all_reach_all(&[a, b, &guest], patience(SOON)).unwrap();
    let during = guest.machine().snapshot().unwrap();
    assert!(!before.diff(&during).is_empty(), "joining must leave traces, or this test sees nothing");

    guest.netclient(["leave", NETWORK]).unwrap();
    forgotten(&[a, b], &guest, Instant::now());
    as_before(&guest, &before);
    assert!(house.administrator().host("guest").is_err(), "the server must have forgotten the host");
    all_reach_all(&[a, b], patience(SOON)).unwrap();

    // And it can come back.
    guest.join(&token).unwrap();
    guest.netclient(["uninstall"]).unwrap();
    as_before(&guest, &before);
}

#[test]
fn a_host_that_uninstalls_is_forgotten_within_a_second_and_its_machine_is_as_before() {
    let (house, token, hosts) = public_hosts("uninstall", &["a", "b"]);
    let other = house.administrator().create_network("lab", "10.30.0.0/16", "fd30::/64").unwrap();
    let second =
        house.administrator().token(&testkit::house::KeyPlan::into_network(other.name.as_str())).unwrap();
    let guest = house.public_machine("guest").unwrap();
    let before = guest.machine().snapshot().unwrap();
    guest.join(&token).unwrap();
    guest.join(&second).unwrap();
    let [a, b] = &hosts[..] else { unreachable!("two were made") };
    all_reach_all(&[a, b], patience(SOON)).unwrap();
    guest.reaches(a, Instant::now() + patience(SOON)).unwrap();
    assert_eq!(guest.addresses().unwrap().len(), 4, "two networks of two families");
    assert!(b.knows(guest.v4().unwrap()).unwrap());

    guest.netclient(["uninstall"]).unwrap();
    forgotten(&[a, b], &guest, Instant::now());
    as_before(&guest, &before);
    assert!(house.administrator().host("guest").is_err(), "the server must have forgotten the host");
}

#[test]
fn an_administrator_who_deletes_a_host_takes_its_tunnels_down() {
    let (house, _token, hosts) = public_hosts("delete", &["a", "b", "c"]);
    let [a, b, c] = &hosts[..] else { unreachable!("three were made") };
    c.addresses().unwrap();
    house.administrator().run(["host", "delete", "c", "-y"]).unwrap();
    forgotten(&[a, b], c, Instant::now());
    eventually(patience(SOON), || {
        ensure!(c.interface_index()?.is_none(), "the deleted host still has its interface");
        Ok(())
    })
    .unwrap();
    assert!(c.agent_runs(), "the daemon stays, and says why it does nothing");
    if is_userspace() {
        assert_eq!(our_processes(c).len(), 1, "the device's process has ended");
    }
}
