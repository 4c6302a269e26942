//! The server's settings: flags over `NETLOOM_*` variables over a TOML file over defaults that work.
//!
//! Checked once, here, as a whole; handed down in parts. Nothing else reads the environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use model::{DnsName, HostName, Keepalive};
use settings::{Layers, parse_bool};
use store::{Access, Address, Password};

use crate::broker::settings::{self as broker, BrokerAddress, BrokerSettings};
use crate::names::{self, DnsSettings};
use crate::serve::host_of;

/// Where the file is looked for when none is named.
pub const DEFAULT_FILE: &str = "/etc/netloom/server.toml";

/// The database in the data folder, where no other is named.
const DATABASE_FILE: &str = "netloom.db";

/// How the HTTPS port gets its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Made by the server, kept in the data folder, pinned by tokens.
    SelfSigned,
    /// PEM files, read again when they change. Pinned by tokens unless `publicly_trusted`.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// Whether agents should check it like browsers do, rather than by its pin.
        publicly_trusted: bool,
    },
    /// Plain HTTP: on loopback, or behind a proxy that does TLS.
    Off,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What comes from the command line.
#[derive(Debug, Default, clap::Args)]
pub struct Flags {
    /// The settings file [default: /etc/netloom/server.toml, where it exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The folder for the database, keys and certificate
    #[arg(long, value_name = "FOLDER", global = true)]
    pub data: Option<String>,
    /// The database: a file, postgres://user@host/database, or rqlite://user@host:4001; by default a file in the data folder
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub database: Option<String>,
    /// Address and port of HTTPS (API, agents, broker); by default port 8443 on every address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// What agents and people reach the server as, `https://host:port`; several with commas
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// How long an ephemeral host may be away until it is removed, such as 90s, 10m or 2h; 0: for ever [default: 10m]
    #[arg(long, value_name = "SPAN")]
    pub ephemeral_after: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or per module
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the server calls itself to agents and in backups.
    pub name: HostName,
    /// The data folder.
    pub data: PathBuf,
    /// The database.
    pub database: Address,
    /// HTTPS.
    pub listen: SocketAddr,
    /// Addresses that go into tokens, best first.
    pub urls: Vec<String>,
    /// Where the other servers of the same database reach this one; none: at the first of `urls`.
    pub advertise: Option<String>,
    /// Certificates.
    pub tls: Tls,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The two UDP addresses of the rendezvous.
    pub rendezvous: [SocketAddr; 2],
    /// What agents reach the rendezvous as, when it is not the host of the URL.
    pub rendezvous_host: Option<String>,
    /// The MQTT keepalive of agents.
    pub keepalive: Keepalive,
    /// How long changes are gathered before they are sent as one delta.
    pub coalesce: Duration,
    /// How long a log-in lasts.
    pub login_lifetime: Duration,
    /// How long an ephemeral host may be away until it is removed; none: for ever.
    pub ephemeral_after: Option<Duration>,
    /// How long the journal is kept; none: for ever.
    pub journal_lifetime: Option<Duration>,
    /// Who may read metrics without a token, beside the machine itself.
    pub metrics_from: Vec<IpNet>,
    /// The domain below which networks without one of their own have their names.
    pub domain: DnsName,
    /// The message broker.
    pub broker: BrokerSettings,
    /// The server's own DNS.
    pub dns: DnsSettings,
    /// The filter of the log.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Settings {
    /// The addresses by which agents know this server and its brokers, as far as they are not names.
    pub fn server_addresses(&self) -> Vec<IpAddr> {
        let brokers = match &self.broker {
            BrokerSettings::Embedded => &[][..],
            BrokerSettings::External(external) => &external.told[..],
        };
        let hosts = self.urls.iter().chain(brokers).filter_map(|url| host_of(url));
        let hosts = hosts.chain(self.rendezvous_host.clone());
        hosts.filter_map(|host| host.parse().ok()).collect()
    }

    /// Reads the file and the environment, and checks everything.
    pub fn load(flags: &Flags) -> Result<Self> {
        let named = flags.config.clone().or_else(|| std::env::var_os("NETLOOM_CONFIG").map(PathBuf::from));
        let file = read_file(named.as_deref())?;
        let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        let mut layers = Layers::new("NETLOOM_", environment(), file);
        layers.flag("data", flags.data.clone());
        layers.flag("database", flags.database.clone());
        layers.flag("listen", flags.listen.clone());
        layers.flag("url", flags.url.clone());
        layers.flag("ephemeral_after", flags.ephemeral_after.clone());
        layers.flag("log", flags.log.clone());
        Self::check(layers)
    }

