//! A broker under test, whichever it is, with the server's side of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use agent::link::{Backoff, Link, LinkEvent, LinkHandle, LinkOptions, ServerTrust};
use bytes::Bytes;
use model::HostId;
use server::broker::settings::{AccountSettings, BrokerAddress, ExternalSettings, FileSettings, Secret};
use server::broker::{Broker, BrokerEvent, Delivery, Embedded, Events, External, Guests, Limits, Pauses};
use server::front::{self, Certificates, Front, Running, TrustedProxies};
use tempfile::TempDir;
use testkit::brokers::mosquitto::{self, Mosquitto};
use testkit::brokers::nats::Nats;
use testkit::brokers::process::Process;
use testkit::brokers::{PASSWORD, USER};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Everything in these tests happens within this, or not at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Three hosts.
pub(crate) const A: HostId = HostId::from_bytes([0xa; 16]);
pub(crate) const B: HostId = HostId::from_bytes([0xb; 16]);
pub(crate) const C: HostId = HostId::from_bytes([0xc; 16]);

/// The brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    MosquittoDynsec,
    MosquittoFiles,
    Nats,
}

/// The hosts that there are, and their passwords.
#[derive(Default)]
pub(crate) struct Known {
    hosts: Mutex<BTreeMap<HostId, String>>,
    is_uncertain: AtomicBool,
}

impl Known {
    pub(crate) fn set(&self, host: HostId, password: &str) {
        self.hosts.lock().unwrap().insert(host, password.to_owned());
    }

    pub(crate) fn remove(&self, host: HostId) {
        self.hosts.lock().unwrap().remove(&host);
    }

    /// Whether it is certain that nobody else leads.
    pub(crate) fn be_certain(&self, are_certain: bool) {
        self.is_uncertain.store(!are_certain, Ordering::Relaxed);
    }
}

impl Guests for Known {
    fn hosts(&self) -> Vec<HostId> {
        self.hosts.lock().unwrap().keys().copied().collect()
    }

    fn is_known(&self, host: HostId) -> bool {
        self.hosts.lock().unwrap().contains_key(&host)
    }

    fn password(&self, host: HostId) -> Option<Zeroizing<String>> {
        self.hosts.lock().unwrap().get(&host).cloned().map(Zeroizing::new)
    }

    fn are_certain(&self) -> bool {
        !self.is_uncertain.load(Ordering::Relaxed)
    }
}

pub(crate) fn password_of(host: HostId) -> String {
    format!("secret-of-{host}")
}

/// What runs beside this process, or in it.
pub(crate) enum Engine {
    Embedded { _front: Running, _folder: TempDir },
    Mosquitto(Mosquitto),
    Nats(Nats),
}

/// A broker under test.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) events: Events,
    pub(crate) known: Arc<Known>,
    pub(crate) engine: Engine,
    pub(crate) leads: watch::Sender<bool>,
    pub(crate) url: String,
    pub(crate) trust: ServerTrust,
    settings: Option<ExternalSettings>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if std::thread::panicking()
            && let Some(process) = self.engine.process()
        {
            #[expect(clippy::print_stderr, reason = "why a test failed")]
            {
                eprintln!("{}", process.log());
            }
        }
    }
}

impl Engine {
    fn process(&mut self) -> Option<&mut Process> {
        match self {
            Self::Embedded { .. } => None,
            Self::Mosquitto(mosquitto) => Some(&mut mosquitto.process),
            Self::Nats(nats) => Some(&mut nats.process),
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process().expect("the embedded one is this process").kill().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.process().expect("the embedded one is this process").start_again().unwrap();
    }
}

/// Short, so that nobody waits for a test.
pub(crate) const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(200),
    // NATS stands still for four seconds where it reads accounts anew right after its start.
    settle: Duration::from_secs(10),
    look: Duration::from_secs(2),
};

fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(agent::link::install_crypto_provider);
}

/// A broker with the hosts A and B, that they can reach.
pub(crate) async fn subject(kind: Kind) -> Subject {
    install_crypto_provider();
    let known = Arc::new(Known::default());
    [A, B].into_iter().for_each(|host| known.set(host, &password_of(host)));
    let mut subject = match kind {
        Kind::Embedded => embedded(known),
        Kind::MosquittoDynsec => {
            let engine = Mosquitto::start(mosquitto::Accounts::Dynsec).unwrap();
            let (server, hosts) = (engine.for_servers()[0].clone(), engine.for_hosts()[0].clone());
            let settings = settings(&server, engine.process.authority(), AccountSettings::Dynsec);
            external(kind, settings, hosts, Engine::Mosquitto(engine), known)
        }
        Kind::MosquittoFiles => {
            let engine = Mosquitto::start(mosquitto::Accounts::Files).unwrap();
            let (server, hosts) = (engine.for_servers()[1].clone(), engine.for_hosts()[1].clone());
            let files =
                FileSettings { folder: engine.process.accounts(), reload: Some(engine.process.pid_file()) };
            let settings =
                settings(&server, engine.process.authority(), AccountSettings::MosquittoFiles(files));
            external(kind, settings, hosts, Engine::Mosquitto(engine), known)
        }
        Kind::Nats => {
            let engine = Nats::start().unwrap();
            let url = engine.urls()[0].clone();
            let files =
                FileSettings { folder: engine.process.accounts(), reload: Some(engine.process.pid_file()) };
            let settings = settings(&url, engine.process.authority(), AccountSettings::NatsFile(files));
            external(kind, settings, url, Engine::Nats(engine), known)
        }
    };
    if kind != Kind::Embedded {
        assert_eq!(subject.event().await, BrokerEvent::Restored);
    }
    subject
}

