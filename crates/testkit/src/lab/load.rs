//! TCP under load: `iperf3` between two machines, and how the stream went from tenth to tenth of a second.
//!
//! Not for benchmarks. Keeps true that a stream which stands still is told as a stall, and not averaged away.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::eventually::eventually;
use super::machine::Machine;
use super::process::Daemon;

const LIMIT: Duration = Duration::from_secs(20);
/// The seconds between two lines of `iperf3`; less it does not offer.
const STEP: f64 = 0.1;

/// A stream that is under way.
#[derive(Debug)]
pub struct Load {
    client: Daemon,
    _server: Daemon,
}

/// How a stream went.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    /// The bytes of each tenth of a second.
    pub steps: Vec<u64>,
    /// Whether it came to its end, rather than being cut.
    pub completed: bool,
}

impl LoadReport {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.steps.iter().sum()
    }

    /// The longest time without a byte.
    pub fn longest_stall(&self) -> Duration {
        let runs = self.steps.split(|bytes| *bytes > 0).map(<[u64]>::len);
        let steps = u32::try_from(runs.max().unwrap_or(0)).unwrap_or(u32::MAX);
        Duration::from_secs_f64(STEP * f64::from(steps))
    }
}

impl Load {
    /// Sends from one machine to an address of another for so many seconds, on this port.
    pub fn start(from: &Machine, to: &Machine, address: IpAddr, port: u16, seconds: u32) -> Result<Self> {
        let port = port.to_string();
        let mut listen = to.command("iperf3")?;
        listen.args(["-s", "-1", "-p", &port, "--forceflush"]);
        let server = to.spawn(&format!("iperf3-server-{port}"), &mut listen)?;
        eventually(LIMIT, || {
            ensure!(
                server.log()?.contains("Server listening"),
                "iperf3 does not listen\n{}",
                server.log_tail()
            );
            Ok(())
        })?;
        let mut send = from.command("iperf3")?;
        send.args(["-c", &address.to_string(), "-p", &port, "-t", &seconds.to_string()]);
        send.args(["-i", &STEP.to_string(), "--forceflush", "--connect-timeout", "10000"]);
        let client = from.spawn(&format!("iperf3-{port}"), &mut send)?;
        Ok(Self { client, _server: server })
    }

    /// Waits until so many bytes have been sent.
    pub fn wait_for(&self, bytes: u64, limit: Duration) -> Result<()> {
        eventually(limit, || {
            let sent = self.report()?.bytes();
            ensure!(sent >= bytes, "{sent} of {bytes} bytes were sent\n{}", self.client.log_tail());
            Ok(())
        })
    }

    /// How it went so far.
    pub fn report(&self) -> Result<LoadReport> {
        Ok(report(&self.client.log()?))
    }

    /// Waits for the end; how it went.
    pub fn finish(mut self, limit: Duration) -> Result<LoadReport> {
        self.client.wait(limit)?;
        self.report().context("cannot read what iperf3 said")
    }
}

fn report(log: &str) -> LoadReport {
    // What comes after the rule is the summary.
    let (lines, completed) = match log.split_once("- - - - -") {
        Some((lines, rest)) => (lines, rest.contains("receiver")),
        None => (log, false),
    };
    LoadReport { steps: lines.lines().filter_map(step).collect(), completed }
}

/// The bytes of a line such as `[  5]   0.00-0.10   sec  1.25 MBytes   105 Mbits/sec    0    320 KBytes`.
fn step(line: &str) -> Option<u64> {
    let mut words = line.split_once(" sec ")?.1.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = match words.next()? {
        "Bytes" => 1.0,
        "KBytes" => 1024.0,
        "MBytes" => 1024.0 * 1024.0,
        "GBytes" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of bytes, never negative"
    )]
    Some((number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "Connecting to host 10.0.0.1, port 5201\n\
        [  5] local 10.0.0.2 port 1 connected to 10.0.0.1 port 5201\n\
        [ ID] Interval           Transfer     Bitrate         Retr  Cwnd\n\
        [  5]   0.00-0.10   sec  1.00 MBytes  84 Mbits/sec    0    320 KBytes\n\
        [  5]   0.10-0.20   sec  0.00 Bytes  0.00 bits/sec    1   1.41 KBytes\n\
        [  5]   0.20-0.30   sec  0.00 Bytes  0.00 bits/sec    1   1.41 KBytes\n\
        [  5]   0.30-0.40   sec  2.00 KBytes  1 Mbits/sec    0    320 KBytes\n";

    #[test]
    fn a_stream_that_stands_still_stalls() {
        let report = report(LOG);
        assert_eq!(report.steps, [1_048_576, 0, 0, 2048]);
        assert_eq!(report.longest_stall(), Duration::from_millis(200));
        assert!(!report.completed);
    }

    #[test]
    fn the_summary_is_no_step() {
        let end = "- - - - - - - - -\n[  5]   0.00-0.40   sec  9.00 MBytes  1 Mbits/sec   receiver\n";
        let report = report(&format!("{LOG}{end}"));
        assert_eq!((report.bytes(), report.completed), (1_048_576 + 2048, true));
    }
}
