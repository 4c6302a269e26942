//! The parts of `netclient`, as a library so that tests can start them one by one.
//!
//! Not for other crates: nothing but this crate's binary and tests links it.

pub mod command;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod hands;
pub mod link;
pub mod logging;
pub mod names;
pub mod options;
pub mod places;
pub mod probe;
pub mod state;
pub mod talk;
pub mod view;
