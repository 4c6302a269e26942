//! Speaks HTTP on an accepted connection: HTTP/2 where ALPN agreed on it, else HTTP/1.1 with upgrades.
//!
//! Which protocol it is, is never guessed from the first bytes. Invariant: a client that sends nothing is not kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::ServiceExt;
use tracing::debug;

use super::{Stopping, Stream, TrustedProxies};

/// Room for the head of a request.
const HEAD_BYTES: usize = 64 * 1024;
const STREAMS: u32 = 128;

/// What all connections of a front share.
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) proxies: TrustedProxies,
    pub(super) header_timeout: Duration,
}

pub(super) async fn serve(serving: Arc<Serving>, stream: Stream, peer: SocketAddr, mut stopping: Stopping) {
    let http2 = stream.agreed_on_http2();
    let header_timeout = serving.header_timeout;
    let service = service_fn(move |mut request: Request<Incoming>| {
        let client = serving.proxies.client(peer, request.headers());
        request.extensions_mut().insert(ConnectInfo(client));
        serving.router.clone().oneshot(request)
    });
    let io = TokioIo::new(stream);
    let outcome = if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(header_timeout)
            .max_concurrent_streams(STREAMS)
            .serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stopping.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(io, service)
            .with_upgrades();
        tokio::pin!(connection);
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stopping.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%peer, %error, "HTTP connection ended");
    }
}
