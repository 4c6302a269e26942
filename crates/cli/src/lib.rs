//! The administrator's command line: nothing but a client of the API, with no powers beyond it.
//!
//! Not for deciding: what may be done is the server's to say. It keeps true that a password or token is sent only to the
//! server it belongs to, over a connection whose other end was proved, and is never an argument or part of an output that
//! was not asked for it.

mod arguments;
mod client;
mod command;
mod connection;
mod console;
mod contexts;
mod environment;
mod failure;
mod private_file;
mod private_key;
mod qr;
mod render;
mod span;
mod terminal;
mod trust;
mod value;

pub use arguments::{Arguments, Command, Global};
pub use console::Console;
pub use environment::Environment;
pub use terminal::{Ask, Terminal};

/// Runs a command and says how it went: 0 done, 1 refused or failed, 2 used wrongly, 3 asked and
/// answered with no. Errors are told on the terminal.
pub fn run(command: Command, console: &mut Console) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.terminal.note(&format!("netloom: the program could not be started: {error}"));
            return 1;
        }
    };
    runtime.block_on(run_in(command, console))
}

/// The same, inside a runtime that is there already.
pub async fn run_in(command: Command, console: &mut Console) -> u8 {
    let Err(failure) = command::run(command, console).await else {
        return 0;
    };
    if failure.is_closed_pipe() {
        return 0;
    }
    if !failure.is_told() {
        console.terminal.note(&failure.text());
    }
    failure.exit_code()
}
