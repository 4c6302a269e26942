//! Speaks HTTP on an accepted connection: HTTP/2 where ALPN agreed on it, else HTTP/1.1 with upgrades.
//!
//! Which protocol it is, is never guessed from the first bytes. Invariant: a client that sends nothing is not kept, and
//! neither is one that asks nothing: on HTTP/2 its answers to pings are no sign of a wish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::debug;

use super::bounded::Bounded;
use super::{Stopping, Stream, TrustedProxies};

/// Room for the head of a request. A longer one is refused.
const HEAD_BYTES: usize = 64 * 1024;
/// How long answers that are under way may take once an HTTP/2 connection ends: longer than any may.
const LAST_ANSWERS: Duration = Duration::from_secs(150);
/// Requests at the same time on one HTTP/2 connection. Further ones are reset, as the client was told they would be.
const STREAMS: u32 = 128;
/// What one of them may have waiting to be sent. Beyond, its answer is not made further until the client read.
const STREAM_BYTES: usize = 64 * 1024;

/// What all connections of a front share.
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) proxies: TrustedProxies,
    pub(super) header_timeout: Duration,
    pub(super) write_timeout: Duration,
}

impl Serving {
    async fn answer(&self, peer: SocketAddr, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let client = self.proxies.client(peer, request.headers());
        request.extensions_mut().insert(ConnectInfo(client));
        self.router.clone().oneshot(request).await
    }
}

pub(super) async fn serve(serving: Arc<Serving>, stream: Stream, peer: SocketAddr, stopping: Stopping) {
    let http2 = stream.agreed_on_http2();
    let io = Bounded::new(stream, serving.write_timeout);
    let outcome = if http2 {
        serve_http2(serving, io, peer, stopping).await
    } else {
        serve_http1(serving, io, peer, stopping).await
    };
    if let Err(error) = outcome {
        debug!(%peer, %error, "HTTP connection ended");
    }
}

/// The bare stream of a request whose connection becomes something else, and what came right behind the request. To be
/// waited for once the answer is on its way; nobody bounds the writes to it any more but who takes it.
pub fn upgraded<B>(request: Request<B>) -> impl Future<Output = Result<(Stream, Bytes)>> {
    let upgrade = hyper::upgrade::on(request);
    async move {
        let upgraded = upgrade.await.context("the connection was not upgraded")?;
        let parts = upgraded.downcast::<TokioIo<Bounded<Stream>>>();
        let parts = parts.map_err(|_| anyhow!("the connection came through no port of this front"))?;
        Ok((parts.io.into_inner().into_inner(), parts.read_buf))
    }
}

async fn serve_http1(
    serving: Arc<Serving>,
    io: Bounded<Stream>,
    peer: SocketAddr,
    mut stopping: Stopping,
) -> hyper::Result<()> {
    let header_timeout = serving.header_timeout;
    let service = service_fn(move |request| {
        let serving = Arc::clone(&serving);
        async move { serving.answer(peer, request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopping.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn serve_http2(
    serving: Arc<Serving>,
    io: Bounded<Stream>,
    peer: SocketAddr,
    mut stopping: Stopping,
) -> hyper::Result<()> {
    let header_timeout = serving.header_timeout;
    // Counts the requests that are being answered.
    let (open, opened) = watch::channel(0_usize);
    let open = Arc::new(open);
    let service = service_fn(move |request| {
        let (serving, open) = (Arc::clone(&serving), Open::count(&open));
        async move {
            let answer = serving.answer(peer, request).await;
            drop(open);
            answer
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(header_timeout)
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(STREAM_BYTES)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = stopping.wait() => {}
        () = idle(opened, header_timeout) => debug!(%peer, "HTTP/2 connection ended: nothing was asked for a while"),
    }
    // Answers that are under way are still sent, unless nobody takes them.
    connection.as_mut().graceful_shutdown();
    timeout(LAST_ANSWERS, connection).await.unwrap_or(Ok(()))
}

/// Waits until nothing was asked for this long.
async fn idle(mut open: watch::Receiver<usize>, limit: Duration) {
    loop {
        // The sender lives as long as the connection does, which whoever waits here watches as well.
        if open.wait_for(|open| *open == 0).await.is_err() {
            return;
        }
        if timeout(limit, open.changed()).await.is_err() {
            return;
        }
    }
}

/// A request that is being answered.
struct Open(Arc<watch::Sender<usize>>);

impl Open {
    fn count(open: &Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
