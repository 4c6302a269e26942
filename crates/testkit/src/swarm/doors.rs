//! The doors that agents know: those of all servers, and those of the brokers that their maps name.
//!
//! Not for when another one is tried (`agent`). It keeps true that a server is known by its pin and a broker by the authorities
//! that the map names, never the other way round.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio_rustls::TlsConnector;
use wire::{ServerLinks, path};

use super::dial::{self, Sessions, Stream};
use super::machine::Machine;
use crate::fleet::Site;

/// All doors.
pub(super) struct Doors {
    servers: Vec<dial::Door>,
    /// The brokers that maps named last, and what the maps said: all agents are told the same.
    brokers: Mutex<(ServerLinks, Vec<Arc<Broker>>)>,
}

/// A broker that is not a server's own.
pub(super) struct Broker {
    door: dial::Door,
    sessions: Sessions,
    /// The path of the WebSocket that MQTT goes in; none: it goes in TLS and nothing else.
    target: Option<String>,
}

/// The door to one broker.
pub(super) enum Door<'a> {
    /// The embedded one of a server.
    Server(&'a dial::Door),
    /// Another one.
    Broker(Arc<Broker>),
}

impl Doors {
    pub(super) fn new(sites: &[Site]) -> Result<Self> {
        let servers = sites.iter().map(dial::Door::new).collect::<Result<Vec<_>>>()?;
        Ok(Self { servers, brokers: Mutex::default() })
    }

    /// The server whose turn it is.
    pub(super) fn server(&self, turn: usize) -> &dial::Door {
        &self.servers[turn % self.servers.len()]
    }

    /// How many servers there are.
    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// How many brokers.
    pub(super) fn brokers(&self, links: &ServerLinks) -> usize {
        if links.brokers.is_empty() { self.servers.len() } else { links.brokers.len() }
    }

    /// The broker whose turn it is: one of those that are named, or else a server's own.
    pub(super) fn broker(&self, links: &ServerLinks, turn: usize) -> Result<Door<'_>> {
        if links.brokers.is_empty() {
            return Ok(Door::Server(self.server(turn)));
        }
        let mut known = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, brokers) = &mut *known;
        if before != links {
            let tls = tls_of(links)?;
            let open = links.brokers.iter().map(|url| Broker::at(url, &tls).map(Arc::new));
            *brokers = open.collect::<Result<_>>()?;
            before.clone_from(links);
        }
        Ok(Door::Broker(Arc::clone(&brokers[turn % brokers.len()])))
    }
}

/// How the brokers' certificates are checked.
fn tls_of(links: &ServerLinks) -> Result<ClientConfig> {
    Ok(match &links.broker_ca {
        Some(authorities) => tls::client_config_by_authorities(authorities)?,
        None => tls::client_config(&tls::Trust::System)?,
    })
}

impl Broker {
    fn at(url: &str, tls: &ClientConfig) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").with_context(|| format!("{url} is no URL"))?;
        let (host, target) = rest.split_once('/').unwrap_or((rest, ""));
        let target = match scheme {
            "mqtts" => None,
            "wss" => Some(format!("/{target}")),
            other => bail!("the simulated agents speak TLS with brokers, and not {other}"),
        };
        let mut tls = tls.clone();
        tls.resumption = Resumption::disabled();
        Ok(Self {
            door: dial::Door::at(host, tls.clone())?,
            sessions: TlsConnector::from(Arc::new(tls)),
            target,
        })
    }
}

impl Door<'_> {
    /// Opens a connection.
    pub(super) async fn open(&self, machine: &Machine) -> Result<Stream> {
        match self {
            Self::Server(door) => door.open(machine.number, &machine.broker_sessions).await,
            Self::Broker(broker) => broker.door.open(machine.number, &broker.sessions).await,
        }
    }

    /// The path of the WebSocket that MQTT goes in; none: it goes in TLS and nothing else.
    pub(super) fn target(&self) -> Option<&str> {
        match self {
            Self::Server(_) => Some(path::MQTT),
            Self::Broker(broker) => broker.target.as_deref(),
        }
    }

    /// What stands in the `Host` header.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Server(door) => &door.host,
            Self::Broker(broker) => &broker.door.host,
        }
    }
}
