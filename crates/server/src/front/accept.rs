//! Accepts TCP connections, does the TLS handshake, and hands the stream on; stops in an orderly way.
//!
//! Knows neither HTTP nor MQTT. Invariants: not more connections and handshakes than the limits say; further ones wait
//! in the kernel's backlog · no source has more of them than it may · a failure of one connection is nobody else's · after `shutdown` the port is free and no
//! task is left.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, warn};

use super::sources::{Counted, Sources};
use super::{Limits, TrustedProxies};

/// Pause after the system refused to accept, for instance because no file descriptor is left.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// A bound port.
pub struct Acceptor {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    handshake_timeout: Duration,
    grace: Duration,
    sources: Arc<Sources>,
    proxies: TrustedProxies,
}

/// A port being served. Dropping it stops it without waiting.
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Tells a connection that the port is being shut down.
#[derive(Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Waits until a shutdown is asked for.
    pub async fn wait(&mut self) {
        // An error means that the sender is gone, which is a shutdown too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Running {
    /// The address that is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Frees the port, lets open requests finish within the grace time, and returns when all is over.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            error!(%error, "serving a port ended badly");
        }
    }
}

impl Acceptor {
    /// Binds a port. Must be called inside the runtime. The proxies are those through which many clients come.
    pub fn bind(
        listen: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        proxies: TrustedProxies,
        limits: &Limits,
    ) -> Result<Self> {
        let listener = listen_on(listen, limits.backlog).with_context(|| {
            format!("cannot listen on {listen}: is the port taken, or the address not ours?")
        })?;
        let address = listener.local_addr().context("a bound socket has no address")?;
        Ok(Self {
            listener,
            address,
            tls: tls.map(TlsAcceptor::from),
            connections: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            handshake_timeout: limits.handshake_timeout,
            grace: limits.grace,
            sources: Sources::new(limits.connections_per_source),
            proxies,
        })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves each connection with `serve`, in a task of its own.
    pub fn run<S, F>(self, serve: S) -> Running
    where
        S: Fn(Stream, SocketAddr, Stopping) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopping) = watch::channel(false);
        let address = self.address;
        let task = tokio::spawn(self.accept_all(Stopping(stopping), serve));
        Running { address, stop, task }
    }

    async fn accept_all<S, F>(self, mut stopping: Stopping, serve: S)
    where
        S: Fn(Stream, SocketAddr, Stopping) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let told = stopping.clone();
        loop {
            tokio::select! {
                () = stopping.wait() => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(error) = ended {
                        error!(%error, "serving a connection ended badly");
                    }
                }
                (tcp, peer, permits) = self.accept() => {
                    let handshake = handshake(self.tls.clone(), tcp, self.handshake_timeout);
                    let (serve, told) = (serve.clone(), told.clone());
                    tasks.spawn(async move {
                        let Permits { connection, handshake: shaking, source } = permits;
                        match handshake.await {
                            Ok(stream) => {
                                drop(shaking);
                                serve(stream, peer, told).await;
                            }
                            Err(error) => debug!(%peer, %error, "TLS handshake failed"),
                        }
                        drop((connection, source));
                    });
                }
            }
        }
        drop(self.listener);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if timeout(self.grace, drained).await.is_err() {
            debug!(left = tasks.len(), "connections were cut at the end of the grace time");
        }
        tasks.shutdown().await;
    }

    /// Nobody counts who speaks for many: a proxy that the settings name, and this machine itself.
    fn count(&self, from: IpAddr) -> Result<Option<Counted>, TooMany> {
        if self.proxies.trusts(from.to_canonical()) || from.to_canonical().is_loopback() {
            return Ok(None);
        }
        self.sources.count(from).map(Some).ok_or(TooMany)
    }

    async fn accept(&self) -> (TcpStream, SocketAddr, Permits) {
        let permits = Permits {
            connection: permit(&self.connections).await,
            handshake: permit(&self.handshakes).await,
            source: None,
        };
        loop {
            match self.listener.accept().await {
                Ok((tcp, peer)) => {
                    let Ok(source) = self.count(peer.ip()) else {
                        metrics::counter!("netloom_connections_refused_total").increment(1);
                        debug!(%peer, "connection refused: there are too many from this source");
                        continue;
                    };
                    if let Err(error) = tcp.set_nodelay(true) {
                        debug!(%peer, %error, "a connection was gone before it was accepted");
                        continue;
                    }
                    return (tcp, peer, permits.of(source));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections now; is the limit of open files too low?");
                    sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }
}

struct Permits {
    connection: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
    source: Option<Counted>,
}

impl Permits {
    fn of(self, source: Option<Counted>) -> Self {
        Self { source, ..self }
    }
}

/// There are too many connections from one source.
struct TooMany;

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_owned().await.expect("this semaphore is never closed")
}

fn listen_on(listen: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(backlog)
}

async fn handshake(tls: Option<TlsAcceptor>, tcp: TcpStream, limit: Duration) -> io::Result<Stream> {
    let Some(tls) = tls else {
        return Ok(Stream::Plain(tcp));
    };
    let stream = timeout(limit, tls.accept(tcp)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(Stream::Tls(Box::new(stream)))
}

/// An accepted connection.
pub enum Stream {
    /// As it came.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// True if both ends agreed on HTTP/2.
    pub fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
