//! A WireGuard device in user space: calling its control socket, starting its process, waiting for its end.
//!
//! Any implementation will do that serves `<dir>/<interface>.sock` and is started as `program arguments… interface`. What
//! is said on the socket is `uapi`'s. It keeps true that the process outlives whoever started it: it has a process
//! group of its own, and none of its starter's input, output and notification sockets.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use model::Timestamp;
use reconcile::Device;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use crate::options::DeviceProgram;
use crate::uapi;
use crate::wireguard::DeviceChange;
use crate::words;

/// Enough for the state of a hundred thousand peers.
const LONGEST_ANSWER: u64 = 64 << 20;
/// How long a device may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a device may take to start, or to end.
const STARTING: Duration = Duration::from_secs(10);
/// Room for the answer to a change: a verdict.
const VERDICT: usize = 64;
/// Room for the state of a device to begin with.
const STATE: usize = 64 << 10;
const POLL_EVERY: Duration = Duration::from_millis(10);
const LONGEST_TAIL: usize = 2000;

/// The control socket of one interface.
#[derive(Debug, Clone)]
pub(crate) struct ControlSocket {
    interface: String,
    path: PathBuf,
}

impl ControlSocket {
    pub(crate) fn new(dir: &Path, interface: &str) -> Self {
        Self { interface: interface.to_owned(), path: dir.join(format!("{interface}.sock")) }
    }

    /// Whether there is one, be it that its process has died.
    pub(crate) fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// Whether a living process serves it.
    pub(crate) async fn answers(&self) -> bool {
        UnixStream::connect(&self.path).await.is_ok()
    }

    /// The whole state of the device.
    pub(crate) async fn read(&self, at: Timestamp) -> anyhow::Result<Device> {
        let doing = format!("read the WireGuard device {}", self.interface);
        let answer = self.call(uapi::GET, STATE).await.map_err(|error| words::could_not(&doing, error))?;
        self.check(&answer)
            .and_then(|()| uapi::parse(&answer, at))
            .with_context(|| format!("could not {doing}"))
    }

    /// Changes the device.
    pub(crate) async fn apply(&self, change: &DeviceChange) -> anyhow::Result<()> {
        let doing = format!("change the WireGuard device {}", self.interface);
        let answer = self.call(&uapi::encode(change), VERDICT).await;
        let answer = answer.map_err(|error| words::could_not(&doing, error))?;
        self.check(&answer).with_context(|| format!("could not {doing}"))
    }

    fn check(&self, answer: &str) -> anyhow::Result<()> {
        match uapi::verdict(answer)? {
            0 => Ok(()),
            errno => Err(words::of_device(&io::Error::from_raw_os_error(errno))),
        }
    }

