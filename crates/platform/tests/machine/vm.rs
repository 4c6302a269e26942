//! The same tests once more where the kernel has WireGuard: in the virtual machine.
//!
//! Not a test of the virtual machine: `testkit` has those.

use std::time::Duration;

use testkit::vm::{Vm, VmCommand, is_left_out};

use crate::common::KERNEL_MUST_HAVE_WIREGUARD;

#[test]
fn all_of_this_holds_with_the_kernels_wireguard() {
    if is_left_out("the machine's hands on the kernel's own WireGuard") {
        return;
    }
    let vm = Vm::prepare(|progress| println!("{progress}")).unwrap();
    let command = VmCommand::new(std::env::current_exe().unwrap())
        .args(["hands::", "trouble::", "watching::"])
        .env(KERNEL_MUST_HAVE_WIREGUARD, "1")
        .limit(Duration::from_secs(400));
    let told = vm.run(&command, &mut std::io::stdout()).unwrap();
    assert_eq!(told.status, 0, "in the virtual machine:\n{}", told.output);
}
