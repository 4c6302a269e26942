//! `netloom-dns-bench`: started by `cargo xtask bench dns`. All that it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::bench::dns::main()
}
