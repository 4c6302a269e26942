//! The whole server in this process, on ports of its own, with administrators and simulated agents that talk to it over TLS.
//!
//! Not for what needs the real program: kills, settings and restored backups are in `program`.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod clients;
mod contract;
mod document;
mod ends;
mod following;
mod joining;
mod journal;
mod names;
mod policies;
mod presence;
mod records;
mod rendezvous;
mod restart;
mod running;
mod sessions;
mod several;
mod several_cut;
mod several_fail;
mod several_told;
mod things;
mod troubles;
mod ways;
