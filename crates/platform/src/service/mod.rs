//! The service that keeps the agent running across restarts of the machine.
//!
//! Not for what the service does. It keeps true that installing twice installs once, that uninstalling removes exactly
//! what installing made, and that a unit of the same name which is not ours is left alone.

mod instructions;
mod systemd;

use std::path::PathBuf;

pub use systemd::Systemd;

/// A program that is to run all the time.
#[derive(Debug, Clone)]
pub struct Service {
    /// The name of the service: `netclient`.
    pub name: String,
    /// What people read about it.
    pub description: String,
    /// The program, by its whole path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its arguments for what is done once each time the machine starts, before the network is there.
    pub early: Vec<String>,
    /// Folders that it must be able to write to; those that are missing are passed over.
    pub writable: Vec<PathBuf>,
}

/// Where services are installed.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// The root of the file system: `/`, or a folder of a test's.
    pub root: PathBuf,
    /// The program that talks to systemd: `systemctl`.
    pub systemctl: PathBuf,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { root: "/".into(), systemctl: "systemctl".into() }
    }
}

/// What manages services on this machine.
#[derive(Debug, Clone)]
pub enum Supervisor {
    /// systemd.
    Systemd(Systemd),
    /// Another one, or none: what to do by hand, in words.
    ByHand(String),
}

impl Supervisor {
    /// Finds out.
    pub fn find(service: Service, options: ServiceOptions) -> Self {
        // What systemd itself tells programs to look at (sd_booted(3)).
        if options.root.join("run/systemd/system").is_dir() {
            return Self::Systemd(Systemd::new(service, options));
        }
        Self::ByHand(instructions::by_hand(&service, &options.root))
    }
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether our unit is installed.
    pub installed: bool,
    /// Whether it starts with the machine.
    pub enabled: bool,
    /// systemd's word for what it does: `active`, `inactive`, `failed` …
    pub state: String,
}
