//! The hands on real networks, each test in namespaces of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod common;
mod confined;
mod firewall;
mod firewall_connections;
mod firewall_pretence;
mod firewall_stage;
mod firewall_traffic;
mod firewall_translations;
mod hands;
mod resolver_common;
mod resolver_crash;
mod resolver_file;
mod resolver_resolvconf;
mod resolver_resolved;
mod steady;
mod stream;
mod trouble;
mod tunnel;
mod vm;
mod watching;
