//! The parts of `netloom-server`, as a library so that tests can start them one by one.
//!
//! Not for other crates: nothing but this crate's binary and tests links it.

pub mod agents;
pub mod attempts;
pub mod brain;
pub mod broker;
pub mod channels;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod front;
mod ground;
pub mod http;
pub mod identity;
mod measures;
mod names;
pub mod owner;
pub mod rekey;
pub mod restore;
pub mod serve;
pub mod settings;
pub mod setup;
pub mod telemetry;
