//! Tests that run a part of themselves in the virtual machine, where the kernel has WireGuard.
//!
//! Not for what such a part does. Keeps true that a part runs inside or not at all, and that a run which did not come to
//! its end is a failure.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reconcile::LinkKind;

use super::{Vm, VmCommand};
use crate::house::SLOWNESS;

/// Set inside, where hosts must have the kernel's WireGuard.
const INSIDE: &str = "NETLOOM_LAB_ON_KERNEL";
/// How many times slower the emulated processor is, generously.
const TIMES_SLOWER: u32 = 15;

/// Whether this process runs inside.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Whose WireGuard hosts must have here: the kernel's where there is one.
pub fn expected_wireguard() -> LinkKind {
    if is_inside() { LinkKind::Kernel } else { LinkKind::Userspace }
}

/// Runs one test of the running test program inside, where limits are longer, and fails unless it passed and said `last_words`.
pub fn run_inside(test: &str, last_words: &str, limit: Duration) -> Result<()> {
    let vm = Vm::prepare(|_step| ())?;
    let program = std::env::current_exe().context("the running program has no path")?;
    let command = VmCommand::new(program)
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .env(SLOWNESS, TIMES_SLOWER.to_string())
        .env("RUST_BACKTRACE", "0")
        .limit(limit);
    let told = vm.run(&command, &mut std::io::stdout())?;
    ensure!(
        told.status == 0 && told.output.contains("1 passed") && told.output.contains(last_words),
        "in the virtual machine, where limits are {TIMES_SLOWER} times longer, it ended with {}:\n{}",
        told.status,
        told.output
    );
    Ok(())
}
