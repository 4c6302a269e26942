//! What the scenarios play on: the real server as a process, its administrator, and the swarm.
//!
//! Keeps true that a server that is started again comes back on the same ports with the same data, and that its settings are
//! those of a fresh installation.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use api::{ServerStatus, path};
use tempfile::TempDir;

use super::Options;
use super::window::Window;
use crate::bench::progress::bar;
use crate::fleet::{Administrator, ServerProcess, command};
use crate::swarm::{Group, Swarm, wait_until};

/// Nothing is given up before. What takes longer is no failure: it is told as missing, or waited for as long as something
/// moves.
pub(super) const LIMIT: Duration = Duration::from_secs(180);
/// How long a server may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(60);
/// Machines that register at the same time while the stage is set.
const REGISTERING: usize = 200;
/// Agents that connect at the same time while the stage is set.
const CONNECTING: usize = 128;

/// The server as a process that can be ended and started again.
pub(super) struct Server {
    program: PathBuf,
    data: TempDir,
    listen: String,
    rendezvous: Option<String>,
    process: Option<ServerProcess>,
}

impl Server {
    fn start(program: &Path) -> Result<Self> {
        let data = tempfile::tempdir().context("a data folder")?;
        let process = ServerProcess::start(program, data.path())?;
        let listen = process.site.url().trim_start_matches("https://").to_owned();
        Ok(Self { program: program.to_owned(), data, listen, rendezvous: None, process: Some(process) })
    }

    /// The process.
    pub(super) fn process(&self) -> Result<&ServerProcess> {
        self.process.as_ref().context("the server is not running")
    }

    /// Ends it without a warning.
    pub(super) fn kill(&mut self) {
        // It is killed and waited for when it is dropped.
        self.process = None;
    }

    /// Asks it to end, and says how long that took.
    pub(super) fn stop(&mut self) -> Result<Duration> {
        self.process.take().context("the server is not running")?.stop(STOP)
    }

    /// Starts it again where it was, and says how long it took until it was up.
    pub(super) fn start_again(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let mut command = command(&self.program, self.data.path());
        command.env("NETLOOM_LISTEN", &self.listen);
        if let Some(rendezvous) = &self.rendezvous {
            command.env("NETLOOM_RENDEZVOUS", rendezvous);
        }
        self.process = Some(ServerProcess::run(command, self.data.path())?);
        Ok(start.elapsed())
    }
}

/// Everything that a scenario needs.
pub(super) struct Stage {
    pub(super) options: Options,
    pub(super) server: Server,
    pub(super) administrator: Administrator,
    pub(super) networks: Vec<api::Network>,
    pub(super) swarm: Swarm,
    /// Members at the end of the swarm that are there for the time of a scenario or two.
    pub(super) guests: usize,
    /// The last local port that an agent said it has.
    pub(super) port: u16,
    /// How often the flip was flipped.
    pub(super) flips: u16,
}

impl Stage {
    /// A server with the networks, and no agent yet.
    pub(super) async fn empty(program: &Path, options: &Options, agents: usize) -> Result<Self> {
        let mut server = Server::start(program)?;
        let site = server.process()?.site.clone();
        let administrator = Administrator::set_up(&site, &server.process()?.setup_code()?).await?;
        let (networks, groups) = networks(&administrator, options).await?;
        let status: ServerStatus = administrator.get(path::SERVER).await?;
        let doors: Vec<String> =
            status.rendezvous.iter().map(|door| format!("127.0.0.1:{}", door.port)).collect();
        server.rendezvous = (!doors.is_empty()).then(|| doors.join(","));
        let most = agents + options.changes + options.burst + 64;
        let swarm = Swarm::new(&site, groups, most, options.patience())?;
        Ok(Self {
            options: options.clone(),
            server,
            administrator,
            networks,
            swarm,
            guests: 0,
            port: 1024,
            flips: 0,
        })
    }

