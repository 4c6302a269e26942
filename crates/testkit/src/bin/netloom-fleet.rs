//! `netloom-fleet`: started by `cargo xtask bench fleet`. All that it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::fleet_bench::main()
}
