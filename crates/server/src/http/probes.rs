//! What monitoring asks: whether the server works, and its metrics.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::caller::identify;
use super::{Failure, Shared};

/// What proxies say of those for whom they ask.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "forwarded", "via"];

/// `200 ok` when the brain works and the database answers, `503` and why when not. Open to all.
pub(super) async fn healthz(State(admin): State<Shared>) -> Response {
    if !admin.parts.brain.is_running() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server's brain has ended; restart the server\n")
            .into_response();
    }
    match admin.parts.database.check().await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer; the server's log says why\n")
                .into_response()
        }
    }
}

/// Metrics in Prometheus' text format: from the machine itself, from `metrics_from`, or with a token.
pub(super) async fn metrics(
    State(admin): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let ip = peer.ip().to_canonical();
    // What a proxy on this machine passes on comes from elsewhere, also when the settings do not name the proxy.
    let local = ip.is_loopback() && !FORWARDED.iter().any(|name| headers.contains_key(*name));
    let known = local || admin.parts.settings.metrics_from.iter().any(|range| range.contains(&ip));
    let intent = admin.parts.brain.intent();
    if !known {
        identify(&intent, &headers)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of hosts are far below 2^53")]
    {
        metrics::gauge!("netloom_hosts").set(intent.host_count() as f64);
        metrics::gauge!("netloom_hosts_online").set(admin.parts.broker.connected() as f64);
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], admin.parts.telemetry.render()).into_response())
}
