//! A stream of pings that tells which of them were lost.
//!
//! Not for measuring latency. Keeps true that a ping counts as lost only if a later one was answered, so that those
//! still under way at the end are told apart.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::eventually::eventually;
use super::machine::Machine;
use super::process::Daemon;

/// The time between two pings where nothing else is said.
const PAUSE: Duration = Duration::from_millis(10);

/// Pings that are being sent, 100 a second unless that is too much.
#[derive(Debug)]
pub struct Pinger {
    daemon: Daemon,
    /// Where this pinger's part of the log begins.
    skip: usize,
}

/// What became of the pings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingReport {
    /// How many were sent.
    pub sent: u64,
    /// How many were answered.
    pub received: u64,
    /// The numbers, from 1, of those that were not answered although a later one was.
    pub lost: Vec<u64>,
    /// How many at the end were not answered; a few may have been under way.
    pub unanswered_at_end: u64,
}

/// As many pings may be under way at the end: 100 ms worth.
const UNDER_WAY: u64 = 10;

impl PingReport {
    /// Fails unless every ping was answered, those under way at the end aside.
    pub fn none_lost(&self) -> Result<()> {
        ensure!(
            self.lost.is_empty() && self.unanswered_at_end <= UNDER_WAY && self.received > 0,
            "of {} pings {} were answered; lost: {:?}; not answered at the end: {}",
            self.sent,
            self.received,
            self.lost,
            self.unanswered_at_end
        );
        Ok(())
    }
}

impl Pinger {
    pub(crate) fn start(machine: &Machine, address: IpAddr) -> Result<Self> {
        Self::start_slow(machine, address, PAUSE)
    }

    pub(crate) fn start_slow(machine: &Machine, address: IpAddr, pause: Duration) -> Result<Self> {
        let mut command = machine.command("ping")?;
        let pause = pause.as_secs_f64().to_string();
        command.args(["-n", "-i", &pause, &address.to_string()]);
        let name = format!("ping-{}", address.to_string().replace([':', '.'], "-"));
        let mut pinger = Self { daemon: machine.spawn(&name, &mut command)?, skip: 0 };
        // A pinger to the same address before this one wrote to the same log.
        let log = pinger.daemon.log()?;
        pinger.skip = log.rfind("PING ").unwrap_or(0);
        Ok(pinger)
    }

    /// How many answers have come so far.
    pub fn received(&self) -> Result<u64> {
        Ok(answered(&self.log()?).len() as u64)
    }

    /// Waits until `more` further pings were answered.
    pub fn wait_for(&self, more: u64, limit: Duration) -> Result<()> {
        let wanted = self.received()? + more;
        eventually(limit, || {
            let received = self.received()?;
            ensure!(
                received >= wanted,
                "{received} of {wanted} pings were answered\n{}",
                self.daemon.log_tail()
            );
            Ok(())
        })
    }

    /// Stops and reports.
    pub fn stop(mut self) -> Result<PingReport> {
        self.daemon.signal(Signal::INT)?;
        self.daemon.wait(Duration::from_secs(20))?;
        report(&self.log()?)
    }

    fn log(&self) -> Result<String> {
        Ok(self.daemon.log()?.split_off(self.skip))
    }
}

/// Numbers of the answered pings. `ping` counts modulo 65,536.
fn answered(log: &str) -> BTreeSet<u64> {
    let mut rounds = 0;
    let mut last = 0;
    let mut numbers = BTreeSet::new();
    for line in log.lines().filter(|line| line.contains(" bytes from ")) {
        let Some((_, rest)) = line.split_once("icmp_seq=") else {
            continue;
        };
        let Some(number) = rest.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()) else {
            continue;
        };
        if number + 32_768 < last {
            rounds += 65_536;
        }
        last = number;
        numbers.insert(rounds + number);
    }
    numbers
}

fn report(log: &str) -> Result<PingReport> {
    let summary =
        log.lines().find(|line| line.contains(" packets transmitted")).context("ping gave no summary")?;
    let sent: u64 =
        summary.split_whitespace().next().unwrap_or_default().parse().context("ping's summary")?;
    let answered = answered(log);
    let last = answered.last().copied().unwrap_or(0);
    Ok(PingReport {
        sent,
        received: answered.len() as u64,
        lost: (1..last).filter(|number| !answered.contains(number)).collect(),
        unanswered_at_end: sent.saturating_sub(last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(numbers: &[u64], sent: u64) -> String {
        let lines: Vec<String> = numbers
            .iter()
            .map(|number| format!("64 bytes from 10.0.0.1: icmp_seq={number} ttl=64 time=1 ms"))
            .collect();
        format!("PING 10.0.0.1\n{}\n\n{sent} packets transmitted, 2 received\n", lines.join("\n"))
    }

    #[test]
    fn a_hole_is_a_loss_and_the_end_is_not() {
        let report = report(&log(&[1, 2, 4, 5], 7)).unwrap();
        assert_eq!(report, PingReport { sent: 7, received: 4, lost: vec![3], unanswered_at_end: 2 });
        assert!(report.none_lost().is_err());
    }

    #[test]
    fn a_long_silence_at_the_end_is_a_loss() {
        assert!(report(&log(&[1, 2], 5)).unwrap().none_lost().is_ok());
        assert!(report(&log(&[1, 2], 50)).unwrap().none_lost().is_err());
        assert!(report(&log(&[], 5)).unwrap().none_lost().is_err());
    }
}
