//! A broker's process in a folder of its own: started, killed, started again, and gone with the process that started it.
//!
//! Not for what it serves. It keeps true that nothing which was started outlives us, also when we are killed: a shell waits for the
//! end of a pipe.

use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::authority::Authority;

/// In its folder.
const AUTHORITY: &str = "authority.pem";
const ACCOUNTS: &str = "accounts";
/// In the log, before each start.
const BEGIN: &str = "-- it is started --\n";
/// The ports that are tried, and how often.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
const TRIES: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(30);
/// Waits until nobody holds the other end of its input, then kills what the file names and removes the folder.
const KEEPER: &str = r#"
read -r _ignored
kill -KILL "$(cat "$1/pid")" 2>/dev/null
rm -rf "$1"
"#;

/// A process and its folder.
#[derive(Debug)]
pub struct Process {
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    ports: Vec<u16>,
    ready: &'static str,
    child: Child,
    /// Holds the pipe whose end ends everything.
    _keeper: Child,
}

/// A folder that nobody removes yet, with an authority of its own, a certificate by it, and room for account files.
pub(super) fn folder(of: &str) -> io::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix(&format!("netloom-{of}-")).tempdir()?.keep();
    let Authority { authority, certificate, key } = Authority::new().map_err(io::Error::other)?;
    fs::write(folder.join(AUTHORITY), authority)?;
    fs::write(folder.join("certificate.pem"), certificate)?;
    fs::write(folder.join("key.pem"), key)?;
    fs::create_dir(folder.join(ACCOUNTS))?;
    Ok(folder)
}

/// Starts something on ports that are free, and on others when somebody else was faster. They lie below those that the kernel
/// gives to connections, so that nobody takes them while a broker is dead.
pub(super) fn on_free_ports<const COUNT: usize, T>(
    start: impl Fn([u16; COUNT]) -> io::Result<T>,
) -> io::Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match free_ports().and_then(&start) {
            Err(_) if tries < TRIES => {}
            done => return done,
        }
    }
}

fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    let mut listeners = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    while listeners.len() < COUNT {
        let random = getrandom::u32().map_err(io::Error::other)?;
        let port = PORTS.start + u16::try_from(random % u32::from(PORTS.end - PORTS.start)).unwrap_or(0);
        // All are held until the last is found, so that they differ.
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            ports[listeners.len()] = port;
            listeners.push(listener);
        }
    }
    Ok(ports)
}

/// The first of these that is there.
pub(super) fn program(paths: &[&str], package: &str) -> io::Result<PathBuf> {
    let found = paths.iter().map(Path::new).find(|path| path.exists());
    found
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other(format!("{package} is not installed: apt-get install {package}")))
}

impl Process {
    /// Starts a program whose files are in `folder`, and waits until it listens on all of `ports` and has said that it is ready:
    /// before that, the signal to read its files again would end it.
    pub(super) fn start(
        folder: PathBuf,
        program: PathBuf,
        arguments: Vec<String>,
        ports: Vec<u16>,
        ready: &'static str,
    ) -> io::Result<Self> {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&folder).stdin(Stdio::piped());
        let keeper = keeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let child = launch(&folder, &program, &arguments)?;
        let mut process = Self { folder, program, arguments, ports, ready, child, _keeper: keeper };
        process.wait_until_it_listens()?;
        Ok(process)
    }

    /// The file of the authority that vouches for it.
    pub fn authority(&self) -> PathBuf {
        self.folder.join(AUTHORITY)
    }

    /// The folder of its account files.
    pub fn accounts(&self) -> PathBuf {
        self.folder.join(ACCOUNTS)
    }

    /// The file with its number.
    pub fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// Kills it at once.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Holds it, as a machine that hangs does, or lets it go on.
    pub fn hold(&self, held: bool) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it has no number"))?;
        Ok(kill_process(pid, if held { Signal::STOP } else { Signal::CONT })?)
    }

    /// Starts it again after `kill`.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.child = launch(&self.folder, &self.program, &self.arguments)?;
        self.wait_until_it_listens()
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the broker ended with {status}:\n{}", self.log())));
            }
            let listens = |port: &u16| TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], *port))).is_ok();
            if self.is_ready() && self.ports.iter().all(listens) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(io::Error::other(format!("the broker does not listen:\n{}", self.log())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_ready(&self) -> bool {
        let log = self.log();
        log.rsplit(BEGIN).next().is_some_and(|since| since.contains(self.ready))
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn launch(folder: &Path, program: &Path, arguments: &[String]) -> io::Result<Child> {
    let mut log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    log.write_all(BEGIN.as_bytes())?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn()?;
    fs::write(folder.join("pid"), child.id().to_string())?;
    Ok(child)
}
