//! `cargo xtask test`: everything that can fail, in one command.

use anyhow::Result;

use crate::requirements;
use crate::rqlite;
use crate::run::{cargo, run, say};
use crate::unpack;

/// Builds the programs (the lab runs the real ones), then runs the tests of every crate.
pub(crate) fn test(no_vm: bool, filter: Option<&str>) -> Result<()> {
    rqlite::for_tests()?;
    requirements::for_tests(!no_vm)?;
    unpack::for_tests()?;
    say("building the programs that the lab runs");
    run(cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    let mut command = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    if let Some(filter) = filter {
        command.args(["--", filter]);
    }
    if no_vm {
        command.env("NETLOOM_TEST_VM", "off");
    }
    run(command)
}
