//! What the hands are told and what they tell, the same on every system.
//!
//! Not for the hands themselves.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use reconcile::{LinkName, ResolverChoice};

/// The usual place of the control sockets of WireGuard devices in user space.
pub const SOCKET_DIR: &str = "/var/run/wireguard";

/// What the hands need to know.
#[derive(Debug, Clone)]
pub struct MachineOptions {
    /// The name of our link.
    pub link: LinkName,
    /// How a device in user space is started.
    pub program: DeviceProgram,
    /// Where control sockets are: `SOCKET_DIR`.
    pub socket_dir: PathBuf,
}

/// How to start the process of a device in user space.
#[derive(Debug, Clone)]
pub struct DeviceProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; the interface's name comes behind them.
    pub arguments: Vec<OsString>,
    /// Where its output goes. The output of the run before is kept beside it, with the extension `old`.
    pub log: PathBuf,
    /// Variables of ours that it does not inherit: it lives on, and needs no secrets.
    pub withheld: Vec<OsString>,
}

/// What the hands for the resolver are told.
#[derive(Debug, Clone)]
pub struct ResolverOptions {
    /// The name of our link.
    pub link: LinkName,
    /// The folder where the original is kept. It outlasts reboots and is ours alone.
    pub state: PathBuf,
    /// Which way.
    pub choice: ResolverChoice,
}

/// How telling the resolver went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolverApplied {
    /// It had been told; nothing was written.
    Already,
    /// It has been told.
    Changed,
    /// Another program keeps undoing it: try again in this time.
    Postponed(Duration),
}

/// What may be different since the last notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notice {
    /// Our link, its addresses or its routes: look whether all is as it should be.
    pub ours: bool,
    /// Other links, their addresses or their routes: the machine may have moved.
    pub others: bool,
}
