//! What tests of every crate share: simulated worlds, and a lab of real machines made of namespaces or a small VM.
//!
//! Not part of any program that is shipped.

pub mod bench;
pub mod brokers;
mod chance;
pub mod cluster;
pub mod demo;
pub mod engines;
pub mod fleet;
pub mod fleet_bench;
pub mod house;
pub mod lab;
pub mod oracle;
pub mod probe;
pub mod programs;
pub mod scenario;
pub mod swarm;
pub mod vm;
pub mod world;
