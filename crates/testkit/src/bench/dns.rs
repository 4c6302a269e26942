//! Answers per second of our DNS server, beside Debian's `unbound` that serves the same names as local data: `dnsperf`
//! drives each in turns over loopback, with the same questions.
//!
//! Not for forwarding, where others set the pace. It keeps true that both run all the time and are asked in turns, so
//! that what else the machine does meets both alike, and that nothing outside 127.0.0.1 is spoken to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use dns::{Data, Name, Names, Options, Record, Server, Zone};

use super::figure::{Figure, float};
use super::progress::bar;
use super::{Report, machine::Computer};

const ORIGIN: &str = "office.netloom.internal";
const REVERSE: [&str; 2] = ["10.in-addr.arpa", "d.f.ip6.arpa"];
const TTL: u32 = 60;
/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(30);
/// A step through the names, a prime: it meets each one once, in no order that a cache would like.
const STRIDE: u32 = 7919;

/// Measures answers per second of our DNS server, beside unbound
#[derive(Debug, Parser)]
#[command(name = "netloom-dns-bench")]
struct Arguments {
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Machines, each with an IPv4 and an IPv6 address and their reverse names
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    names: u32,
    /// How often each server is driven
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    turns: u8,
    /// Seconds of each turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=30))]
    seconds: u8,
    /// Be the server under test on this address, until killed
    #[arg(long, hide = true)]
    serve: Option<SocketAddr>,
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.serve {
        Some(address) => serve(address, arguments.names),
        None => compare(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "netloom-dns-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One machine: its name and addresses.
struct Machine {
    name: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

fn machine(number: u32) -> Machine {
    let name = format!("node{number:06}.{ORIGIN}");
    let v6 = Ipv6Addr::from((0xFD << 120) + u128::from(number) + 1);
    Machine { name, v4: Ipv4Addr::from(0x0A00_0000 + number + 1), v6 }
}

/// Our server, with the names that unbound gets as well.
fn serve(address: SocketAddr, count: u32) -> Result<()> {
    let names = Names::new();
    let zones = [ORIGIN].into_iter().chain(REVERSE).map(|origin| {
        let origin: Name = origin.parse()?;
        Ok(Zone { server: origin.clone(), mailbox: origin.clone(), origin, ttl: TTL, serial: 1 })
    });
    let zones = zones.collect::<Result<Vec<Zone>>>()?;
    let records = (0..count).map(|number| records(&machine(number))).collect::<Result<Vec<_>>>()?;
    let errors = names.edit(|edit| edit.replace(zones, records.into_iter().flatten()));
    if let Some(error) = errors.first() {
        bail!("a record of the benchmark is not taken: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (_server, errors) =
            Server::start(Options { listen: vec![address], names, ..Options::default() }).await;
        if let Some(error) = errors.into_iter().next() {
            return Err(error.into());
        }
        std::future::pending().await
    })
}

fn records(Machine { name, v4, v6 }: &Machine) -> Result<[Record; 4]> {
    let name: Name = name.parse()?;
    let of = |name: &Name, data| Record { name: name.clone(), ttl: TTL, data };
    let reverse = |address| of(&Name::reverse(address), Data::Ptr(name.clone()));
    Ok([of(&name, Data::A(*v4)), of(&name, Data::Aaaa(*v6)), reverse((*v4).into()), reverse((*v6).into())])
}

fn compare(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir().context("a folder")?;
    let questions = folder.path().join("questions");
    std::fs::write(&questions, questions_about(arguments.names))?;
    let ours = Contender::ours(arguments.names)?;
    let unbound = Contender::unbound(arguments.names, folder.path())?;
    let (mut of_ours, mut of_unbound) = (Vec::new(), Vec::new());
    let progress = bar("dns", 2 * usize::from(arguments.turns));
    for _ in 0..arguments.turns {
        of_ours.push(ours.drive(&questions, arguments.seconds)?);
        progress.inc(1);
        of_unbound.push(unbound.drive(&questions, arguments.seconds)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let (speed, beside) = (middle(of_ours), middle(of_unbound));
    let (memory, memory_beside) = (ours.memory()?, unbound.memory()?);
    let figures = vec![
        Figure::new("dns", format!("ours, {} machines", arguments.names), speed, "1/s"),
        Figure::new("dns", "unbound, the same as local data", beside, "1/s"),
        Figure::new("dns", "ratio", speed / beside, "×"),
        Figure::new("dns", "resident memory, ours", memory, "MiB"),
        Figure::new("dns", "resident memory, unbound", memory_beside, "MiB"),
    ];
    print(Report { machine: Computer::this(), figures }, arguments.json)
}

fn print(report: Report, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(out, "{}\n\n{}", report.machine, super::figure::table(&report.figures))?;
    }
    Ok(())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// For `dnsperf`: of each machine both addresses and a reverse name.
fn questions_about(count: u32) -> String {
    let mut text = String::new();
    let stride = if count.is_multiple_of(STRIDE) { 1 } else { STRIDE };
    let mut number = 0;
    for _ in 0..count {
        number = (number + stride) % count;
        let Machine { name, v4, v6: _ } = machine(number);
        let [a, b, c, d] = v4.octets();
        let written = write!(text, "{name} A\n{d}.{c}.{b}.{a}.in-addr.arpa PTR\n{name} AAAA\n");
        written.expect("a text takes everything");
    }
    text
}

/// The same names for unbound.
fn configuration(port: u16, count: u32) -> Result<String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "server:\n interface: 127.0.0.1@{port}\n num-threads: {threads}\n so-reuseport: yes\n module-config: iterator\n verbosity: 0\n \
         do-daemonize: no\n use-syslog: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n"
    );
    for origin in [ORIGIN].into_iter().chain(REVERSE) {
        writeln!(text, " local-zone: \"{origin}.\" static")?;
    }
    for number in 0..count {
        let Machine { name, v4, v6 } = machine(number);
        writeln!(
            text,
            " local-data: \"{name}. {TTL} IN A {v4}\"\n local-data: \"{name}. {TTL} IN AAAA {v6}\""
        )?;
        for address in [v4.into(), v6.into()] {
            writeln!(text, " local-data: \"{}. {TTL} IN PTR {name}.\"", Name::reverse(address))?;
        }
    }
    Ok(text)
}

/// A server under test; it is killed when this is dropped.
struct Contender {
    name: &'static str,
    process: Child,
    address: SocketAddr,
}

impl Drop for Contender {
    fn drop(&mut self) {
        // One that has ended already needs no more.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Contender {
    fn ours(count: u32) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe().context("the running program has no path")?);
        command.args(["--serve", &address.to_string(), "--names", &count.to_string()]);
        Self::start("ours", command, address)
    }

    fn unbound(count: u32, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let file: PathBuf = folder.join("unbound.conf");
        std::fs::write(&file, configuration(address.port(), count)?)?;
        let mut command = Command::new(system_program("unbound"));
        command.arg("-d").arg("-c").arg(&file);
        Self::start("unbound", command, address)
    }

    fn start(name: &'static str, mut command: Command, address: SocketAddr) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command
            .spawn()
            .with_context(|| format!("cannot start {name}; `cargo xtask bench dns` installs it"))?;
        let mut contender = Self { name, process, address };
        contender.wait_for_answers()?;
        Ok(contender)
    }

    /// Asks until there is an answer.
    fn wait_for_answers(&mut self) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let start = Instant::now();
        while start.elapsed() < START {
            if let Some(status) = self.process.try_wait()? {
                bail!("{} ended at its start ({status})", self.name);
            }
            // Where nobody listens yet the kernel says so with an error, and we ask again.
            let answered = socket.send(&question()).and_then(|_| socket.recv(&mut [0; 512]));
            if answered.is_ok() {
                return Ok(());
            }
            std::thread::yield_now();
        }
        bail!("{} does not answer on {} after {START:?}", self.name, self.address)
    }

    /// Answers per second while it is asked as fast as it answers.
    fn drive(&self, questions: &Path, seconds: u8) -> Result<f64> {
        let mut command = Command::new(system_program("dnsperf"));
        command.args(["-s", "127.0.0.1", "-p", &self.address.port().to_string(), "-l", &seconds.to_string()]);
        // Some sockets, so that both servers can use all of their threads; one thread that asks.
        command.args(["-c", "8", "-T", "1", "-q", "256", "-d"]).arg(questions).stdin(Stdio::null());
        let output = command.output().context("cannot start dnsperf; `cargo xtask bench dns` installs it")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors =
            text.lines().find(|line| line.trim_start().starts_with("Response codes:")).unwrap_or_default();
        if !errors.contains("NOERROR") || errors.contains("NXDOMAIN") || errors.contains("REFUSED") {
            bail!("{} does not know the names it was given: {errors}", self.name);
        }
        let figure = text.lines().find_map(|line| line.trim_start().strip_prefix("Queries per second:"));
        let figure = figure.with_context(|| format!("dnsperf gave no figure for {}: {text}", self.name))?;
        figure.trim().parse().context("dnsperf's figure is no number")
    }

    /// Resident memory now, in MiB.
    fn memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: u64 = line.split_whitespace().next().context("an empty VmRSS")?.parse()?;
        Ok(float(kibibytes) / 1024.0)
    }
}

/// Where Debian has it, for those without the system's folders on their path.
fn system_program(name: &str) -> PathBuf {
    let system = Path::new("/usr/sbin").join(name);
    if system.is_file() { system } else { name.into() }
}

/// An address whose port nobody has at this moment.
fn free_address() -> Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

/// `node000000 … A`, by hand: the number, one question, the name, type and class.
fn question() -> Vec<u8> {
    let mut octets = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in machine(0).name.split('.') {
        octets.extend(u8::try_from(label.len()));
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, 1, 0, 1]);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_get_the_same_names() {
        let configuration = configuration(53, 3).unwrap();
        let local = configuration.lines().filter(|line| line.contains("local-data")).count();
        let ours: usize = (0..3).map(|number| records(&machine(number)).unwrap().len()).sum();
        assert_eq!((local, ours), (12, 12));
        assert!(
            configuration
                .contains("\"3.0.0.10.in-addr.arpa. 60 IN PTR node000002.office.netloom.internal.\"")
        );
    }

    #[test]
    fn every_machine_is_asked_about() {
        let questions = questions_about(100);
        let asked: std::collections::BTreeSet<&str> = questions.lines().collect();
        assert_eq!(asked.len(), 300);
    }
}
