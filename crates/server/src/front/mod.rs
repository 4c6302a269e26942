//! The server's front: one TCP port for API, page and MQTT over WebSocket, with HTTPS by default.
//!
//! Takes an [`axum::Router`] and knows nothing of what it serves. Handlers find the client's address as
//! `ConnectInfo<SocketAddr>`; behind trusted proxies that is the client's own address (with port 0), not the proxy's.
//! Invariants: handshakes and connections are bounded in number and time · headers of proxies are believed only from
//! proxies that the settings name · a certificate changes without a connection noticing.

mod accept;
mod bounded;
mod certificates;
mod http;
mod proxies;
mod sources;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;

pub use accept::{Acceptor, Running, Stopping, Stream};
pub use certificates::{Certificates, install_crypto_provider, pin_hex, pin_of};
pub use http::upgraded;
pub use proxies::TrustedProxies;

/// Protocols offered by ALPN on the HTTPS port. WebSockets are upgraded from HTTP/1.1.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Bounds of a port.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that may wait in the kernel for us; a thousand agents that come back at once need room. Beyond it the
    /// kernel drops what comes, and clients try again by themselves.
    pub backlog: u32,
    /// Connections served at the same time, not counting those that became WebSockets. Further ones wait in the backlog.
    pub connections: usize,
    /// Those of one source: an IPv4 address, or the /64 of an IPv6 address. A site of a thousand agents behind one address
    /// has room. Further ones are closed at once. Proxies that the settings name and this machine itself may have as many as there are.
    pub connections_per_source: usize,
    /// TLS handshakes at the same time. Further ones wait in the backlog.
    pub handshakes: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long reading the head of a request may take; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long a client may leave lying what is written to it.
    pub write_timeout: Duration,
    /// How long open requests may go on after a shutdown was asked for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            backlog: 4_096,
            connections: 10_000,
            connections_per_source: 2_000,
            handshakes: 1_024,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// A bound port that serves nothing yet; connections wait in the backlog until [`serve`](Self::serve).
pub struct Front {
    acceptor: Acceptor,
    proxies: TrustedProxies,
    limits: Limits,
}

impl Front {
    /// Binds the port. Without certificates it speaks plain HTTP, for loopback or behind a proxy that does TLS.
    pub fn bind(
        listen: SocketAddr,
        certificates: Option<&Arc<Certificates>>,
        proxies: TrustedProxies,
        limits: Limits,
    ) -> Result<Self> {
        let tls = certificates.map(|certificates| certificates.server_config(&ALPN)).transpose()?;
        let acceptor = Acceptor::bind(listen, tls, proxies.clone(), &limits)?;
        Ok(Self { acceptor, proxies, limits })
    }

    /// The address that was bound, with the port chosen if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.acceptor.address()
    }

    /// Serves `router` until the result is shut down or dropped.
    pub fn serve(self, router: Router) -> Running {
        let serving = Arc::new(http::Serving {
            router,
            proxies: self.proxies,
            header_timeout: self.limits.header_timeout,
            write_timeout: self.limits.write_timeout,
        });
        self.acceptor.run(move |stream, peer, stopping| http::serve(serving.clone(), stream, peer, stopping))
    }
}
