//! Who really reaches whom: a small program in each machine that answers on given ports, and tries to reach others'.
//!
//! Not for judging who should (`oracle`). Keeps true that "reached" means an answer came back, over a flow that no
//! firewall has seen before, and that "not reached" is said only after everything that should be reached has answered.

mod echo;
mod inner;
mod listen;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::lab::Machine;
use crate::programs;

pub use inner::main;

/// By what a target is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A connection.
    Tcp,
    /// A datagram and its echo.
    Udp,
    /// An echo of ICMP or ICMPv6, which no port has: the kernel answers.
    Icmp,
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// By what.
    pub transport: Transport,
    /// Where.
    pub to: SocketAddr,
}

/// What a probe is told to do, one JSON object a line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "order")]
enum Order {
    /// Answer at these from now on, too.
    Listen {
        /// Each by TCP and UDP.
        at: Vec<SocketAddr>,
    },
    /// Try all of these at once.
    Try {
        /// What is tried.
        targets: Vec<Target>,
        /// Which of them should answer: the round ends early when they all have.
        expected: BTreeSet<usize>,
        /// How long the round takes at least, so that what should not answer had its time, in milliseconds.
        at_least: u64,
        /// How long it takes at most, in milliseconds.
        at_most: u64,
    },
}

/// What it says, one JSON object a line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "answer")]
enum Answer {
    /// It does what it was told.
    Done,
    /// These targets answered.
    Reached {
        /// Their places in the order.
        targets: BTreeSet<usize>,
    },
    /// It cannot.
    Failed {
        /// Why.
        error: String,
    },
}

/// How long a round waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// At least, so that what should not answer had its time.
    pub at_least: Duration,
    /// At most, for what should answer.
    pub at_most: Duration,
}

/// A probe in a machine.
#[derive(Debug)]
pub struct Probe {
    name: String,
    child: Child,
    orders: ChildStdin,
    answers: Receiver<Answer>,
}

impl Probe {
    /// Starts a probe in a machine. It ends with this value.
    pub fn start(machine: &Machine) -> Result<Self> {
        let mut command = machine.command(programs::find("netloom-probe")?)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("cannot start the probe")?;
        let orders = child.stdin.take().context("the probe's input was not captured")?;
        let stdout = child.stdout.take().context("the probe's output was not captured")?;
        let (sender, answers) = sync_channel(8);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(answer) = serde_json::from_str(&line) else { return };
                if sender.send(answer).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name: machine.name().to_owned(), child, orders, answers })
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answers at each of these addresses and ports, by TCP and UDP.
    pub fn listen(&mut self, addresses: &[IpAddr], ports: &[u16]) -> Result<()> {
        let at =
            addresses.iter().flat_map(|ip| ports.iter().map(|port| SocketAddr::new(*ip, *port))).collect();
        self.tell(&Order::Listen { at })?;
        match self.hear(Duration::from_secs(20))? {
            Answer::Done => Ok(()),
            other @ (Answer::Reached { .. } | Answer::Failed { .. }) => {
                anyhow::bail!("the probe on {} cannot listen: {other:?}", self.name)
            }
        }
    }

    /// Tries all of these at once; those that answered. The round ends early when all that `expected` names have.
    pub fn reached(
        &mut self,
        targets: &[Target],
        expected: impl Fn(&Target) -> bool,
        waiting: Waiting,
    ) -> Result<BTreeSet<Target>> {
        self.begin(targets, expected, waiting)?;
        self.end(targets, waiting)
    }

    /// Whether a single target answers within this time.
    pub fn reaches(&mut self, transport: Transport, to: SocketAddr, limit: Duration) -> Result<bool> {
        let target = Target { transport, to };
        let waiting = Waiting { at_least: Duration::ZERO, at_most: limit };
        Ok(!self.reached(&[target], |_| true, waiting)?.is_empty())
    }

    fn begin(
        &mut self,
        targets: &[Target],
        expected: impl Fn(&Target) -> bool,
        waiting: Waiting,
    ) -> Result<()> {
        let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let expected = targets.iter().enumerate().filter(|(_, target)| expected(target));
        let order = Order::Try {
            targets: targets.to_vec(),
            expected: expected.map(|(place, _)| place).collect(),
            at_least: milliseconds(waiting.at_least),
            at_most: milliseconds(waiting.at_most),
        };
        self.tell(&order)
    }

    fn end(&mut self, targets: &[Target], waiting: Waiting) -> Result<BTreeSet<Target>> {
        match self.hear(waiting.at_most + Duration::from_secs(20))? {
            Answer::Reached { targets: places } => {
                Ok(places.into_iter().filter_map(|place| targets.get(place).copied()).collect())
            }
            other @ (Answer::Done | Answer::Failed { .. }) => {
                anyhow::bail!("the probe on {} cannot try: {other:?}", self.name)
            }
        }
    }

    fn tell(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_string(order).context("an order has no JSON")?;
        line.push('\n');
        let told = self.orders.write_all(line.as_bytes()).and_then(|()| self.orders.flush());
        told.with_context(|| format!("the probe on {} has ended", self.name))
    }

    fn hear(&self, limit: Duration) -> Result<Answer> {
        self.answers.recv_timeout(limit).with_context(|| format!("the probe on {} says nothing", self.name))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One probe's part of a round in which all try at once.
#[derive(Debug)]
pub struct Part<'a> {
    /// Who tries.
    pub probe: &'a mut Probe,
    /// What.
    pub targets: Vec<Target>,
    /// Which of them should answer.
    pub expected: BTreeSet<Target>,
}

/// All try at once. What was reached and should not have been, and what should have been and was not: one line each.
pub fn round(parts: &mut [Part<'_>], waiting: Waiting) -> Result<Vec<String>> {
    for part in parts.iter_mut() {
        ensure!(part.targets.len() <= 4096, "{} targets are too many for one round", part.targets.len());
        part.probe.begin(&part.targets, |target| part.expected.contains(target), waiting)?;
    }
    let mut wrong = Vec::new();
    for part in parts {
        let reached = part.probe.end(&part.targets, waiting)?;
        let name = &part.probe.name;
        let line =
            |target: &Target, word: &str| format!("{name} {word} {:?} {}", target.transport, target.to);
        wrong.extend(reached.difference(&part.expected).map(|target| line(target, "reaches, and must not,")));
        wrong.extend(part.expected.difference(&reached).map(|target| line(target, "does not reach")));
    }
    Ok(wrong)
}
