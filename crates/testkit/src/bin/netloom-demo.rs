//! `netloom-demo`, started by `cargo xtask demo`: a server and machines in namespaces, and who reaches whom.
//!
//! Not for more than starting: `testkit::demo` has the rest.

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::demo::main()
}
