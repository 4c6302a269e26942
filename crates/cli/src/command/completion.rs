//! `netloom completion`: scripts with which shells complete our commands.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;
use crate::console::Console;
use crate::failure::Failure;

/// Print a completion script for a shell.
///
/// For bash: netloom completion bash > ~/.local/share/bash-completion/completions/netloom
#[derive(Debug, Args)]
pub struct Completion {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, console: &mut Console) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut Arguments::command(), "netloom", &mut script);
        console.terminal.print(&String::from_utf8_lossy(&script))
    }
}