    /// Checks the layers; defaults fill what nobody set.
    pub fn check(mut layers: Layers) -> Result<Self> {
        layers.one("config", text); // named by a variable; read already
        let listen = layers.one("listen", address).unwrap_or_else(|| SocketAddr::from((everywhere(), 8443)));
        let tls = tls(&mut layers);
        let urls = layers.list("url", url).unwrap_or_else(|| vec![default_url(listen, &tls)]);
        let data = layers.one("data", folder).unwrap_or_else(default_data);
        let settings = Self {
            name: layers.one("name", str::parse).unwrap_or_else(machine_name),
            database: database(&mut layers, &data),
            data,
            listen,
            urls,
            advertise: layers.one("advertise", url),
            trusted_proxies: layers.list("trusted_proxies", network).unwrap_or_default(),
            rendezvous: rendezvous(&mut layers),
            rendezvous_host: layers.one("rendezvous_host", text),
            keepalive: layers.one("keepalive", str::parse).unwrap_or(Keepalive::DEFAULT),
            coalesce: layers.one("coalesce_ms", millis).unwrap_or(Duration::from_millis(20)),
            login_lifetime: layers.one("login_hours", hours).unwrap_or(Duration::from_secs(12 * 3600)),
            ephemeral_after: layers.one("ephemeral_after", span).unwrap_or(Some(Duration::from_secs(600))),
            journal_lifetime: layers
                .one("journal_days", days)
                .unwrap_or(Some(Duration::from_secs(400 * 86_400))),
            metrics_from: layers.list("metrics_from", network).unwrap_or_default(),
            domain: layers.one("domain", str::parse).unwrap_or_else(control::plan::default_domain),
            broker: broker::read(&mut layers),
            dns: names::read(&mut layers),
            log: layers.one("log", text).unwrap_or_else(|| "info".to_owned()),
            log_format: layers.one("log_format", log_format).unwrap_or(LogFormat::Text),
            tls,
        };
        settings.check_plain_http(&mut layers);
        settings.check_told_brokers(&mut layers);
        layers.finish()?;
        Ok(settings)
    }

    /// Plain HTTP is for loopback only, unless the settings say that something in front does TLS.
    fn check_plain_http(&self, layers: &mut Layers) {
        let allowed = layers.one("allow_plain_http", parse_bool).unwrap_or(false);
        if self.tls == Tls::Off && !self.listen.ip().to_canonical().is_loopback() && !allowed {
            layers.wrong(
                "tls",
                "without TLS the server listens on loopback only; set `listen` to 127.0.0.1 or, behind a proxy on \
                 another machine, `allow_plain_http` to true",
            );
        }
    }

    /// An agent that is told `127.0.0.1` looks for the broker on its own machine, and shows whatever listens there its password.
    fn check_told_brokers(&self, layers: &mut Layers) {
        let BrokerSettings::External(external) = &self.broker else { return };
        let is_own = |host: &str| broker::is_this_machine(host);
        let mut hosts = self.urls.iter().filter_map(|url| host_of(url));
        if hosts.all(|host| is_own(&host)) {
            return;
        }
        let told = external.told.iter().filter_map(|text| BrokerAddress::parse(text).ok());
        for address in told.filter(|address| is_own(&address.host)) {
            layers.wrong(
                "broker_urls",
                format!(
                    "agents would be told that the broker is at `{}`, which is their own machine to each of them, and show \
                     whatever listens there their passwords; name the addresses at which agents reach it",
                    address.text
                ),
            );
        }
    }
}

/// The variables that are text. `std::env::vars` ends the process over any that is not, whoever it belongs to.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// All addresses of both families; of IPv4 alone where the machine has no IPv6.
fn everywhere() -> IpAddr {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn read_file(named: Option<&Path>) -> Result<Option<(String, String)>> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    if named.is_none() && !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the settings file {}", path.display()))?;
    Ok(Some((path.display().to_string(), text)))
}

/// The file in the data folder, or what was named. A password belongs into a file of its own.
fn database(layers: &mut Layers, data: &Path) -> Address {
    let access = Access {
        password: layers.one("database_password_file", password),
        authority: layers.one("database_ca_file", folder),
    };
    let address = layers.one("database", |text| Address::parse(text, Access::default()));
    address.unwrap_or_else(|| Address::file(&data.join(DATABASE_FILE))).with(access)
}

fn password(file: &str) -> Result<Password, String> {
    first_line(file).map(Password::new)
}

/// The first line of a file, which holds a secret.
pub(crate) fn first_line(file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("`{file}` cannot be read: {error}"))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(format!("`{file}` has no password or token in its first line")),
    }
}

