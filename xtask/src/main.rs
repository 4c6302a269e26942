//! The project's own commands: `cargo xtask <command>`. Each prints what it does before it does it.
//!
//! Not for logic of the product: this only starts cargo, the tests, and the programs in `crates/testkit/src/bin`.

mod ci;
mod requirements;
mod rqlite;
mod run;
mod test;
mod tidy;
mod unpack;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, try, test and measure Netloom")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a server and three machines in namespaces, and show who reaches whom (no root needed)
    Demo {
        /// End after the first complete table; the exit code is 0 only if every pair works
        #[arg(long)]
        once: bool,
        /// How many machines
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
        machines: u8,
    },
    /// Build and start just the server, for real use; what follows `--` goes to the server
    Up {
        /// Arguments of `netloom-server`
        #[arg(last = true)]
        server: Vec<String>,
    },
    /// Install or name what is missing, build everything, run every test
    Test {
        /// Leave out the virtual machine (the tests of the kernel's own WireGuard)
        #[arg(long)]
        no_vm: bool,
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// All that must hold before a change lands: format, clippy, tidy, docs, deny, tests
    Ci,
    /// The house rules that no other tool checks
    Tidy,
    /// Write the generated files again (openapi/netloom.json)
    Codegen {
        /// Write nothing; fail when something would change
        #[arg(long)]
        check: bool,
    },
    /// Measure; without a name, everything. What follows `--` goes to the benchmark, such as `-- --json`
    Bench {
        /// join, converge, commits, enrol; not among everything: fleet (thousands of simulated agents), dns
        /// (beside unbound), cluster (servers, database and broker are killed while everything goes on)
        name: Option<String>,
        /// Arguments of the benchmark; `-- --help` shows them
        #[arg(last = true)]
        more: Vec<String>,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> anyhow::Result<()> {
    run::enter_root()?;
    match command {
        Command::Demo { once, machines } => up::demo(once, machines),
        Command::Up { server } => up::server(&server),
        Command::Test { no_vm, filter } => test::test(no_vm, filter.as_deref()),
        Command::Ci => ci::ci(),
        Command::Tidy => tidy::tidy(),
        Command::Codegen { check } => ci::codegen(check),
        Command::Bench { name, more } => up::bench(name.as_deref(), &more),
    }
}
