//! A door to a server or a broker: TCP and TLS, made anew for each connection as each machine would.
//!
//! Not for what is said inside, and not for which door is taken (`doors`). It keeps true that an agent resumes no TLS sessions
//! but its own, as the real one does (those to the broker and those for requests apart), and that what comes in is counted
//! where the network would see it: below TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::fleet::Site;

/// How long a connection may take until it stands, as with the real agent.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// Agents that share a source address: one address has 28,000 ports, and connections that were closed keep theirs a minute.
const AGENTS_PER_SOURCE: u32 = 2_000;

/// How one server or broker is reached.
pub(super) struct Door {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: ClientConfig,
    /// What stands in the `Host` header.
    pub(super) host: String,
}

/// The sessions that one agent can resume with connections of one kind.
pub(super) type Sessions = TlsConnector;

/// A connection to the server.
pub(super) type Stream = tokio_rustls::client::TlsStream<Counted>;

impl Door {
    pub(super) fn new(site: &Site) -> Result<Self> {
        let pin = site.pin().context("the fleet speaks TLS with a pinned certificate only")?;
        let host = site.url().strip_prefix("https://").context("the server has no https address")?.to_owned();
        let address: SocketAddr =
            host.parse().context("the server's address is no IP address with a port")?;
        let tls = tls::client_config(&tls::Trust::Pin(pin))?;
        Ok(Self { address, name: ServerName::IpAddress(address.ip().into()), tls, host })
    }

    /// The door at `host:port`, whose certificate is checked by this configuration.
    pub(super) fn at(host: &str, tls: ClientConfig) -> Result<Self> {
        let mut addresses =
            host.to_socket_addrs().with_context(|| format!("nobody knows where {host} is"))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).with_context(|| format!("{host} is no name for TLS"))?;
        Ok(Self { address, name, tls, host: host.to_owned() })
    }

    /// No sessions yet.
    pub(super) fn sessions(&self) -> Sessions {
        let mut config = self.tls.clone();
        config.resumption = Resumption::in_memory_sessions(1);
        TlsConnector::from(Arc::new(config))
    }

    /// Opens a connection for the agent with this number.
    pub(super) async fn open(&self, agent: u32, sessions: &Sessions) -> Result<Stream> {
        match timeout(CONNECT, self.connect(agent, sessions)).await {
            Ok(stream) => stream.context("no connection to the server"),
            Err(_) => bail!("no connection to the server within {CONNECT:?}"),
        }
    }

    async fn connect(&self, agent: u32, sessions: &Sessions) -> io::Result<Stream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = source_of(self.address.ip(), agent) {
            socket.bind(source)?;
        }
        let tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        sessions.connect(self.name.clone(), Counted { tcp, received: 0 }).await
    }
}

/// Where an agent comes from: on this machine there is a whole /8 to choose from.
fn source_of(server: IpAddr, agent: u32) -> Option<SocketAddr> {
    if !server.is_ipv4() || !server.is_loopback() {
        return None;
    }
    let block = agent / AGENTS_PER_SOURCE;
    let address = u32::from(Ipv4Addr::new(127, 1, 0, 1)) + block;
    Some(SocketAddr::new(Ipv4Addr::from(address).into(), 0))
}

/// A TCP connection that counts what comes in.
#[derive(Debug)]
pub(super) struct Counted {
    tcp: TcpStream,
    received: u64,
}

impl Counted {
    /// The bytes that came since this was asked last.
    pub(super) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    /// When this is dropped, the other end is told by a reset, without a farewell.
    pub(super) fn will_reset(&self) {
        // Where that cannot be asked for, the connection ends by itself.
        let _unset = self.tcp.set_zero_linger();
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.tcp).poll_read(cx, buf);
        this.received += (buf.filled().len() - before) as u64;
        poll
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_on_this_machine_share_sources_in_blocks_and_others_are_left_to_the_system() {
        let source =
            |server: &str, agent| source_of(server.parse().unwrap(), agent).map(|from| from.to_string());
        assert_eq!(source("127.0.0.1", 0), source("127.0.0.1", AGENTS_PER_SOURCE - 1));
        assert_eq!(source("127.0.0.1", 5 * AGENTS_PER_SOURCE), Some("127.1.0.6:0".to_owned()));
        assert_eq!(source("192.0.2.1", 1), None);
        assert_eq!(source("::1", 1), None);
    }
}
