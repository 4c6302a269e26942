//! The four that are killed: two servers on one database, and the broker between them and the agents.
//!
//! Not for when they are killed. It keeps true that each comes back where it was, with what it had on disk and nothing else, and
//! that the servers share their keys and their certificate as administrators are told to let them.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::engines::postgres::Cluster;
use crate::fleet::{ServerProcess, Site, command};

/// One of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The server with this number.
    Server(usize),
    Database,
    Broker,
}

/// What kind of part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PartKind {
    /// Each server in turn
    Server,
    /// The database
    Database,
    /// The broker
    Broker,
}

impl Part {
    /// Its kind.
    pub(super) const fn kind(self) -> PartKind {
        match self {
            Self::Server(_) => PartKind::Server,
            Self::Database => PartKind::Database,
            Self::Broker => PartKind::Broker,
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(number) => write!(f, "server {}", number + 1),
            Self::Database => f.write_str("database"),
            Self::Broker => f.write_str("broker"),
        }
    }
}

/// A broker that is a process of its own.
pub(super) trait Post: Send {
    /// What servers that use it are set to.
    fn settings(&self) -> Vec<(String, String)>;
    /// Its port on loopback, at which agents come in.
    fn port(&self) -> Result<u16>;
    /// Kills it without a warning.
    fn kill(&mut self) -> Result<()>;
    /// Starts it again where it was.
    fn start_again(&mut self) -> Result<()>;
    /// What it said.
    fn log(&self) -> String;
}

/// A line for each agent that comes and goes would leave nothing else in the logs.
const LOG: &str = "info,server::brain::hub=warn";
/// So much of the broker's log is shown.
const MOST_LOG: usize = 4_000;

struct Server {
    data: PathBuf,
    port: u16,
    rendezvous: [u16; 2],
    process: Option<ServerProcess>,
}

/// All four.
pub(super) struct Plant {
    program: PathBuf,
    servers: Vec<Server>,
    database: Cluster,
    broker: Option<Box<dyn Post>>,
    folder: TempDir,
}

/// A port that nobody has now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Two of UDP that nobody has now.
fn free_doors() -> Result<[u16; 2]> {
    let doors = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
    Ok([doors[0].local_addr()?.port(), doors[1].local_addr()?.port()])
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

impl Plant {
    /// Starts everything: so many servers, and the broker if it is not their own.
    pub(super) fn start(program: &Path, servers: usize, broker: Option<Box<dyn Post>>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("netloom-cluster-").tempdir().context("a folder")?;
        let database = Cluster::start(None).context("PostgreSQL")?;
        let mut plant = Self { program: program.to_owned(), servers: Vec::new(), database, broker, folder };
        for number in 0..servers {
            let data = plant.folder.path().join(format!("server-{}", number + 1));
            let server = Server { data, port: free_port()?, rendezvous: free_doors()?, process: None };
            plant.servers.push(server);
        }
        for number in 0..servers {
            if number > 0 {
                for shared in ["keys", "tls"] {
                    let [from, to] = [0, number].map(|server: usize| plant.servers[server].data.join(shared));
                    copy_folder(&from, &to)
                        .with_context(|| format!("the folder {shared} of the first server"))?;
                }
            }
            plant.run_server(number)?;
        }
        Ok(plant)
    }

    fn run_server(&mut self, number: usize) -> Result<()> {
        let urls: Vec<String> = self.servers.iter().map(|server| url(server.port)).collect();
        let server = &mut self.servers[number];
        let mut command = command(&self.program, &server.data);
        let doors = server.rendezvous.map(|port| format!("127.0.0.1:{port}")).join(",");
        command
            .env("NETLOOM_DATABASE", address(&self.database))
            .env("NETLOOM_LISTEN", format!("127.0.0.1:{}", server.port))
            .env("NETLOOM_LOG", LOG)
            .env("NETLOOM_URL", urls.join(","))
            .env("NETLOOM_RENDEZVOUS", doors);
        if urls.len() > 1 {
            command
                .env("NETLOOM_ADVERTISE", &urls[number])
                .env("NETLOOM_NAME", format!("server-{}", number + 1));
        }
        command.envs(self.broker.iter().flat_map(|broker| broker.settings()));
        let process = ServerProcess::run(command, &server.data)
            .with_context(|| format!("server {} does not start", number + 1))?;
        server.process = Some(process);
        Ok(())
    }

    /// All that can be killed, in the order of their deaths.
    pub(super) fn parts(&self) -> Vec<Part> {
        let servers = (0..self.servers.len()).map(Part::Server);
        let broker = self.broker.as_ref().map(|_| Part::Broker);
        servers.chain([Part::Database]).chain(broker).collect()
    }

    /// The servers as clients see them.
    pub(super) fn sites(&self) -> Result<Vec<Site>> {
        let site = |server: &Server| Ok(server.process.as_ref().context("a server is down")?.site.clone());
        self.servers.iter().map(site).collect()
    }

    /// The code with which the first administrator is made.
    pub(super) fn setup_code(&self) -> Result<String> {
        let first = self.servers.first().and_then(|server| server.process.as_ref());
        first.context("no server is there")?.setup_code()
    }

    /// The database's address.
    pub(super) fn database(&self) -> String {
        address(&self.database)
    }

    /// The ports at which agents come in.
    pub(super) fn ports(&self) -> Result<Vec<u16>> {
        let servers = self.servers.iter().map(|server| Ok(server.port));
        servers.chain(self.broker.iter().map(|broker| broker.port())).collect()
    }

    /// Kills one without a warning.
    pub(super) fn kill(&mut self, part: Part) -> Result<()> {
        match part {
            // It is killed and waited for when it is dropped.
            Part::Server(number) => self.servers[number].process = None,
            Part::Database => self.database.kill()?,
            Part::Broker => self.broker.as_mut().context("there is no such broker")?.kill()?,
        }
        Ok(())
    }

    /// Starts one again; it is up when this returns.
    pub(super) fn start_again(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Server(number) => self.run_server(number),
            Part::Database => Ok(self.database.start_again()?),
            Part::Broker => self.broker.as_mut().context("there is no such broker")?.start_again(),
        }
    }

    /// Whether every server still runs that was not killed.
    pub(super) fn check(&mut self) -> Result<()> {
        for (number, server) in self.servers.iter_mut().enumerate() {
            if let Some(process) = &mut server.process
                && !process.is_running()
            {
                bail!("server {} ended by itself:\n{}", number + 1, process.log());
            }
        }
        Ok(())
    }

    /// The ends of the servers' logs.
    pub(super) fn logs(&self) -> String {
        let log = |(number, server): (usize, &Server)| {
            let log = server.process.as_ref().map(ServerProcess::log).unwrap_or_default();
            format!("--- the end of the log of server {}\n{log}\n", number + 1)
        };
        let broker = self.broker.as_ref().map(|broker| broker.log()).unwrap_or_default();
        let end = broker.len().saturating_sub(MOST_LOG);
        let broker = broker.get(end..).unwrap_or_default();
        let servers: String = self.servers.iter().enumerate().map(log).collect();
        format!("{servers}--- the end of the broker's\n{broker}")
    }
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn address(database: &Cluster) -> String {
    format!("postgres://netloom@{}/postgres?sslmode=disable", database.address())
}
