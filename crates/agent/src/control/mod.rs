//! The daemon's control socket: one JSON object a line, a request and its answer.
//!
//! Not for what is answered. It keeps true that only root and the daemon's own user are heard, whoever can reach the
//! socket, and that no line is longer than is taken.

mod client;
mod server;

use serde::{Deserialize, Serialize};

use crate::view::View;

pub use client::{Daemon, NotRunning};
pub use server::{Call, Control};

/// The longest request line.
const MOST_REQUEST: u64 = 64 * 1024;
/// The longest answer line: the view of ten thousand peers has about eight million bytes.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;

/// What a command asks of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Request {
    /// What is going on.
    Status,
    /// Ask the server for the newest map and carry it out.
    Pull,
    /// The state on disk has changed: start again with it. Tunnels stay.
    Reload,
    /// End. Tunnels stay.
    Stop,
}

/// What the daemon answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// What is going on.
    Status(Box<View>),
    /// It could not be done.
    Failed(String),
}
