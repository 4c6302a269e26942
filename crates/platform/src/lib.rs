//! The machine's hands: `observe` what is there, `execute` one op, `watch` for what others do; and the service manager.
//!
//! Not for deciding anything: `reconcile` says which ops. It keeps true that the kernel is asked each time, that an op done
//! twice is done once, and that nothing but our own link and our own service file is ever touched.
//!
//! Systems are told apart in this file alone: `linux` for Linux, `elsewhere` where there is nothing yet.

mod options;
mod port;
pub mod service;
mod wireguard;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod uapi;
#[cfg(target_os = "linux")]
mod userspace;
#[cfg(target_os = "linux")]
mod words;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Machine, ResolverHands, ResolverWatch, Watch, facts};
#[cfg(target_os = "linux")]
pub use linux::{FirewallTable, FirewallWatch};
#[cfg(target_os = "linux")]
pub use linux::{Machine, ResolverHands, ResolverLook, ResolverWatch, Watch, facts};
pub use options::{DeviceProgram, MachineOptions, Notice, ResolverApplied, ResolverOptions, SOCKET_DIR};
pub use port::{choose_udp_port, udp_port_is_free};
pub use wireguard::{Choice, ChoiceError};
