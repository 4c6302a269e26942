//! Which PostgreSQL: a `postgres://` address read once, and what every connection to it has in common.
//!
//! Not for connecting. It keeps true that a connection over a network is encrypted to a server that is proved, unless the
//! address says otherwise in so many words.

use std::sync::Arc;
use std::time::Duration;

use ::tls::{Trust, client_config};
use rustls::ClientConfig;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::address::{Address, Url};
use crate::{Place, StoreError};

const CONNECT: Duration = Duration::from_secs(5);
const DEFAULT_PORT: u16 = 5432;

/// A server and a database on it.
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) config: Config,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// How the address wants its connections encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Required,
    Off,
}

struct Parsed {
    config: Config,
    place: Place,
    encryption: Encryption,
}

/// The words for this address.
pub(super) fn place(url: &Url) -> Result<Place, String> {
    parse(url).map(|parsed| parsed.place)
}

impl Target {
    /// What this address leads to.
    pub(super) fn of(address: &Address) -> Result<Self, StoreError> {
        let place = address.place.clone();
        let open = |reason| StoreError::Open { place: place.clone(), reason };
        let Parsed { mut config, encryption, .. } = parse(&address.url).map_err(open)?;
        if let Some(password) = &address.access.password {
            config.password(password.expose());
        }
        let tls = match encryption {
            Encryption::Off => None,
            Encryption::Required => {
                let trust = address.access.authority.clone().map_or(Trust::System, Trust::AuthorityFile);
                let refuse = |error: ::tls::TrustError| StoreError::Tls {
                    place: place.clone(),
                    reason: error.to_string(),
                };
                Some(Arc::new(client_config(&trust).map_err(refuse)?))
            }
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        config
            .application_name("netloom-server")
            .connect_timeout(CONNECT)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(10));
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { place, config, tls })
    }
}

fn parse(url: &Url) -> Result<Parsed, String> {
    let (text, mode) = without_ssl_mode(&url.text);
    let mut config: Config = text.parse().map_err(|error| sentence(&error))?;
    if config.get_user().is_none() {
        config.user("netloom");
    }
    let Some(database) = config.get_dbname().map(str::to_owned) else {
        return Err(
            "the address lacks the name of the database: postgres://user@host:5432/database".to_owned()
        );
    };
    if config.get_hosts().is_empty() {
        return Err("the address lacks a host: postgres://user@host:5432/database".to_owned());
    }
    let encryption = match mode.as_deref() {
        None if config.get_hosts().iter().all(is_on_this_machine) => Encryption::Off,
        None | Some("require" | "verify-ca" | "verify-full") => Encryption::Required,
        Some("disable") => Encryption::Off,
        Some(other) => {
            return Err(format!(
                "`sslmode={other}` is not possible; there are verify-full (also without saying so) and disable"
            ));
        }
    };
    let place = words(&config, &database);
    Ok(Parsed { config, place, encryption })
}

/// What the driver says of an address it cannot read, without the address: there may be a password in it.
fn sentence(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("the address cannot be read: {source}; it is like postgres://user@host:5432/database")
}

/// The driver knows fewer modes than others do, and none that checks the name.
fn without_ssl_mode(text: &str) -> (String, Option<String>) {
    let Some((before, query)) = text.split_once('?') else {
        return (text.to_owned(), None);
    };
    let is_mode = |part: &&str| part.starts_with("sslmode=");
    let mode = query.split('&').find(is_mode).map(|part| part["sslmode=".len()..].to_owned());
    let rest: Vec<&str> = query.split('&').filter(|part| !is_mode(part)).collect();
    let separator = if rest.is_empty() { "" } else { "?" };
    (format!("{before}{separator}{}", rest.join("&")), mode)
}

fn is_on_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    }
}

fn words(config: &Config, database: &str) -> Place {
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
    let (mut hosts, mut folder) = (Vec::new(), String::new());
    for (at, host) in config.get_hosts().iter().enumerate() {
        match host {
            Host::Tcp(name) if name.contains(':') => hosts.push(format!("[{name}]:{}", port(at))),
            Host::Tcp(name) => hosts.push(format!("{name}:{}", port(at))),
            Host::Unix(path) => folder = format!("?host={}", path.display()),
        }
    }
    Place::named(format!("postgres://{}/{database}{folder}", hosts.join(",")))
}
