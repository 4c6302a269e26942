//! `netloom-cluster`: started by `cargo xtask bench cluster`, and in machines of its lab. All that it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::cluster::main()
}
