//! Real machines in the lab whose tunnels carry pings all the while: what the death of a server must not touch.
//!
//! Not for tunnels that come and go (`tests/topology`). It keeps true that the agents are the real ones, and that they reach the
//! same servers and brokers at the same addresses as the simulated ones.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::bridge::Bridge;
use crate::house::{Host, all_reach_all, patience};
use crate::lab::{Daemon, Lab, PingReport, Pinger};
use crate::programs;

/// How long the first pings may take.
const FIRST: Duration = Duration::from_secs(40);
/// Between two pings.
const PAUSE: Duration = Duration::from_millis(20);

/// Machines that ping one another.
#[derive(Debug)]
pub(super) struct Tunnels {
    pingers: Vec<Pinger>,
    _bridges: Vec<Daemon>,
    _bridge: Bridge,
    hosts: Vec<Host>,
    lab: Lab,
}

impl Tunnels {
    /// So many machines that join by this token, and ping each other from now on.
    pub(super) fn dig(count: usize, ports: &[u16], token: &str) -> Result<Self> {
        let bridge = Bridge::build(ports)?;
        let lab = Lab::new("cluster")?;
        lab.show(bridge.folder());
        let lan = lab.switch()?;
        let program = programs::find("netloom-cluster")?;
        let (mut hosts, mut bridges) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let machine = lab.machine(&format!("tunnel-{number}"))?;
            let mut command = machine.command(&program)?;
            bridges.push(machine.spawn("bridge", command.args(bridge.arguments()))?);
            let host = Host::create(machine, &lan, &[&format!("203.0.113.{number}/24")], &[])?;
            host.start_agent()?;
            host.join(token)?;
            hosts.push(host);
        }
        let mut tunnels = Self { pingers: Vec::new(), _bridges: bridges, _bridge: bridge, hosts, lab };
        tunnels.begin().with_context(|| tunnels.lab.log_tails())?;
        Ok(tunnels)
    }

    fn begin(&mut self) -> Result<()> {
        all_reach_all(&self.hosts.iter().collect::<Vec<_>>(), patience(FIRST))?;
        for (from, to) in
            (0..self.hosts.len()).flat_map(|from| (0..self.hosts.len()).map(move |to| (from, to)))
        {
            if from != to {
                let address = self.hosts[to].v4()?;
                self.pingers.push(self.hosts[from].machine().slow_pinger(address, PAUSE)?);
            }
        }
        let start = Instant::now();
        self.pingers.iter().try_for_each(|pinger| pinger.wait_for(5, FIRST))?;
        ensure!(start.elapsed() < FIRST, "the tunnels are too slow to be judged");
        Ok(())
    }

    /// Ends, and says what became of the pings.
    pub(super) fn close(&mut self) -> Result<Vec<PingReport>> {
        let reports = std::mem::take(&mut self.pingers).into_iter().map(Pinger::stop);
        reports.collect::<Result<_>>().with_context(|| self.lab.log_tails())
    }
}
