//! The real server as a process on ports of its own, to be killed, restarted and measured.
//!
//! Keeps true that it ends with its owner, and that a start which fails shows what the server said.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use model::Digest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Site;

const START: Duration = Duration::from_secs(60);
const LOG_LINES: usize = 200;
/// Ticks of `/proc` in a second: 100 on every machine that Linux runs on.
const TICKS: f64 = 100.0;

/// The last lines of a log.
type Log = Arc<Mutex<VecDeque<String>>>;

/// A running server.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    log: Log,
    data: PathBuf,
    /// Where it is, and how it is recognised.
    pub site: Site,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program with nothing of the caller's environment that it would read.
pub fn command(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NETLOOM_") {
            command.env_remove(name);
        }
    }
    command
        .env("NETLOOM_CONFIG", "/dev/null")
        .env("NETLOOM_DATA", data)
        .env("NETLOOM_LISTEN", "127.0.0.1:0")
        .env("NETLOOM_RENDEZVOUS", "127.0.0.1:0,127.0.0.1:0")
        .env("NETLOOM_DNS_LISTEN", "off")
        .env("NETLOOM_LOG_FORMAT", "json")
        .stdin(Stdio::null());
    command
}

impl ServerProcess {
    /// Starts the program on this data folder.
    pub fn start(program: &Path, data: &Path) -> Result<Self> {
        Self::run(command(program, data), data)
    }

    /// Starts a command made by [`command`].
    pub fn run(mut command: Command, data: &Path) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the server cannot be started")?;
        let stderr = child.stderr.take().context("its log was asked for")?;
        let log = Log::default();
        let (up, is_up) = sync_channel(1);
        let kept = Arc::clone(&log);
        std::thread::spawn(move || follow(stderr, &kept, &up));
        let started = is_up.recv_timeout(START);
        let site = started
            .map_err(|_| anyhow!("the server did not come up:\n{}", text_of(&log)))
            .and_then(|line: Value| site_of(&line));
        match site {
            Ok(site) => Ok(Self { child, log, data: data.to_owned(), site }),
            Err(error) => {
                let _ended = child.kill().and_then(|()| child.wait());
                Err(error)
            }
        }
    }

    /// The code with which the first administrator is made.
    pub fn setup_code(&self) -> Result<String> {
        std::fs::read_to_string(self.data.join("setup-code")).context("there is no set-up code")
    }

    /// Ends it without a warning (SIGKILL).
    pub fn kill(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }

    /// Stops it where it is, as a machine that is suspended (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::STOP).context("the server cannot be frozen")
    }

    /// Has it go on where it was frozen (SIGCONT).
    pub fn thaw(&self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::CONT).context("the server cannot be thawed")
    }

    /// Asks it to end (SIGTERM) and says how long that took.
    pub fn stop(mut self, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::TERM).context("the server cannot be asked to end")?;
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > limit {
                bail!("the server did not end within {limit:?}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(start.elapsed())
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// The processor time it has used, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds_of(&self.proc("stat")?)
    }

    /// The memory it has in use, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory it had in use since its start, or since [`Self::forget_peak`], in bytes.
    pub fn peak_bytes(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    /// The peak begins anew, where the kernel lets us say so.
    pub fn forget_peak(&self) {
        let _since_start = std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    fn memory(&self, name: &str) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes =
            line.and_then(|line| line.split_whitespace().next()).context("/proc tells no memory")?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

/// The processor time in a `/proc/…/stat`, in seconds.
pub fn cpu_seconds_of(stat: &str) -> Result<f64> {
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    let (Some(Ok(user)), Some(Ok(system))) =
        (fields.get(11).map(|n| n.parse::<f64>()), fields.get(12).map(|n| n.parse::<f64>()))
    else {
        bail!("/proc tells no processor time");
    };
    Ok((user + system) / TICKS)
}

fn follow(stderr: ChildStderr, log: &Log, up: &SyncSender<Value>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains("the server is up")
            && let Ok(value) = serde_json::from_str(&line)
        {
            let _gone = up.try_send(value);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}

fn text_of(log: &Log) -> String {
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().cloned().collect::<Vec<_>>().join("\n")
}

fn site_of(line: &Value) -> Result<Site> {
    let field = |name: &str| line["fields"][name].as_str().unwrap_or_default();
    let pin = field("pin");
    let pin: Option<Digest> = if pin.is_empty() { None } else { Some(pin.parse()?) };
    let scheme = if pin.is_some() { "https" } else { "http" };
    Site::new(&format!("{scheme}://{}", field("listen")), pin)
}
