//! Simulated agents, hundreds in one process: they do towards the server what `netclient` does, and nothing to the machine.
//!
//! They share no code with the real agent beside `wire`, so that both have to mean the same. With them come an
//! administrator, and the real server as a process. It keeps true that whatever an agent here holds was proved, sealed
//! and opened as on the wire: no shortcut into the server.

mod administrator;
mod agent;
mod application;
mod connected;
mod crowd;
mod keys;
mod process;
mod random;
mod site;

pub use administrator::{Administrator, ApiError, PASSWORD};
pub use agent::{Agent, AgentError};
pub use application::{Application, Wish};
pub(crate) use application::{facts, registration};
pub use connected::{Connected, Habits, View};
pub use crowd::{connect_all, each, join_all};
pub use keys::Keys;
pub use process::{ServerProcess, command, cpu_seconds_of};
pub(crate) use random::System;
pub use random::random;
pub use reqwest::Method;
pub use site::{Reply, Site};

use model::Timestamp;

/// The time now.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