fn tls(layers: &mut Layers) -> Tls {
    let mode = layers.one("tls", tls_mode).unwrap_or("self-signed");
    let certificate = layers.one("tls_certificate", folder);
    let key = layers.one("tls_key", folder);
    let publicly_trusted = layers.one("tls_publicly_trusted", parse_bool).unwrap_or(false);
    match (mode, certificate, key) {
        ("off", _, _) => Tls::Off,
        ("files", Some(certificate), Some(key)) => Tls::Files { certificate, key, publicly_trusted },
        ("files", _, _) => {
            layers.wrong("tls", "`files` needs both `tls_certificate` and `tls_key`");
            Tls::SelfSigned
        }
        _ => Tls::SelfSigned,
    }
}

fn tls_mode(value: &str) -> Result<&'static str, String> {
    ["self-signed", "files", "off"]
        .into_iter()
        .find(|mode| *mode == value)
        .ok_or_else(|| format!("`{value}` is not a way to do TLS; there are self-signed, files and off"))
}

fn rendezvous(layers: &mut Layers) -> [SocketAddr; 2] {
    let default = || [51821, 51822].map(|port| SocketAddr::from((everywhere(), port)));
    let Some(addresses) = layers.list("rendezvous", address) else {
        return default();
    };
    if let [first, second] = addresses[..]
        && (first.port() != second.port() || first.port() == 0)
    {
        return [first, second];
    }
    layers.wrong(
        "rendezvous",
        "two addresses with different UDP ports are needed, such as [::]:51821,[::]:51822",
    );
    default()
}

#[expect(clippy::unnecessary_wraps, reason = "a parser among parsers")]
pub(crate) fn text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "a parser among parsers")]
pub(crate) fn folder(value: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(value))
}

fn address(value: &str) -> Result<SocketAddr, String> {
    value
        .parse()
        .map_err(|_| format!("`{value}` is not an address and port, such as 0.0.0.0:8443 or [::]:8443"))
}

pub(crate) fn network(value: &str) -> Result<IpNet, String> {
    let single = |ip: IpAddr| IpNet::from(ip);
    value
        .parse::<IpNet>()
        .or_else(|_| value.parse().map(single))
        .map_err(|_| format!("`{value}` is neither an address nor a range such as 10.0.0.0/8"))
}

fn url(value: &str) -> Result<String, String> {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['/', ' ', '?', '#', '@']) => {
            Ok(value.trim_end_matches('/').to_owned())
        }
        Some(_) | None => Err(format!("`{value}` is not an address such as https://vpn.example.org:8443")),
    }
}

fn number(value: &str, most: u64, unit: &str) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("`{value}` is not possible; allowed are 0 to {most} {unit}"))
}

fn millis(value: &str) -> Result<Duration, String> {
    number(value, 10_000, "milliseconds").map(Duration::from_millis)
}

fn hours(value: &str) -> Result<Duration, String> {
    number(value, 24 * 366, "hours").map(|hours| Duration::from_secs(hours.max(1) * 3600))
}

/// 0 is for ever.
fn days(value: &str) -> Result<Option<Duration>, String> {
    let days = number(value, 36_600, "days")?;
    Ok((days > 0).then(|| Duration::from_secs(days * 86_400)))
}

/// A number with its unit; 0 is for ever.
fn span(value: &str) -> Result<Option<Duration>, String> {
    let wrong = || format!("`{value}` is no span; write 90s, 10m, 2h or 1d, at most 366d, or 0 for ever");
    let (number, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let second = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "" if number == 0 => 1,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(second).filter(|seconds| *seconds <= 366 * 86_400).ok_or_else(wrong)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

fn log_format(value: &str) -> Result<LogFormat, String> {
    match value {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{value}` is not a log format; there are text and json")),
    }
}

fn machine_name() -> HostName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    HostName::nearest(name.trim())
}

/// `/var/lib/netloom` for root, the user's own data folder otherwise.
fn default_data() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let own = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| home.map(|home| home.join(".local/share")))
        .map(|share| share.join("netloom"));
    match own {
        Some(own) if !rustix::process::geteuid().is_root() => own,
        Some(_) | None => PathBuf::from("/var/lib/netloom"),
    }
}

/// The address this machine would use towards the outside: nothing is sent to find it.
fn default_url(listen: SocketAddr, tls: &Tls) -> String {
    let ip = if listen.ip().is_unspecified() { outward_ip() } else { listen.ip().to_canonical() };
    let scheme = if *tls == Tls::Off { "http" } else { "https" };
    format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
}

fn outward_ip() -> IpAddr {
    let towards = |bind: &str, to: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    // Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket only looks up the route.
    towards("0.0.0.0:0", "192.0.2.1:9")
        .or_else(|| towards("[::]:0", "[2001:db8::1]:9"))
        .unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
