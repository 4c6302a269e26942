//! A PostgreSQL cluster of a test's own: in a folder of its own, on a free port, as a user without rights, with `fsync` on as
//! in life.
//!
//! Not the machine's own service, which is never touched. The cluster ends with the process that started it, also when that is
//! killed: a shell waits for the end of a pipe.

pub mod trouble;

use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The user that PostgreSQL runs as where we are root: it refuses to be root itself.
const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(60);
/// Whoever `anna` is, she needs a password.
const RULES: &str = "\
local all all trust
host all anna 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host all all ::1/128 trust
";
/// Waits until nobody holds the other end of its input, then ends the cluster and removes its folder.
const KEEPER: &str = r#"
read -r _ignored
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
[ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
rm -rf "$1"
"#;

/// A certificate and its key, in PEM.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// The certificate.
    pub chain: &'a str,
    /// Its key.
    pub key: &'a str,
}

/// How it runs.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    is_encrypted: bool,
    /// The size of the disk that its tables are on, where it has one of its own.
    megabytes: Option<u32>,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    server: Child,
    manner: Manner,
    /// Holds the pipe whose end ends the cluster.
    _keeper: Child,
}

/// The folder with the newest installed PostgreSQL's programs.
fn programs() -> io::Result<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let newest = installed.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists());
    let newest = newest.max_by_key(|path| version(path));
    let missing = || io::Error::other("PostgreSQL is not installed: apt-get install postgresql");
    newest.map(|path| path.join("bin")).ok_or_else(missing)
}

fn as_nobody(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program);
    command
}

fn give_away(path: &Path) -> io::Result<()> {
    if geteuid().is_root() { chown(path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    give_away(path)
}

impl Cluster {
    /// Makes a cluster and starts it; with TLS where there is a certificate.
    pub fn start(certificate: Option<Certificate<'_>>) -> io::Result<Self> {
        let manner = Manner { is_encrypted: certificate.is_some(), megabytes: None };
        Self::start_so(certificate, manner)
    }

    fn start_so(certificate: Option<Certificate<'_>>, manner: Manner) -> io::Result<Self> {
        let programs = programs()?;
        // The keeper removes it: it outlives us.
        let folder = tempfile::Builder::new().prefix("netloom-postgres-").tempdir()?.keep();
        give_away(&folder)?;
        Self::make_room_for_disk(&folder)?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&folder).stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = keeper.stderr(Stdio::null()).spawn()?;
        let made = as_nobody(&programs.join("initdb"))
            .args(["--username", "netloom", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "-D"])
            .arg(folder.join("data"))
            .current_dir("/")
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        write_private(&folder.join("data/pg_hba.conf"), RULES)?;
        if let Some(Certificate { chain, key }) = certificate {
            write_private(&folder.join("data/server.crt"), chain)?;
            write_private(&folder.join("data/server.key"), key)?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = launch(&programs, &folder, port, manner)?;
        let mut cluster = Self { folder, programs, port, server, manner, _keeper: keeper };
        cluster.wait_until_it_answers()?;
        Ok(cluster)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its address for a server: user `netloom`, database `postgres`, no password.
    pub fn url(&self) -> String {
        format!("postgres://netloom@{}/postgres", self.address())
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has statements carried out by `psql`; what it prints.
    pub fn psql(&self, sql: &str) -> io::Result<String> {
        let output = self.program("psql").args(["-v", "ON_ERROR_STOP=1", "-XqAt", "-c", sql]).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A program of PostgreSQL's that asks this cluster: `psql`, `pgbench`.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "netloom", "-d", "postgres"]);
        command
    }

    /// Kills every process of it at once, as a power cut does.
    pub fn kill(&mut self) -> io::Result<()> {
        self.signal(Signal::KILL)?;
        self.server.wait().map(drop)
    }

    fn postmaster(&self) -> io::Result<i32> {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        file.lines().next().unwrap_or_default().parse().map_err(io::Error::other)
    }

    /// Has its first process told this, and then all others.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let postmaster = self.postmaster()?;
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?;
        let all = children.split_whitespace().filter_map(|child| child.parse().ok());
        for pid in std::iter::once(postmaster).chain(all).filter_map(Pid::from_raw) {
            // One that has ended meanwhile needs no signal.
            let _gone = kill_process(pid, signal);
        }
        Ok(())
    }

    /// Starts it again after `kill` or `stop`.
    pub fn start_again(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            // Until the kernel has cleared the dead ones away, PostgreSQL takes their memory for in use.
            self.server = launch(&self.programs, &self.folder, self.port, self.manner)?;
            match self.wait_until_it_answers() {
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.server.try_wait()? {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("PostgreSQL ended with {status}:\n{log}")));
            }
            let listens = TcpStream::connect(self.address()).is_ok();
            if listens && self.psql("SELECT 1").is_ok() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(io::Error::other("PostgreSQL does not answer"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn launch(programs: &Path, folder: &Path, port: u16, manner: Manner) -> io::Result<Child> {
    let mut log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    writeln!(log, "starting")?;
    trouble::on_disk(manner.megabytes, folder, &programs.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-c", &format!("port={port}"), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", &format!("unix_socket_directories={}", folder.display())])
        .args(["-c", "max_connections=300", "-c", "shared_buffers=32MB"])
        // So that whole statements are seen where it says what it does.
        .args(["-c", "track_activity_query_size=16384"])
        .args(["-c", if manner.is_encrypted { "ssl=on" } else { "ssl=off" }])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}
