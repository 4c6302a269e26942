//! A machine with `netclient`.
//!
//! Not for what the agent decides. Keeps true that the agent is the real program, called as a person calls it.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde::de::DeserializeOwned;

use super::look::{Look, Status};
use super::time::patience;
use super::wire_guard::{self, WgPeer};
use crate::lab::{Daemon, Link, Machine, Output, Switch, eventually};
use crate::programs;

/// The name of the agent's interface.
pub const INTERFACE: &str = "netloom0";
const LIMIT: Duration = Duration::from_secs(60);
const AGENT_SOCKET: &str = "/run/netclient/netclient.sock";

/// A machine with `netclient`.
#[derive(Debug)]
pub struct Host {
    machine: Machine,
    link: Link,
    program: PathBuf,
    daemon: Mutex<Option<Daemon>>,
    /// What the server gave it; it does not change while the host stays in its networks.
    addresses: OnceLock<Vec<IpAddr>>,
}

impl Host {
    pub(crate) fn create(
        machine: Machine,
        switch: &Switch,
        addresses: &[&str],
        gateways: &[&str],
    ) -> Result<Self> {
        let link = machine.attach(switch, addresses, gateways)?;
        let program = programs::find("netclient")?;
        Ok(Self { machine, link, program, daemon: Mutex::new(None), addresses: OnceLock::new() })
    }

    pub(super) fn with_agent(self) -> Result<Self> {
        self.start_agent()?;
        Ok(self)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine's first link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Starts the daemon, and waits until it answers.
    pub fn start_agent(&self) -> Result<()> {
        let mut daemon = self.machine.spawn("netclient", self.command()?.arg("daemon"))?;
        eventually(patience(Duration::from_secs(20)), || {
            ensure!(daemon.is_running(), "the agent on {} ended\n{}", self.name(), daemon.log_tail());
            ensure!(self.machine.exists(AGENT_SOCKET)?, "the agent on {} does not answer", self.name());
            ensure!(self.look()?.daemon, "the agent on {} does not answer", self.name());
            Ok(())
        })?;
        *self.daemon() = Some(daemon);
        Ok(())
    }

    /// Ends the daemon as `kill -9` does.
    pub fn kill_agent(&self) -> Result<()> {
        let mut daemon = self.daemon().take().context("the agent does not run")?;
        daemon.kill().map(drop)
    }

    /// Asks the daemon to end, and waits.
    pub fn stop_agent(&self) -> Result<()> {
        let mut daemon = self.daemon().take().context("the agent does not run")?;
        daemon.terminate(patience(Duration::from_secs(20))).map(drop)
    }

    /// Stops the daemon where it is, as if it got no processor.
    pub fn freeze_agent(&self) -> Result<()> {
        self.daemon().as_mut().context("the agent does not run")?.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw_agent(&self) -> Result<()> {
        self.daemon().as_mut().context("the agent does not run")?.signal(Signal::CONT)
    }

    /// Whether the daemon that [`Host::start_agent`] started still runs.
    pub fn agent_runs(&self) -> bool {
        self.daemon().as_mut().is_some_and(Daemon::is_running)
    }

    /// Off and on again, as pulling the plug does; the agent starts with the machine.
    pub fn reboot(&self) -> Result<()> {
        self.machine.power_off()?;
        self.daemon().take();
        self.machine.power_on()?;
        self.start_agent()
    }

    /// Switches the machine off as pulling the plug does.
    pub fn die(&self) -> Result<()> {
        self.machine.power_off()?;
        self.daemon().take();
        Ok(())
    }

    /// `netclient`, to be given arguments.
    pub fn command(&self) -> Result<Command> {
        self.machine.command(&self.program)
    }

    /// The same for a user without any rights.
    pub fn command_as_nobody(&self) -> Result<Command> {
        self.machine.command_as_nobody(&self.program)
    }

    /// Where the program is.
    pub fn program(&self) -> &PathBuf {
        &self.program
    }

    /// Types a command, however it ends.
    pub fn attempt<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output> {
        self.machine.finish(self.command()?.args(arguments), patience(LIMIT))
    }

    /// Types a command, which must succeed.
    pub fn netclient<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output> {
        self.attempt(arguments)?.success().with_context(|| format!("on {}", self.name()))
    }

    /// Types a command with `--json`, and reads what it prints.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let output = self.netclient(arguments.iter().chain(&["--json"]))?;
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("this is not what was expected: {output}"))
    }

