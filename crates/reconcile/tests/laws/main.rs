//! The laws of DESIGN 4 for `desired` and `reconcile`, over arbitrary maps, settings and machines.
//!
//! The machine is a value; what an op does to it is `Actual::apply`, the same meaning that `platform` gives it.

#![expect(clippy::unwrap_used, reason = "a test may end where its own making fails")]

mod access;
mod derive;
mod gateways;
mod machines;
mod maps;
mod reconcile;
mod two_networks;
