//! What the server's brain decides, command by command. Longer stories are `testkit`'s scenarios.

#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod authorise;
mod clients;
mod egress;
mod enrol;
mod import;
mod lives;
mod names;
mod networks;
mod office;
mod policies;
mod removal;
mod room;
mod rotation;
mod server;
mod ways;
