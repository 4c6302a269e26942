//! The whole server in this process, on ports of its own, with administrators and simulated agents that talk to it over TLS.
//!
//! Not for what needs the real program: kills, settings and restored backups are in `program`.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod contract;
mod following;
mod joining;
mod names;
mod journal;
mod presence;
mod rendezvous;
mod restart;
mod running;
mod sessions;
mod things;
