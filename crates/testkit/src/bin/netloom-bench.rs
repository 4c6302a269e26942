//! `netloom-bench`: started by `cargo xtask bench`. All that it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::bench::main()
}
