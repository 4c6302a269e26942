//! The core of these tests once more where the kernel has WireGuard: in the virtual machine.
//!
//! Not a test of the virtual machine, and not of time: its processor is emulated, so every limit is stretched there.

use std::time::{Duration, Instant};

use reconcile::LinkKind;
use testkit::house::{House, NETWORK, SLOWNESS, alone};
use testkit::lab::NatKind;
use testkit::vm::{Vm, VmCommand, is_left_out};

use crate::join_all;
use crate::leave::{as_before, forgotten};
use crate::reach::uses;
use crate::roam::gets_another_address;
use crate::survive::survives_a_killed_agent;

/// Set for tests that run inside, where the kernel's WireGuard must be in use.
const KERNEL_MUST_HAVE_WIREGUARD: &str = "NETLOOM_MESH_ON_KERNEL";
/// How many times slower the emulated processor is, generously.
const TIMES_SLOWER: u32 = 15;

/// Told when all was done.
const LAST_WORDS: &str = "a host that leaves is forgotten, and its machine is as before";

/// Whose WireGuard hosts must have here: the kernel's where there is one.
pub(crate) fn expected_wireguard() -> LinkKind {
    if std::env::var_os(KERNEL_MUST_HAVE_WIREGUARD).is_some() {
        LinkKind::Kernel
    } else {
        LinkKind::Userspace
    }
}

#[test]
fn the_core_of_this_holds_with_the_kernels_wireguard() {
    if is_left_out("the mesh on the kernel's own WireGuard") {
        return;
    }
    let _alone = alone();
    let vm = Vm::prepare(|progress| println!("{progress}")).unwrap();
    let command = VmCommand::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "vm::the_part_that_runs_inside"])
        .env(KERNEL_MUST_HAVE_WIREGUARD, "1")
        .env(SLOWNESS, TIMES_SLOWER.to_string())
        .env("RUST_BACKTRACE", "0")
        .limit(Duration::from_secs(600));
    let told = vm.run(&command, &mut std::io::stdout()).unwrap();
    assert_eq!(
        told.status, 0,
        "in the virtual machine, where limits are {TIMES_SLOWER} times longer:\n{}",
        told.output
    );
    assert!(told.output.contains("1 passed") && told.output.contains(LAST_WORDS), "{}", told.output);
}

/// One house for everything, because setting one up takes most of the time there.
#[test]
fn the_part_that_runs_inside() {
    if expected_wireguard() == LinkKind::Userspace {
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
