//! The lab: machines made of Linux namespaces, switches between them, and NAT boxes, for real programs and real traffic.
//!
//! Not for simulating time or programs. Keeps true that nothing outside of the lab is touched, that nothing is left when
//! it ends, however it ends, and that it needs no root where user namespaces are allowed.
//!
//! ```text
//!   Lab ── base: network namespace with the switches, process namespace around everything
//!    ├─ Switch "lan"      ══╦═══════════╦══
//!    ├─ Machine "a"      eth0          eth0   "b": network, mounts, processes, host name of their own
//!    └─ Nat "home"       inside ║ outside ════ Switch "internet"
//! ```
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let lab = testkit::lab::Lab::new("example")?;
//! let lan = lab.switch()?;
//! let (a, b) = (lab.machine("a")?, lab.machine("b")?);
//! a.attach(&lan, &["10.1.0.1/24", "fd01::1/64"], &[])?;
//! b.attach(&lan, &["10.1.0.2/24", "fd01::2/64"], &[])?;
//! a.ping("fd01::2".parse()?)?;
//! # Ok(())
//! # }
//! ```

mod base;
mod capture;
mod eventually;
mod holder;
mod link;
mod load;
mod machine;
mod nat;
mod ping;
mod process;
pub mod qr;
mod requirements;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use base::Base;
pub use capture::{Capture, Flow, Traffic};
pub use eventually::eventually;
pub use link::{Link, Switch};
pub use load::{Load, LoadReport};
pub use machine::Machine;
pub use nat::{Nat, NatKind, NatPlan};
pub use ping::{PingReport, Pinger};
pub(crate) use process::run as run_command;
pub use process::{Daemon, Output};
use requirements::Privilege;
pub use requirements::{Missing, requirements};
pub(crate) use requirements::{PATH, find_tool, require};
pub use rustix::process::Signal;
pub use state::{Difference, MachineState};

/// A lab; dropping it ends all that runs in it.
#[derive(Debug)]
pub struct Lab {
    base: Arc<Base>,
    shown: Mutex<Vec<PathBuf>>,
}

impl Lab {
    /// A lab made with the rights this process has: as root, or in a user namespace. The name only helps people who
    /// look at processes and folders.
    pub fn new(name: &str) -> Result<Self> {
        Self::start(name, Privilege::detect())
    }

    /// A lab in a user namespace, even if this process is root.
    pub fn rootless(name: &str) -> Result<Self> {
        Self::start(name, Some(Privilege::User))
    }

    /// What this machine lacks for a lab.
    pub fn requirements() -> Vec<Missing> {
        requirements()
    }

    fn start(name: &str, privilege: Option<Privilege>) -> Result<Self> {
        require(&requirements())?;
        let privilege = privilege.context("this process may not make namespaces")?;
        let base = Base::start(name, privilege)?;
        Ok(Self { base: Arc::new(base), shown: Mutex::new(build_folder().into_iter().collect()) })
    }

    /// Shows a folder of the host, read-only, in machines made from now on. Needed only for what lies below the folders
    /// that machines have for themselves, such as `/tmp`; the folder that holds the running program is shown anyway.
    pub fn show(&self, folder: impl Into<PathBuf>) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).push(folder.into());
    }

    /// A new machine, switched on, with no cable plugged in.
    pub fn machine(&self, name: &str) -> Result<Machine> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown = shown.into_iter().filter(|folder| is_covered(folder)).collect();
        Machine::create(&self.base, name, shown)
    }

    /// A new switch.
    pub fn switch(&self) -> Result<Switch> {
        let bridge = format!("sw{}", self.base.next_number());
        self.base
            .ip(&format!("link add {bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0\nlink set {bridge} up\n"))
            .context("cannot make a switch")?;
        Ok(Switch { bridge })
    }

    /// A new NAT box.
    pub fn nat(&self, name: &str, plan: &NatPlan<'_>) -> Result<Nat> {
        Nat::create(self.machine(name)?, plan).with_context(|| format!("cannot set up the NAT box {name}"))
    }

    /// The lab's folder on the host, with the logs of all daemons below it.
    pub fn folder(&self) -> &Path {
        &self.base.folder
    }

    /// The ends of the logs of all daemons.
    pub fn log_tails(&self) -> String {
        base::log_tails(&self.base.folder)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a test that fails must show what its daemons said")]
            {
                eprintln!("{}", self.log_tails());
            }
        }
        self.base.end();
    }
}

/// Whether machines have something of their own in place of this folder.
fn is_covered(folder: &Path) -> bool {
    let covered =
        ["/etc", "/run", "/var/run", "/tmp", "/var/lib", "/var/log", "/var/tmp", "/usr/local/bin", "/opt"];
    covered.iter().any(|own| folder.starts_with(own))
}

/// The folder that the running program was built into: its siblings are the programs under test.
fn build_folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    let inner = folder.ends_with("deps") || folder.ends_with("examples");
    Some(if inner { folder.parent()?.to_owned() } else { folder.to_owned() })
}
