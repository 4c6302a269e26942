//! The core of these tests once more where the kernel has WireGuard: in the virtual machine.
//!
//! Not a test of the virtual machine, and not of time: its processor is emulated, so every limit is stretched there.

use std::time::Duration;

use reconcile::LinkKind;
use testkit::house::{SLOWNESS, alone};
use testkit::vm::{Vm, VmCommand};

/// Set for tests that run inside, where the kernel's WireGuard must be in use.
const KERNEL_MUST_HAVE_WIREGUARD: &str = "NETLOOM_MESH_ON_KERNEL";
/// Set to `off` by `cargo xtask test --no-vm`.
const SWITCH: &str = "NETLOOM_TEST_VM";
/// How many times slower the emulated processor is, generously.
const TIMES_SLOWER: u32 = 15;

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
    if std::env::var(SWITCH).is_ok_and(|value| value == "off") {
        println!("LEFT OUT: the mesh on the kernel's own WireGuard, because {SWITCH}=off");
        return;
    }
    let _alone = alone();
    let vm = Vm::prepare(|progress| println!("{progress}")).unwrap();
    let tests = [
        "reach::a_public_host_and_two_behind_different_nats_reach_each_other_directly",
        "survive::no_ping_is_lost_while_an_agent_is_killed_and_started_again",
        "roam::peers_follow_a_host_that_gets_another_address_or_network_within_two_seconds",
        "leave::a_host_that_leaves_is_forgotten_within_a_second_and_its_machine_is_as_before",
    ];
    let command = VmCommand::new(std::env::current_exe().unwrap())
        .args(["--exact", "--test-threads=1", "--nocapture"])
        .args(tests)
        .env(KERNEL_MUST_HAVE_WIREGUARD, "1")
        .env(SLOWNESS, TIMES_SLOWER.to_string())
        .limit(Duration::from_secs(900));
    let told = vm.run(&command, &mut std::io::stdout()).unwrap();
    assert_eq!(
        told.status, 0,
        "in the virtual machine, where limits are {TIMES_SLOWER} times longer:\n{}",
        told.output
    );
    assert!(told.output.contains(&format!("{} passed", tests.len())), "{}", told.output);
}
