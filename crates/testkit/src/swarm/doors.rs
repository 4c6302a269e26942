//! The doors that agents know: those of all servers, and those of the brokers that their maps name.
//!
//! Not for when another one is tried (`agent`). It keeps true that a server is known by its pin and a broker by the authorities
//! that the map names, never the other way round.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use wire::{ServerLinks, path};

use super::dial::{self, Sessions, Stream};
use super::machine::Machine;
use crate::fleet::Site;

/// All doors.
pub(super) struct Doors {
    servers: Vec<dial::Door>,
    /// The brokers that maps named last, and what the maps said: all agents are told the same.
    brokers: Mutex<Option<(ServerLinks, Arc<[Broker]>)>>,
}

/// A broker that is not a server's own.
pub(super) struct Broker {
    door: dial::Door,
    sessions: Sessions,
    carrier: Carrier,
}

/// What MQTT goes in.
pub(super) enum Carrier {
    /// Frames of a WebSocket at this path.
    WebSocket(String),
    /// TLS and nothing else.
    Bare,
}

/// The door to one broker.
pub(super) enum Door<'a> {
    /// The embedded one of a server.
    Server(&'a dial::Door),
    /// Another one.
    Broker(Arc<[Broker]>, usize),
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
        if let Some((_, brokers)) = known.as_ref().filter(|(before, _)| before == links) {
            return Ok(Door::Broker(Arc::clone(brokers), turn % brokers.len()));
        }
        let tls = tls_of(links)?;
        let brokers =
            links.brokers.iter().map(|url| Broker::at(url, &tls)).collect::<Result<Arc<[Broker]>>>()?;
        *known = Some((links.clone(), Arc::clone(&brokers)));
        let turn = turn % brokers.len();
        Ok(Door::Broker(brokers, turn))
    }
}

/// How the brokers' certificates are checked.
fn tls_of(links: &ServerLinks) -> Result<ClientConfig> {
    let Some(pem) = &links.broker_ca else {
        return Ok(tls::client_config(&tls::Trust::System)?);
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context("the brokers' authorities")?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl Broker {
    fn at(url: &str, tls: &ClientConfig) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").with_context(|| format!("{url} is no URL"))?;
        let (host, target) = rest.split_once('/').unwrap_or((rest, ""));
        let carrier = match scheme {
            "mqtts" => Carrier::Bare,
            "wss" => Carrier::WebSocket(format!("/{target}")),
            other => bail!("the simulated agents speak TLS with brokers, and not {other}"),
        };
        let mut tls = tls.clone();
        tls.resumption = Resumption::disabled();
        Ok(Self {
            door: dial::Door::at(host, tls.clone())?,
            sessions: TlsConnector::from(Arc::new(tls)),
            carrier,
        })
    }
}

impl Door<'_> {
    /// Opens a connection.
    pub(super) async fn open(&self, machine: &Machine) -> Result<Stream> {
        match self {
            Self::Server(door) => door.open(machine.number, &machine.broker_sessions).await,
            Self::Broker(brokers, turn) => {
                let Broker { door, sessions, .. } = &brokers[*turn];
                door.open(machine.number, sessions).await
            }
        }
    }

    /// What MQTT goes in.
    pub(super) fn carrier(&self) -> Carrier {
        match self {
            Self::Server(_) => Carrier::WebSocket(path::MQTT.to_owned()),
            Self::Broker(brokers, turn) => match &brokers[*turn].carrier {
                Carrier::WebSocket(target) => Carrier::WebSocket(target.clone()),
                Carrier::Bare => Carrier::Bare,
            },
        }
    }

    /// What stands in the `Host` header.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Server(door) => &door.host,
            Self::Broker(brokers, turn) => &brokers[*turn].door.host,
        }
    }
}
