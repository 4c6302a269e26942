//! The server's machine.
//!
//! Not for what is asked of it. Keeps true that it is reached at the same address after it was killed and started again.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::time::patience;
use crate::lab::{Daemon, Link, Machine, Switch, eventually};
use crate::programs;

/// Where the server keeps its data on its machine.
pub(super) const DATA: &str = "/var/lib/netloom";
/// Its address, as tokens name it unless the house says otherwise.
pub(super) const URL: &str = "https://203.0.113.1:8443";
const LIMIT: Duration = Duration::from_secs(20);

/// A machine with `netloom-server`.
#[derive(Debug)]
pub struct Server {
    machine: Machine,
    link: Link,
    program: PathBuf,
    url: &'static str,
    settings: Vec<(&'static str, &'static str)>,
    daemon: Mutex<Option<Daemon>>,
}

impl Server {
    pub(super) fn start(
        machine: Machine,
        internet: &Switch,
        url: &'static str,
        settings: &[(&'static str, &'static str)],
    ) -> Result<Self> {
        let link = machine.attach(internet, &["203.0.113.1/24", "2001:db8::1/64"], &[])?;
        let program = programs::find("netloom-server")?;
        // Here, where the administrator sits, names of its own need no name server.
        let hosts = machine.read("/etc/hosts")?;
        machine.write("/etc/hosts", &format!("{hosts}203.0.113.1 vpn.example\n"))?;
        let (settings, daemon) = (settings.to_vec(), Mutex::new(None));
        let server = Self { machine, link, program, url, settings, daemon };
        server.run()?;
        Ok(server)
    }

    /// Its address, as tokens name it.
    pub fn url(&self) -> &'static str {
        self.url
    }

    /// The machine it runs on.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine's link to the internet.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Starts the program, and waits until it listens.
    pub fn run(&self) -> Result<()> {
        let mut command = self.machine.command(&self.program)?;
        // Before what the caller sets, so that tokens may name it otherwise.
        command.args(["--data", DATA]).env("NETLOOM_URL", self.url()).envs(self.settings.iter().copied());
        let mut daemon = self.machine.spawn("server", &mut command)?;
        let listens = r#"exec 3<> /dev/tcp/203.0.113.1/8443"#;
        eventually(patience(LIMIT), || {
            anyhow::ensure!(daemon.is_running(), "the server ended\n{}", daemon.log_tail());
            self.machine.run("bash", ["-c", listens])
        })
        .context("the server does not listen")?;
        *self.daemon() = Some(daemon);
        Ok(())
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&self) -> Result<()> {
        let mut daemon = self.daemon().take().context("the server does not run")?;
        daemon.kill().map(drop)
    }

    /// Stops it where it is, as if it got no processor.
    pub fn freeze(&self) -> Result<()> {
        self.daemon().as_mut().context("the server does not run")?.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.daemon().as_mut().context("the server does not run")?.signal(Signal::CONT)
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
