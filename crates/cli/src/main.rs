//! `netloom`: the administrator's command line. All that it does is in the library; here the real terminal, environment
//! and clock are handed over.

use std::process::ExitCode;

use clap::Parser as _;
use cli::{Arguments, Console, Environment, Terminal};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut console = Console::new(Terminal::real(), Environment::of_process(), arguments.global.clone());
    ExitCode::from(cli::run(arguments.command, &mut console))
}
