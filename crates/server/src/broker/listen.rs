//! The embedded broker as the rest of the server holds it, and its doors: `/mqtt` on the HTTPS port, and a TCP port.
//!
//! Holds no protocol. The TCP port is for agents that cannot use WebSocket; nothing listens on one unless asked.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use bytes::Bytes;
use model::HostId;
use tokio::sync::{Semaphore, mpsc};

use super::registry::Registry;
use super::session::{self, Shared};
use super::websocket;
use super::wire::Wire;
use super::{Authenticate, Backlog, Broker, Delivery, Events, Limits};
use crate::front::{Acceptor, Certificates, Running, TrustedProxies};

/// The broker inside this process. Clones are the same broker.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

impl Embedded {
    /// Makes the broker; it is reachable once its [`router`](Self::router) is served or a port is opened.
    pub fn new(limits: Limits, authenticate: Authenticate) -> (Self, Events) {
        let (sender, events) = mpsc::channel(limits.events);
        let shared = Shared {
            registry: Registry::new(&limits, sender),
            authenticate,
            connecting: Arc::new(Semaphore::new(limits.connecting)),
            limits,
        };
        (Self { shared: Arc::new(shared) }, events)
    }

    /// Serves MQTT over WebSocket at `/mqtt`; to be merged into the router that the front serves.
    pub fn router(&self) -> Router {
        websocket::router(self.shared.clone())
    }

    /// Serves MQTT on a TCP port of its own, over TLS if certificates are given.
    pub fn open_port(&self, listen: SocketAddr, certificates: Option<&Arc<Certificates>>) -> Result<Running> {
        let tls = certificates.map(|certificates| certificates.server_config(&[])).transpose()?;
        let acceptor =
            Acceptor::bind(listen, tls, TrustedProxies::default(), &crate::front::Limits::default())?;
        let shared = self.shared.clone();
        Ok(acceptor.run(move |stream, peer, _stopping| {
            let shared = shared.clone();
            async move {
                let Ok(connecting) = shared.connecting.clone().try_acquire_owned() else {
                    return;
                };
                session::serve(shared, Wire::bare(stream), peer, connecting).await;
            }
        }))
    }

    /// Lets hosts in while this server leads, and sends them away to another one when it does no more.
    pub fn lead(&self, leads: bool) {
        self.shared.registry.lead(leads);
    }

    /// Ends all connections and lets nobody in any more.
    pub fn shutdown(&self) {
        self.shared.registry.close();
    }
}

impl Broker for Embedded {
    fn publish(&self, host: HostId, payload: Bytes) -> Delivery {
        if payload.len() > self.shared.limits.down_bytes {
            return Delivery::TooLarge;
        }
        self.shared.registry.publish(host, payload)
    }

    fn kick(&self, host: HostId) -> bool {
        self.shared.registry.kick(host)
    }

    fn is_online(&self, host: HostId) -> bool {
        self.shared.registry.is_online(host)
    }

    fn is_listening(&self, host: HostId) -> bool {
        self.shared.registry.is_listening(host)
    }

    fn connected(&self) -> usize {
        self.shared.registry.connected()
    }

    fn backlog(&self) -> Backlog {
        self.shared.registry.backlog()
    }
}
