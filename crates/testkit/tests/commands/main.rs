//! `netloom` against the real server: every noun once, in tables and in JSON, and what it says of policies against an
//! independent evaluator.
//!
//! Not for what commands send (the command line's own tests have a double for that) and not for packets (the lab). Needs no
//! rights: server and command line are processes on loopback, agents are simulated.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its parts")]

mod document;
mod explain;
mod nouns;
mod seat;