fn embedded(known: Arc<Known>) -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::self_signed(folder.path(), &["elsewhere.example".to_owned()]).unwrap();
    let guests = Arc::clone(&known);
    let authenticate = Arc::new(move |host, password: &[u8]| {
        guests.password(host).is_some_and(|known| known.as_bytes() == password)
    });
    let (broker, events) = Embedded::new(Limits::default(), authenticate);
    let listen = "127.0.0.1:0".parse().unwrap();
    let (proxies, limits) = (TrustedProxies::default(), front::Limits::default());
    let front = Front::bind(listen, Some(&certificates), proxies, limits).unwrap();
    let address = front.address();
    let running = front.serve(broker.router());
    Subject {
        kind: Kind::Embedded,
        broker: Arc::new(broker),
        events,
        known,
        engine: Engine::Embedded { _front: running, _folder: folder },
        leads: watch::channel(true).0,
        url: format!("wss://{address}/mqtt"),
        trust: ServerTrust::Pin(certificates.pin()),
        settings: None,
        tasks: Vec::new(),
    }
}

pub(crate) fn settings(url: &str, authority: PathBuf, accounts: AccountSettings) -> ExternalSettings {
    ExternalSettings {
        address: BrokerAddress::parse(url).unwrap(),
        told: Vec::new(),
        user: USER.to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        authorities: Some(authority),
        accounts,
    }
}

fn external(
    kind: Kind,
    settings: ExternalSettings,
    hosts_url: String,
    engine: Engine,
    known: Arc<Known>,
) -> Subject {
    let authority = std::fs::read_to_string(settings.authorities.as_ref().unwrap()).unwrap();
    let limits = Limits { down_bytes: 1_000_000, ..Limits::default() };
    let (broker, events) = External::new(settings.clone(), limits, PAUSES).unwrap();
    let (leads, follows) = watch::channel(true);
    let guests: Arc<dyn Guests> = known.clone();
    let tasks = broker.run(&guests, &follows);
    Subject {
        kind,
        broker: Arc::new(broker),
        events,
        known,
        engine,
        leads,
        url: hosts_url,
        trust: ServerTrust::Authorities(authority.into()),
        settings: Some(settings),
        tasks,
    }
}

/// What a host tells of its connection.
pub(crate) struct Host {
    pub(crate) handle: LinkHandle,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
}

impl Host {
    pub(crate) async fn next(&mut self) -> LinkEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("no event came in time").expect("the link is gone")
    }

    /// Waits until it stands, however often it has to try.
    pub(crate) async fn connected(&mut self) {
        while self.next().await != LinkEvent::Connected {}
    }

    /// The next map; whatever happens to the connection meanwhile.
    pub(crate) async fn map(&mut self) -> Vec<u8> {
        loop {
            if let LinkEvent::Map(map) = self.next().await {
                return map;
            }
        }
    }
}

impl Subject {
    /// How the server reaches a broker that is not in this process.
    pub(crate) fn settings(&self) -> ExternalSettings {
        self.settings.clone().expect("the embedded one is this process")
    }

    pub(crate) async fn event(&mut self) -> BrokerEvent {
        timeout(DEADLINE, self.events.recv())
            .await
            .expect("no event came in time")
            .expect("the broker is gone")
    }

    /// Waits for this, and forgets what came before it.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&BrokerEvent) -> bool) -> BrokerEvent {
        loop {
            let event = self.event().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    pub(crate) async fn until_online(&mut self, host: HostId) {
        self.until(|event| *event == BrokerEvent::Online { host }).await;
    }

    pub(crate) async fn until_offline(&mut self, host: HostId) {
        let is_it =
            |event: &BrokerEvent| matches!(event, BrokerEvent::Offline { host: gone, .. } if *gone == host);
        self.until(is_it).await;
    }

    pub(crate) fn link_with(&self, host: HostId, password: &str) -> Host {
        let password = password.to_owned();
        let password = Arc::new(move || password.clone());
        let mut options = LinkOptions::new(self.url.clone(), host.to_string(), password, self.trust.clone());
        options.backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(200) };
        options.keepalive = Duration::from_secs(5);
        let (handle, events) = Link::connect(options).unwrap();
        Host { handle, events }
    }

    /// A host's link, which tries until it stands: accounts take a moment.
    pub(crate) async fn joined(&mut self, host: HostId) -> Host {
        let mut link = self.link_with(host, &password_of(host));
        link.connected().await;
        self.until_online(host).await;
        link
    }

    /// Hands over a message that has to be taken.
    pub(crate) fn publish(&self, host: HostId, payload: impl Into<Vec<u8>>) {
        assert_eq!(self.broker.publish(host, Bytes::from(payload.into())), Delivery::Queued);
    }
}

/// Waits until this is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each of these cases as a test of each broker.
macro_rules! on_every_broker {
    ($($case:ident)*) => {
        mod embedded {
            $(#[tokio::test] async fn $case() { super::$case(crate::subject::subject(crate::subject::Kind::Embedded).await).await; })*
        }
        $crate::subject::on_every_external_broker! { $($case)* }
    };
}

/// The same of those that are not in this process.
macro_rules! on_every_external_broker {
    ($($case:ident)*) => {
        mod mosquitto_with_its_plugin {
            $(#[tokio::test] async fn $case() { super::$case(crate::subject::subject(crate::subject::Kind::MosquittoDynsec).await).await; })*
        }
        mod mosquitto_with_files_over_websocket {
            $(#[tokio::test] async fn $case() { super::$case(crate::subject::subject(crate::subject::Kind::MosquittoFiles).await).await; })*
        }
        mod nats {
            $(#[tokio::test] async fn $case() { super::$case(crate::subject::subject(crate::subject::Kind::Nats).await).await; })*
        }
    };
}

pub(crate) use {on_every_broker, on_every_external_broker};
