//! A process that holds namespaces open, and the way into them.
//!
//! Not for what happens inside. Keeps true that the namespaces live exactly as long as this value: the holder waits for
//! the end of its standard input, which comes when this value is dropped and also when this whole process is killed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::requirements::{PATH, Privilege};

/// Making namespaces takes milliseconds; under emulation with a busy processor it can take seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The process that holds namespaces.
#[derive(Debug)]
pub(crate) struct Holder {
    child: Child,
    /// Closing it ends the holder.
    lifeline: Option<ChildStdin>,
    pid: u32,
    privilege: Privilege,
}

impl Holder {
    /// Starts `command`, whose script must print `ready PID` when all is set up and end when its input ends.
    pub(crate) fn start(mut command: Command, privilege: Privilege) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let lifeline = child.stdin.take();
        match first_line(&mut child) {
            Ok(pid) => Ok(Self { child, lifeline, pid, privilege }),
            Err(error) => {
                drop(lifeline);
                stop(&mut child);
                Err(error)
            }
        }
    }

    /// A command in some of the holder's namespaces, in an empty environment; `spaces` are flags of `nsenter`.
    pub(crate) fn enter(&self, spaces: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
        command.args(["--target", &self.pid.to_string()]);
        command.args(self.privilege.nsenter_arguments()).args(spaces).arg("--");
        command
    }

    /// The holder's number as processes outside of the lab see it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends everything in the namespaces and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        self.lifeline = None;
        stop(&mut self.child);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for `ready PID`; what the holder said instead becomes the error.
fn first_line(child: &mut Child) -> Result<u32> {
    let stdout = child.stdout.take().context("the holder's output was not captured")?;
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        // The receiver is gone when it stopped waiting; then nobody wants the line.
        let _ = sender.send(read.map(|_| line));
    });
    let line = receiver
        .recv_timeout(START_LIMIT)
        .map_err(|_| anyhow!("the namespaces were not ready after {} s", START_LIMIT.as_secs()))?
        .context("cannot read from the holder of the namespaces")?;
    if let Some(pid) = line.trim().strip_prefix("ready ") {
        return pid.parse().context("the holder of the namespaces did not say its process number");
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(64 * 1024).read_to_string(&mut said).context("cannot read the holder's complaint")?;
    }
    Err(anyhow!("the namespaces could not be set up: {}{}", line.trim(), said.trim()))
}

fn stop(child: &mut Child) {
    let deadline = Instant::now() + STOP_LIMIT;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    // It did not end by itself; the kernel ends whatever is inside with it.
    let _ = child.kill();
    let _ = child.wait();
}
