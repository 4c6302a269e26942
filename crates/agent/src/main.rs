//! `netclient`: reads its arguments, carries out the command, and says in one sentence what went wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::command::main(std::env::args_os())
}
