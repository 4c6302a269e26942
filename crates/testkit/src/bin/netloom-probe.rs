//! `netloom-probe`: started by tests in machines of the lab. All that it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::probe::main()
}
