//! Linux: netlink for links, addresses, routes, the kernel's WireGuard and notices; systemd for the service.
//!
//! Not for what is the same everywhere (the control socket's protocol is a level up). It keeps true that all of it works in
//! the network namespace of the thread that opened it.

mod addresses;
mod facts;
mod local;
mod machine;
mod netlink;
mod nft;
mod presence;
mod resolver;
mod routes;
mod rules;
mod surroundings;
mod sysctls;
mod watch;
mod wireguard;

pub use facts::facts;
pub use machine::Machine;
pub use nft::{FirewallTable, FirewallWatch};
pub use resolver::{ResolverHands, ResolverLook, ResolverWatch};
pub use watch::Watch;