    /// Enrols so many agents and connects them: what took how long is in the figures of `enrol::setup`.
    pub(super) async fn fill(&mut self, agents: usize) -> Result<Filling> {
        let empty = self.server.process()?.resident_bytes()?;
        let window = Window::open(self)?;
        let progress = bar("machines that enrol", agents);
        let enrolled = self.swarm.enrol(agents, REGISTERING, &progress).await?;
        progress.finish_and_clear();
        let enrolling = window.close(self)?;
        let registered = self.server.process()?.resident_bytes()?;
        let (machines, times) = enrolled.into_iter().unzip();
        let window = Window::open(self)?;
        let progress = bar("agents that connect", agents);
        self.swarm.connect(machines, CONNECTING, &progress).await?;
        progress.finish_and_clear();
        let connecting = window.close(self)?;
        self.settle("connecting").await?;
        let connected = self.server.process()?.resident_bytes()?;
        Ok(Filling { agents, times, enrolling, connecting, empty, registered, connected })
    }

    /// Waits until all agents have a current map and nothing to say, for as long as there is any progress. Agents that ended
    /// are none any more.
    pub(super) async fn settle(&mut self, after: &str) -> Result<()> {
        let mut before = None;
        loop {
            self.swarm.bury();
            if self.swarm.settle(LIMIT).await {
                return Ok(());
            }
            let (gauges, counts) = (self.swarm.gauges(), self.swarm.counts());
            let now =
                Some((gauges.current.count(), gauges.reporting.count(), counts.connected, counts.pushed));
            if now == before {
                return Err(self.stuck(after));
            }
            before = now;
        }
    }

    fn stuck(&self, after: &str) -> anyhow::Error {
        let (all, gauges) = (self.swarm.members.len(), self.swarm.gauges());
        let trouble = self.swarm.trouble();
        let log = self.server.process().map(ServerProcess::log).unwrap_or_default();
        anyhow!(
            "after {after}, {} of {all} agents are connected, {} have a current map and {} have something to report, and \
             nothing moves any more; what went wrong last: {trouble}; the end of the server's log:\n{log}",
            gauges.linked.count(),
            gauges.current.count(),
            gauges.reporting.count(),
        )
    }

    /// Fails if any agent's map is not the definition's.
    pub(super) async fn verify(&mut self, after: &str) -> Result<()> {
        self.settle(after).await?;
        let verified = self.swarm.verify(&self.administrator, LIMIT).await;
        verified.with_context(|| format!("after {after}"))
    }

    /// Waits until nobody is connected any more: the server is gone, and everybody has noticed.
    pub(super) async fn noticed(&self) -> bool {
        wait_until(|| self.swarm.gauges().linked.count() == 0, LIMIT).await
    }

    /// Waits until everybody is back with a current map; whether that came in time.
    pub(super) async fn all_back(&self) -> bool {
        let all = self.swarm.members.len();
        wait_until(|| self.swarm.gauges().current.count() == all, LIMIT).await
    }

    /// A local port that no agent said it has since the numbers went round.
    pub(super) fn fresh_port(&mut self) -> u16 {
        self.port = if self.port >= 60_000 { 1025 } else { self.port + 1 };
        self.port
    }
}

/// The networks, and a group of machines for each. With shared ones, also a group in each network and the next.
async fn networks(
    administrator: &Administrator,
    options: &Options,
) -> Result<(Vec<api::Network>, Vec<Group>)> {
    let (mut networks, mut groups) = (Vec::new(), Vec::new());
    let name = |number: usize| format!("fleet-{number}");
    let count = usize::from(options.networks);
    let shared = if count > 1 { u32::from(options.shared) * 10 } else { 0 };
    for number in 0..count {
        networks.push(administrator.network(&name(number), &format!("10.{number}.0.0/16")).await?);
        let (_, token) = administrator.key(&name(number), &[&name(number)], None).await?;
        groups.push(Group { token, networks: vec![number], share: 1000 - shared });
    }
    for number in (0..count).filter(|_| shared > 0) {
        let next = (number + 1) % count;
        let both = [name(number), name(next)];
        let (_, token) =
            administrator.key(&both.join("+"), &both.each_ref().map(String::as_str), None).await?;
        groups.push(Group { token, networks: vec![number, next], share: shared });
    }
    Ok((networks, groups))
}

/// What setting the stage cost.
pub(super) struct Filling {
    pub(super) agents: usize,
    /// Hello and registration of each.
    pub(super) times: Vec<Duration>,
    pub(super) enrolling: super::window::Used,
    pub(super) connecting: super::window::Used,
    /// The server's memory before anybody came, with all registered, and with all connected.
    pub(super) empty: u64,
    pub(super) registered: u64,
    pub(super) connected: u64,
}
