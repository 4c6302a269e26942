//! The fast path: what carries or answers WireGuard's own datagrams.
//!
//! Two parts that share nothing but the protocol. [`device`] is WireGuard in user space, for machines whose
//! kernel has none; it is controlled as every WireGuard device is, through its control socket. [`rendezvous`]
//! answers handshakes without a network interface, so that a server learns from where its hosts are seen.
//!
//! It is not for deciding anything: who may talk to whom, and over which path, is said from outside. This crate
//! knows neither the server's nor the agent's vocabulary; keys are `[u8; 32]`, addresses are `std`'s.

pub mod device;
pub mod rendezvous;

/// A WireGuard public key.
pub type PublicKey = [u8; 32];
