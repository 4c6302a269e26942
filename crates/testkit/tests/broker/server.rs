//! The broker under test: the embedded one behind a real front, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::link::ServerTrust;
use model::HostId;
use server::broker::{BrokerEvent, Embedded, Ended, Events, Limits};
use server::front::{self, Certificates, Front, Running, TrustedProxies};
use tempfile::TempDir;
use tokio::time::timeout;

/// Everything in these tests happens within this, or not at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Two hosts.
pub(crate) const A: HostId = HostId::from_bytes([0xa; 16]);
pub(crate) const B: HostId = HostId::from_bytes([0xb; 16]);

/// The only credential that the broker takes.
pub(crate) fn password_of(host: HostId) -> String {
    format!("secret-of-{host}")
}

/// A running server.
pub(crate) struct Server {
    pub(crate) broker: Embedded,
    pub(crate) events: Events,
    pub(crate) address: SocketAddr,
    pub(crate) certificates: Option<Arc<Certificates>>,
    running: Running,
    _folder: TempDir,
}

pub(crate) async fn start() -> Server {
    start_with(Limits::default(), true, "127.0.0.1:0").await
}

/// Starts a server with a certificate whose name never fits.
pub(crate) async fn start_with(limits: Limits, tls: bool, listen: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let names = ["elsewhere.example".to_owned()];
    let certificates = tls.then(|| Certificates::self_signed(folder.path(), &names).unwrap());
    let (broker, events) = embedded(limits);
    let listen = listen.parse().unwrap();
    let proxies = TrustedProxies::default();
    let front = Front::bind(listen, certificates.as_ref(), proxies, front::Limits::default()).unwrap();
    let address = front.address();
    let running = front.serve(broker.router());
    Server { broker, events, address, certificates, running, _folder: folder }
}

pub(crate) fn embedded(limits: Limits) -> (Embedded, Events) {
    Embedded::new(limits, Arc::new(|host, password| password == password_of(host).as_bytes()))
}

impl Server {
    pub(crate) fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/mqtt", self.address)
    }

    pub(crate) fn trust(&self) -> ServerTrust {
        match &self.certificates {
            Some(certificates) => ServerTrust::Pin(certificates.pin()),
            None => ServerTrust::PublicRoots,
        }
    }

    pub(crate) async fn event(&mut self) -> BrokerEvent {
        next_event(&mut self.events).await
    }

    pub(crate) async fn stop(self) -> SocketAddr {
        self.broker.shutdown();
        timeout(DEADLINE, self.running.shutdown()).await.expect("the front did not stop in time");
        self.address
    }
}

pub(crate) async fn next_event(events: &mut Events) -> BrokerEvent {
    timeout(DEADLINE, events.recv()).await.expect("no event came in time").expect("the broker is gone")
}

pub(crate) fn online(host: HostId) -> BrokerEvent {
    BrokerEvent::Online { host }
}

pub(crate) fn offline(host: HostId, reason: Ended) -> BrokerEvent {
    BrokerEvent::Offline { host, reason }
}

pub(crate) fn report(host: HostId, payload: &'static [u8]) -> BrokerEvent {
    BrokerEvent::Report { host, payload: payload.into() }
}
