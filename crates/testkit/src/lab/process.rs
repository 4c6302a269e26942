//! Running commands inside machines: to their end with a limit, or as daemons that write to a log.
//!
//! Not for choosing where a command runs. Keeps true that no wait is endless, that a failure shows what the command
//! said, and that a signal reaches the program itself rather than the `nsenter` in front of it.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::eventually::eventually;

const OUTPUT_LIMIT: u64 = 16 * 1024 * 1024;
const LOG_TAIL: u64 = 4 * 1024;
/// How long output is still waited for after the program ended; a daemon it left behind may hold the pipe for ever.
const DRAIN: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(3);

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
    described: String,
}

impl Output {
    /// Itself if the command succeeded, else an error that shows all the command said.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        Err(anyhow!("{self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`{}` ended with {}", self.described, self.status)?;
        writeln!(f, "--- stdout\n{}", self.stdout.trim_end())?;
        write!(f, "--- stderr\n{}", self.stderr.trim_end())
    }
}

/// Runs a command to its end, at most for `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let described = describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{described}`"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, limit);
    if !matches!(status, Ok(Some(_))) {
        end(&mut child);
    }
    let (stdout, stderr) = (stdout.finish(), stderr.finish());
    let Some(status) = status.with_context(|| format!("cannot wait for `{described}`"))? else {
        bail!(
            "`{described}` had not ended after {:.0} s and was killed\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
            limit.as_secs_f64()
        );
    };
    Ok(Output { status, stdout, stderr, described })
}

/// The command as a person would type it, without the `nsenter` in front of it.
pub(crate) fn describe(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let inside = words.iter().position(|word| word == "--").map_or(0, |place| place + 1);
    words[inside..].join(" ")
}

/// One stream of a child, read by a thread of its own so that neither stream can block the other.
struct Collected {
    pieces: mpsc::Receiver<Vec<u8>>,
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Collected {
    let (sender, pieces) = mpsc::sync_channel(1024);
    if let Some(stream) = stream {
        std::thread::spawn(move || {
            let mut stream = stream.take(OUTPUT_LIMIT);
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
    }
    Collected { pieces }
}

impl Collected {
    fn finish(self) -> String {
        let deadline = Instant::now() + DRAIN;
        let mut bytes = Vec::new();
        while let Ok(piece) = self.pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Kills the program behind `nsenter` and `nsenter` itself.
fn end(child: &mut Child) {
    if let Some(program) = program_behind(child.id()) {
        let _ = kill_process(program, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The child of `nsenter`, which has to fork to get into another process namespace.
fn program_behind(parent: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let first = match children {
        Ok(list) => list.split_whitespace().next()?.parse().ok()?,
        Err(_) => search_child(parent)?,
    };
    Pid::from_raw(first)
}

/// The same on kernels that do not list children.
fn search_child(parent: u32) -> Option<i32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold anything; what follows the last one does not.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == parent).then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

/// A program that runs on in a machine; dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// `None` if it had ended before it could be found.
    program: Option<Pid>,
    described: String,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let described = describe(command);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        let errors = file.try_clone().context("cannot share the log")?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let mut child = command.spawn().with_context(|| format!("cannot start `{described}`"))?;
        let number = child.id();
        let program = eventually(Duration::from_secs(20), || {
            if child.try_wait()?.is_some() {
                return Ok(None);
            }
            program_behind(number).context("the program has not started").map(Some)
        });
        match program {
            Ok(program) => Ok(Self { child, program, described, log }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Sends a signal to the program.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let (None, Some(program)) = (self.child.try_wait()?, self.program) else {
            bail!(
                "`{}` has already ended
{}",
                self.described,
                self.log_tail()
            );
        };
        // `nsenter` has not ended, so it has not collected the program: the number still means the program.
        kill_process(program, signal).with_context(|| format!("cannot signal `{}`", self.described))
    }

    /// Ends the program as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(20))
    }

    /// Asks the program to end (SIGTERM) and waits for it.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Waits until the program has ended.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended =
            wait(&mut self.child, limit).with_context(|| format!("cannot wait for `{}`", self.described))?;
        ended.ok_or_else(|| {
            anyhow!("`{}` still runs after {:.1} s\n{}", self.described, limit.as_secs_f64(), self.log_tail())
        })
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// All the program has written to its standard output and error so far.
    pub fn log(&self) -> Result<String> {
        let bytes =
            std::fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of the log, for messages about failures.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Where the log is.
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            end(&mut self.child);
        }
    }
}

/// The last few kilobytes of a log, with its name above.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let name = log.file_stem().unwrap_or_default().to_string_lossy();
    match read() {
        Ok(bytes) => format!("--- end of {name}'s log\n{}", String::from_utf8_lossy(&bytes).trim_end()),
        Err(error) => format!("--- {name}'s log cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_both_streams() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo to out; echo to err >&2; exit 3"]);
        let error = run(&mut command, Duration::from_secs(20)).unwrap().success().unwrap_err().to_string();
        assert!(error.contains("to out") && error.contains("to err") && error.contains("3"), "{error}");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_and_what_it_said_is_shown() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo began; exec sleep 600"]);
        let error = run(&mut command, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("began") && error.contains("killed"), "{error}");
    }

    #[test]
    fn a_daemon_that_holds_the_pipe_does_not_make_the_caller_wait() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 5 & echo done"]);
        let start = Instant::now();
        let output = run(&mut command, Duration::from_secs(20)).unwrap();
        assert_eq!(output.stdout, "done\n");
        assert!(start.elapsed() < Duration::from_secs(4), "waited {:?}", start.elapsed());
    }
}