    async fn call(&self, request: &str, room: usize) -> io::Result<Zeroizing<String>> {
        timeout(PATIENCE, self.converse(request, room)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer at {}", self.path.display()))
        })?
    }

    async fn converse(&self, request: &str, room: usize) -> io::Result<Zeroizing<String>> {
        let mut stream = UnixStream::connect(&self.path).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Zeroizing::new(Vec::with_capacity(room));
        let mut reading = stream.take(LONGEST_ANSWER);
        while !answer.ends_with(b"\n\n") {
            if reading.read_buf(&mut *answer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer has no end"));
            }
        }
        let text = std::str::from_utf8(&answer).map_err(|_| io::Error::other("the answer is no text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Waits until the process of a deleted interface has ended, and removes what a killed one left.
    pub(crate) async fn wait_until_gone(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTING;
        loop {
            match UnixStream::connect(&self.path).await {
                Ok(_) => {}
                // It ended between taking our call and answering it: the next look tells what it left.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                // Nobody listens any more: a process that was killed could not remove it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return remove_if_there(&self.path);
                }
                Err(error) => {
                    return Err(words::could_not(&format!("look at {}", self.path.display()), error));
                }
            }
            if Instant::now() > deadline {
                bail!(
                    "the WireGuard process of {} still runs although its interface is gone; end it by hand",
                    self.interface
                );
            }
            sleep(POLL_EVERY).await;
        }
    }

    /// Waits until the process has ended, and removes what it made besides: the folder of the sockets, if no other
    /// device uses it.
    pub(crate) async fn clear_away(&self) -> anyhow::Result<()> {
        self.wait_until_gone().await?;
        if let Some(dir) = self.path.parent() {
            // A folder that is not empty, or not there, is as good.
            let _ = std::fs::remove_dir(dir);
        }
        Ok(())
    }

    /// Starts the process unless one answers already, and waits until it does.
    pub(crate) async fn start(&self, program: &DeviceProgram) -> anyhow::Result<()> {
        if self.answers().await {
            return Ok(());
        }
        if !Path::new("/dev/net/tun").exists() {
            bail!(
                "/dev/net/tun is missing: load it with `modprobe tun`, or let the container have it \
                 (`--device /dev/net/tun`)"
            );
        }
        let mut child = spawn(program, &self.interface)?;
        let deadline = Instant::now() + STARTING;
        while !self.answers().await {
            // A program that goes into the background by itself exits with success before it answers.
            let exited = child.try_wait().context("could not watch the WireGuard process")?;
            if let Some(status) = exited.filter(|status| !status.success()) {
                return Err(self.no_start(program, &format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                let _ = child.start_kill();
                return Err(self.no_start(program, &format!("no answer at {}", self.path.display())));
            }
            sleep(POLL_EVERY).await;
        }
        Ok(())
    }

    fn no_start(&self, program: &DeviceProgram, why: &str) -> anyhow::Error {
        let tail = tail(&program.log);
        let said =
            if tail.is_empty() { "it said nothing".to_owned() } else { format!("its last words: {tail}") };
        let program = program.program.display();
        anyhow!("the WireGuard process {program} for {} did not start: {why}; {said}", self.interface)
    }
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(words::could_not(&format!("remove {}", path.display()), error)),
    }
}

fn spawn(program: &DeviceProgram, interface: &str) -> anyhow::Result<Child> {
    let _ = std::fs::rename(&program.log, program.log.with_extension("old"));
    let log = std::fs::File::create(&program.log)
        .map_err(|error| words::could_not(&format!("write the log {}", program.log.display()), error))?;
    let errors = log.try_clone().context("could not share the log file")?;
    let mut command = Command::new(&program.program);
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC"].map(OsStr::new) {
        command.env_remove(name);
    }
    for name in &program.withheld {
        command.env_remove(name);
    }
    command
        .args(&program.arguments)
        .arg(interface)
        .current_dir("/")
        // Neither a terminal's Ctrl-C nor its end reaches another process group.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| words::could_not(&format!("start {}", program.program.display()), error))
}

/// The last lines of a log, as one line.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(LONGEST_TAIL)..]);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncBufReadExt as _;
    use tokio::net::UnixListener;

    use super::*;
    use crate::wireguard::{PeerChange, PeerStep};

    /// Answers one call and returns what was asked.
    async fn answer_once(listener: UnixListener, answer: &'static str) -> String {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tokio::io::BufReader::new(stream);
        let mut request = String::new();
        while !request.ends_with("\n\n") {
            stream.read_line(&mut request).await.unwrap();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::new(dir.path(), "wg9");
        let listener = UnixListener::bind(&socket.path).unwrap();
        let device = tokio::spawn(answer_once(listener, "errno=-98\n\n"));
        let change = DeviceChange { listen_port: Some(7), ..DeviceChange::default() };
        let text = format!("{:#}", socket.apply(&change).await.unwrap_err());
        assert!(text.contains("wg9") && text.contains("port is taken"), "{text}");
        assert_eq!(device.await.unwrap(), "set=1\nlisten_port=7\n\n");
    }

    #[tokio::test]
    async fn a_device_without_a_process_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::new(dir.path(), "wg9");
        let gone = PeerChange { key: model::WgPublicKey::from_bytes([1; 32]), step: PeerStep::Remove };
        let remove = DeviceChange { peers: vec![gone], ..DeviceChange::default() };
        assert!(format!("{:#}", socket.apply(&remove).await.unwrap_err()).contains("wg9"));
        assert!(!socket.answers().await);
        socket.wait_until_gone().await.unwrap();
    }

    #[tokio::test]
    async fn a_dead_process_socket_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::new(dir.path(), "wg9");
        drop(std::os::unix::net::UnixListener::bind(&socket.path).unwrap());
        // A child that another test starts holds it for a moment, between fork and exec.
        let dead = async {
            while socket.answers().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), dead).await.unwrap();
        assert!(socket.exists());
        socket.wait_until_gone().await.unwrap();
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn a_process_that_ends_while_it_is_called_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::new(dir.path(), "wg9");
        let listener = std::os::unix::net::UnixListener::bind(&socket.path).unwrap();
        // The call is in the listener's queue when the listener goes.
        let (gone, ()) = tokio::join!(socket.wait_until_gone(), async { drop(listener) });
        gone.unwrap();
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let program = DeviceProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), "echo no such luck >&2; exit 3".into()],
            log: dir.path().join("device.log"),
            withheld: Vec::new(),
        };
        let text = ControlSocket::new(dir.path(), "wg9").start(&program).await.unwrap_err().to_string();
        assert!(text.contains("no such luck") && text.contains("wg9"), "{text}");
        let missing = DeviceProgram { program: "/nonexistent/program".into(), ..program };
        let text = format!("{:#}", ControlSocket::new(dir.path(), "wg9").start(&missing).await.unwrap_err());
        assert!(text.contains("/nonexistent/program"), "{text}");
    }
}
