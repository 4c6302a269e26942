//! The core of these tests once more where the kernel has WireGuard: in the virtual machine.
//!
//! Not a test of the virtual machine, and not of time: its processor is emulated, so every limit is stretched there.

use std::time::{Duration, Instant};

use testkit::house::{House, NETWORK, alone};
use testkit::lab::NatKind;
use testkit::vm::{is_inside, is_left_out, run_inside};

use crate::join_all;
use crate::leave::{as_before, forgotten};
use crate::reach::uses;
use crate::roam::gets_another_address;
use crate::survive::survives_a_killed_agent;

/// Told when all was done.
const LAST_WORDS: &str = "a host that leaves is forgotten, and its machine is as before";
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn the_core_of_this_holds_with_the_kernels_wireguard() {
    if is_left_out("the mesh on the kernel's own WireGuard") {
        return;
    }
    let _alone = alone();
    run_inside("vm::the_part_that_runs_inside", LAST_WORDS, LIMIT).unwrap();
}

/// One house for everything, because setting one up takes most of the time there.
#[test]
fn the_part_that_runs_inside() {
    if !is_inside() {
        return;
    }
    let (house, token) = House::with_network("kernel").unwrap();
    let homes = ["one", "two"].map(|name| house.home(name, NatKind::PortRestricted).unwrap());
    let (public, inner) = (house.public("public").unwrap(), house.behind(&homes[0], "inner").unwrap());
    join_all(&[&public, &inner], &token);

    let guest = house.machine_behind(&homes[1], "guest").unwrap();
    let before = guest.machine().snapshot().unwrap();
    join_all(&[&guest, &public, &inner], &token);
    uses(&inner, &guest, homes[1].public().unwrap());
    uses(&guest, &inner, homes[0].public().unwrap());
    println!("three hosts reach each other through two NATs");

    survives_a_killed_agent(&public, &inner);
    println!("no ping was lost while an agent was killed and started again");

    gets_another_address(&public, [&inner, &guest]);
    println!("peers follow a host that roams");

    guest.netclient(["leave", NETWORK]).unwrap();
    forgotten(&[&public, &inner], &guest, Instant::now());
    as_before(&guest, &before);
    println!("{LAST_WORDS}");
}
