//! The parts of `netclient`, as a library so that tests can start them one by one.
//!
//! Not for other crates: nothing but this crate's binary and tests links it.

pub mod link;
