//! What the server's brain decides, command by command. Longer stories are `testkit`'s scenarios.

#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod authorise;
mod enrol;
mod networks;
mod server;