    /// Joins with a token.
    pub fn join(&self, token: &str) -> Result<Output> {
        self.netclient(["join", "-t", token])
    }

    /// What the agent says of itself.
    pub fn look(&self) -> Result<Look> {
        Ok(self.json::<Status>(&["status"])?.state)
    }

    /// Its addresses in its networks, as they were when first asked for.
    pub fn addresses(&self) -> Result<&[IpAddr]> {
        if let Some(addresses) = self.addresses.get() {
            return Ok(addresses);
        }
        let addresses = self.look()?.addresses();
        ensure!(!addresses.is_empty(), "{} has no address in any network", self.name());
        Ok(self.addresses.get_or_init(|| addresses))
    }

    /// Its IPv4 address in its first network.
    pub fn v4(&self) -> Result<IpAddr> {
        self.addresses()?.iter().copied().find(IpAddr::is_ipv4).context("it has no IPv4 address")
    }

    /// Its IPv6 address in its first network.
    pub fn v6(&self) -> Result<IpAddr> {
        self.addresses()?.iter().copied().find(IpAddr::is_ipv6).context("it has no IPv6 address")
    }

    /// Pings each address of another host until the deadline.
    pub fn reaches(&self, other: &Self, deadline: Instant) -> Result<()> {
        for address in other.addresses()? {
            let left = deadline.saturating_duration_since(Instant::now());
            self.ping_within(*address, left)
                .with_context(|| format!("{} does not reach {}", self.name(), other.name()))?;
        }
        Ok(())
    }

    /// Pings five times a second until one is answered, at most for `limit`.
    pub fn ping_within(&self, address: IpAddr, limit: Duration) -> Result<()> {
        let start = Instant::now();
        // A machine that has no route yet makes `ping` end at once: that is no answer either.
        eventually(limit, || {
            let left = limit.saturating_sub(start.elapsed());
            let seconds = left.as_secs_f64().ceil().max(1.0).to_string();
            let mut command = self.machine.command("ping")?;
            command.args(["-n", "-c", "1", "-i", "0.2", "-w", &seconds, &address.to_string()]);
            self.machine.finish(&mut command, left + Duration::from_secs(10))?.success()
        })
        .map(drop)
    }

    /// Its WireGuard peers that are hosts, as `wg` shows them; those of the rendezvous carry nothing and are left out.
    pub fn wg(&self) -> Result<Vec<WgPeer>> {
        let dump = self.machine.run("wg", ["show", INTERFACE, "dump"])?.stdout;
        Ok(wire_guard::parse(&dump)?.into_iter().filter(|peer| !peer.allowed.is_empty()).collect())
    }

    /// Where its WireGuard sends datagrams for another host; none while it does not know.
    pub fn endpoint_of(&self, other: &Self) -> Result<Option<SocketAddr>> {
        let address = other.v4()?;
        let peer = self.wg()?.into_iter().find(|peer| peer.allowed.contains(&address));
        Ok(peer.and_then(|peer| peer.endpoint))
    }

    /// Whether its WireGuard knows this address as a peer's.
    pub fn knows(&self, address: IpAddr) -> Result<bool> {
        Ok(self.wg()?.iter().any(|peer| peer.allowed.contains(&address)))
    }

    /// The index of the agent's interface.
    pub fn interface_index(&self) -> Result<Option<u32>> {
        self.machine.interface_index(INTERFACE)
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
