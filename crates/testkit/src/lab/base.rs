//! What all machines of one lab hang on: the holder of its process namespace and of the switches, and its folder.
//!
//! Not for single machines. Keeps true that ending the base ends every process of the lab and removes its folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};

use super::holder::Holder;
use super::requirements::{PATH, Privilege};

const SCRIPT: &str = include_str!("base.sh");
/// Set to anything to keep the folders of labs, with all logs, for a look at them.
const KEEP: &str = "NETLOOM_LAB_KEEP";

#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) privilege: Privilege,
    pub(crate) folder: PathBuf,
    /// `None` once the lab has ended.
    holder: Mutex<Option<Holder>>,
    numbers: AtomicU32,
}

impl Base {
    pub(crate) fn start(name: &str, privilege: Privilege) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("netloom-lab-{name}-"))
            .tempdir()
            .context("cannot make a folder for the lab")?;
        let keep = if std::env::var_os(KEEP).is_some() { "yes" } else { "no" };
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", PATH).current_dir("/");
        command.args(privilege.unshare_arguments());
        command.args([
            "--net",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
            "bash",
            "-c",
            SCRIPT,
            "lab",
        ]);
        command.arg(folder.path()).arg(keep);
        let holder = Holder::start(command, privilege).context("cannot start the lab")?;
        // From here on the holder removes the folder, even if this process is killed.
        let folder = folder.keep();
        Ok(Self { privilege, folder, holder: Mutex::new(Some(holder)), numbers: AtomicU32::new(1) })
    }

    /// A number that this lab has not used yet.
    pub(crate) fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs lines of `ip` where the switches are, in one go.
    pub(crate) fn ip(&self, batch: &str) -> Result<()> {
        feed(self.enter(&["--net"])?.args(["ip", "-batch", "-"]), batch)
    }

    /// Runs nftables rules where the switches are, as one transaction.
    pub(crate) fn nft(&self, rules: &str) -> Result<()> {
        feed(self.enter(&["--net"])?.args(["nft", "-f", "-"]), rules)
    }

    pub(crate) fn enter(&self, spaces: &[&str]) -> Result<Command> {
        let holder = self.lock();
        Ok(holder.as_ref().context("the lab has ended")?.enter(spaces))
    }

    /// Ends every process of the lab and waits until its folder is gone.
    pub(crate) fn end(&self) {
        let Some(mut holder) = self.lock().take() else {
            return;
        };
        holder.stop();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Holder>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn machine_folder(&self, name: &str) -> PathBuf {
        self.folder.join("machines").join(name)
    }
}

/// Runs a command with `input`, and fails with what it said.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start nsenter")?;
    let mut stdin = child.stdin.take().context("the command's input was not captured")?;
    // A command that fails early closes its input; what it says then is worth more than the broken pipe.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("cannot wait for a command")?;
    if output.status.success() {
        return written.context("a command did not read its input");
    }
    bail!("{}\nwhile carrying out:\n{}", String::from_utf8_lossy(&output.stderr).trim(), input.trim())
}

/// The tails of all logs of a lab, for the message of a test that fails.
pub(crate) fn log_tails(folder: &Path) -> String {
    let mut logs: Vec<PathBuf> = entries(&folder.join("machines"))
        .into_iter()
        .flat_map(|machine| entries(&machine.join("logs")))
        .collect();
    logs.sort();
    let tails: Vec<String> = logs.iter().map(|log| super::process::tail(log)).collect();
    tails.join("\n")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}
