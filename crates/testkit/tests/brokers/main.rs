//! One suite for all message brokers: the embedded one, Mosquitto with its accounts kept by its plugin and by files, and NATS.
//!
//! Hosts are the agent's own links, and clients that misbehave. What only the embedded broker promises is tested in `broker`.

#![expect(clippy::unwrap_used, reason = "in a test a panic with its line says enough")]

mod accounts;
mod client;
mod hosts;
mod outages;
mod subject;
mod whole;
