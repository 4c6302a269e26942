//! A message broker that somebody else runs, behind the same trait as our own.
//!
//! ```text
//!   publish ─▶ queue ─▶ connection ─▶ broker ─▶ hosts
//!   events ◀─ presence ◀─ connection ◀─ broker ◀─ hosts
//!                accounts ─▶ (over MQTT, by files, or asked by HTTP)
//! ```
//!
//! Not for what the broker does itself: it checks passwords and topics, and sends last wills. It keeps true that the rest of the
//! server waits for none of it, that nothing grows while it is gone, and that afterwards every host is asked to look again.

mod accounts;
mod connection;
mod presence;
mod probe;
mod queue;
mod talk;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use model::HostId;
use rustls::ClientConfig;
use tls::Trust;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::settings::{AccountSettings, BrokerAddress, ExternalSettings, Secret};
use super::{Backlog, Broker, BrokerEvent, Delivery, Events, Limits};
use crate::identity::random;
use accounts::files::Files;
use connection::{Connection, Doubts};
use presence::Presence;
use queue::Queue;

pub use accounts::hook::{AUTHENTICATE, AUTHORIZE, Hook};
pub use accounts::{Guests, HostsOfIntent};
pub use probe::{Usable, examine, probe};

/// What is wrong before anything was tried.
const NOT_YET: &str = "it was not connected to yet";

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// Before the second attempt to connect.
    pub first: Duration,
    /// Between two attempts, at most.
    pub longest: Duration,
    /// How long hosts have to say that they are there once the connection stands.
    pub settle: Duration,
    /// About how long until all accounts of Mosquitto's plugin are looked at again.
    pub look: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            // One server tries, not thousands of agents: where the broker is back nobody is told anything before it is.
            longest: Duration::from_secs(2),
            settle: Duration::from_secs(30),
            look: Duration::from_secs(600),
        }
    }
}

/// Where to connect, and as whom.
struct Target {
    address: BrokerAddress,
    tls: Arc<ClientConfig>,
    client: String,
    user: String,
    password: Secret,
    down_bytes: usize,
}

/// What all hold together.
struct Shared {
    target: Target,
    limits: Limits,
    pauses: Pauses,
    queue: Queue,
    presence: Mutex<Presence>,
    /// Why there is no connection, while there is none.
    trouble: Mutex<Option<String>>,
    keeps_dynsec: bool,
    doubts: Mutex<Doubts>,
    doubted: Notify,
    /// For those who write files.
    changed: Arc<Notify>,
}

/// A broker that somebody else runs. Clones are the same.
#[derive(Clone)]
pub struct External {
    shared: Arc<Shared>,
    files: Option<Files>,
    events: mpsc::Sender<BrokerEvent>,
}

impl External {
    /// Checks the settings. Nothing is connected before [`run`](Self::run).
    pub fn new(settings: ExternalSettings, limits: Limits, pauses: Pauses) -> Result<(Self, Events)> {
        let (events, heard) = mpsc::channel(limits.events);
        let keeps_dynsec = matches!(settings.accounts, AccountSettings::Dynsec);
        let files = Files::of(&settings);
        let shared = Shared {
            target: target(settings, &limits)?,
            queue: Queue::new(&limits),
            limits,
            pauses,
            presence: Mutex::default(),
            trouble: Mutex::default(),
            keeps_dynsec,
            doubts: Mutex::default(),
            doubted: Notify::new(),
            changed: Arc::new(Notify::new()),
        };
        Ok((Self { shared: Arc::new(shared), files, events }, heard))
    }

    /// Connects whenever this server leads, and keeps the accounts of these guests. The tasks end when they are aborted.
    pub fn run(&self, guests: &Arc<dyn Guests>, leads: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let connection = Connection {
            shared: Arc::clone(&self.shared),
            guests: Arc::clone(guests),
            events: self.events.clone(),
            leads: leads.clone(),
        };
        let connected = tokio::spawn(connection.run());
        let Some(files) = self.files.clone() else {
            return vec![connected];
        };
        let keeping = files.keep(Arc::clone(guests), Arc::clone(&self.shared.changed), leads.clone());
        vec![connected, tokio::spawn(keeping)]
    }

    /// Whether the connection stands.
    pub fn is_connected(&self) -> bool {
        self.shared.trouble().is_none()
    }
}

fn target(settings: ExternalSettings, limits: &Limits) -> Result<Target> {
    let ExternalSettings { address, user, password, authorities, told: _, accounts: _ } = settings;
    let trust = match authorities {
        Some(file) if address.is_secure => Trust::AuthorityFile(file),
        None if address.is_secure => Trust::System,
        // Never asked about anything: a pin that fits nobody.
        Some(_) | None => Trust::Pin(model::Digest::from_bytes([0; 32])),
    };
    let tls = tls::client_config(&trust).context("`broker_ca_file` cannot be used")?;
    // Two servers that lead for a moment must not end each other's connection.
    let client = format!("netloom-server-{}", HEXLOWER.encode(&random::<6>()?));
    Ok(Target { address, tls: Arc::new(tls), client, user, password, down_bytes: limits.down_bytes })
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn presence(&self) -> MutexGuard<'_, Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection stands.
    fn gain(&self) {
        self.queue.open();
        self.presence().connected();
        *self.trouble() = None;
    }

    /// It broke, or could not be made.
    fn lose(&self, why: &str) {
        self.queue.close();
        self.presence().lost();
        *self.trouble() = Some(why.to_owned());
    }

    /// Another server leads: what is known of hosts is its business.
    fn stop(&self) {
        self.lose(NOT_YET);
        *self.presence() = Presence::default();
    }

    fn doubt(&self, host: HostId, is_kicked: bool) {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a connection nobody looks, and the next one looks at all hosts.
        if self.keeps_dynsec && self.trouble().is_none() {
            doubts.0.insert(host);
            if is_kicked {
                doubts.1.insert(host);
            }
        }
        drop(doubts);
        self.doubted.notify_one();
        self.changed.notify_one();
    }

    fn take_doubts(&self) -> (BTreeSet<HostId>, BTreeSet<HostId>) {
        std::mem::take(&mut *self.doubts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Broker for External {
    fn publish(&self, host: HostId, payload: Bytes) -> Delivery {
        if payload.len() > self.shared.limits.down_bytes {
            return Delivery::TooLarge;
        }
        if !self.shared.presence().may_hear(host) {
            return Delivery::Offline;
        }
        self.shared.queue.offer(host, payload)
    }

    fn admit(&self, host: HostId) {
        self.shared.doubt(host, false);
    }

    fn kick(&self, host: HostId) -> bool {
        self.shared.doubt(host, true);
        self.shared.presence().offline(host)
    }

    fn is_online(&self, host: HostId) -> bool {
        self.shared.presence().is_online(host)
    }

    fn is_listening(&self, host: HostId) -> bool {
        self.shared.presence().may_hear(host)
    }

    fn connected(&self) -> usize {
        self.shared.presence().count()
    }

    fn backlog(&self) -> Backlog {
        self.shared.queue.backlog()
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble().clone()
    }
}
