//! One suite for every message broker, and tests of the agent's link and the server's front against each other.
//!
//! `conformance` speaks to a broker through a client library of its own; the embedded broker is its first subject.

#![expect(clippy::unwrap_used, reason = "in a test a panic with its line says enough")]

mod burst;
mod client;
mod conformance;
mod front;
mod link;
mod server;
mod trust;
