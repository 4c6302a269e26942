//! The broker that the settings ask for, and what the rest of the server needs to put it in its place.
//!
//! Not for carrying anything. It keeps true that everything that is wrong with the settings shows before a port answers.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::external::{External, Guests, Hook, Pauses};
use super::settings::{AccountSettings, BrokerSettings, ExternalSettings};
use super::{Authenticate, Broker, Embedded, Events, Limits};

/// The largest file of authorities: it stands in every host's map.
const MOST_AUTHORITIES: u64 = 32 * 1024;

/// One of the two.
#[derive(Clone)]
pub enum Chosen {
    /// The one inside this process.
    Embedded(Embedded),
    /// One that somebody else runs.
    External(External),
}

impl Chosen {
    /// Makes it. The embedded one asks `authenticate` who comes.
    pub fn new(settings: &BrokerSettings, authenticate: Authenticate) -> Result<(Self, Events)> {
        match settings {
            BrokerSettings::Embedded => {
                let (broker, events) = Embedded::new(Limits::default(), authenticate);
                Ok((Self::Embedded(broker), events))
            }
            BrokerSettings::External(settings) => {
                // What fits into a NATS message as it is set up by default.
                let limits = Limits { down_bytes: 1_000_000, ..Limits::default() };
                let (broker, events) = External::new(settings.clone(), limits, Pauses::default())?;
                Ok((Self::External(broker), events))
            }
        }
    }

    /// The same for those who do not care which it is.
    pub fn shared(&self) -> Arc<dyn Broker> {
        match self {
            Self::Embedded(broker) => Arc::new(broker.clone()),
            Self::External(broker) => Arc::new(broker.clone()),
        }
    }

    /// What it does for as long as the server runs, whenever that leads.
    pub fn run(&self, guests: &Arc<dyn Guests>, leads: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        match self {
            Self::Embedded(broker) => {
                let (broker, mut leads) = (broker.clone(), leads.clone());
                broker.lead(*leads.borrow_and_update());
                vec![tokio::spawn(async move {
                    while leads.changed().await.is_ok() {
                        broker.lead(*leads.borrow_and_update());
                    }
                })]
            }
            Self::External(broker) => broker.run(guests, leads),
        }
    }

    /// Its routes on the HTTPS port.
    pub fn router(&self, settings: &BrokerSettings, guests: Arc<dyn Guests>) -> Router {
        match (self, settings) {
            (Self::Embedded(broker), _) => broker.router(),
            (Self::External(_), BrokerSettings::External(settings)) => hook(settings, guests),
            (Self::External(_), BrokerSettings::Embedded) => Router::new(),
        }
    }

    /// Ends what it has of connections.
    pub fn shutdown(&self) {
        match self {
            Self::Embedded(broker) => broker.shutdown(),
            // Its tasks are ended by whoever started them.
            Self::External(_) => {}
        }
    }
}

fn hook(settings: &ExternalSettings, guests: Arc<dyn Guests>) -> Router {
    match &settings.accounts {
        AccountSettings::Http(token) => {
            Hook::new(guests, token.clone(), settings.user.clone(), settings.password.clone()).router()
        }
        AccountSettings::Dynsec
        | AccountSettings::MosquittoFiles(_)
        | AccountSettings::NatsFile(_)
        | AccountSettings::None => Router::new(),
    }
}

/// What agents are told: where the broker is, and the authorities that vouch for it, in PEM. Nowhere: at the servers' own addresses.
pub fn told(settings: &BrokerSettings) -> Result<(Vec<String>, Option<String>)> {
    let BrokerSettings::External(ExternalSettings { told, authorities, .. }) = settings else {
        return Ok((Vec::new(), None));
    };
    let Some(file) = authorities else {
        return Ok((told.clone(), None));
    };
    let place = || format!("`broker_ca_file` {}", file.display());
    let size = std::fs::metadata(file).with_context(place)?.len();
    ensure!(
        size <= MOST_AUTHORITIES,
        "{}: more than {MOST_AUTHORITIES} bytes are no authorities of one's own; leave it out to use those of the machine",
        place()
    );
    Ok((told.clone(), Some(std::fs::read_to_string(file).with_context(place)?)))
}
