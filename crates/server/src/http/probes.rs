//! What monitoring asks: whether the server works, and its metrics.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::caller::identify;
use super::{Failure, Shared};
use crate::brain::Queues;
use crate::cluster::Role;

/// What proxies say of those for whom they ask.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "forwarded", "via"];

/// `200 ok` when the brain works and the database answers, `503` and why when not. Open to all.
pub(super) async fn healthz(State(admin): State<Shared>) -> Response {
    if !admin.parts.brain.is_running() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server's brain has ended; restart the server\n")
            .into_response();
    }
    match admin.parts.check_database().await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer; the server's log says why\n")
                .into_response()
        }
    }
}

/// `200` when requests are answered: the brain works, and it is known who leads. A leader whose database is gone is ready: it
/// answers what is asked. Another server then knows no leader any more after a while. For load balancers; open to all.
pub(super) async fn readyz(State(admin): State<Shared>) -> Response {
    let brain = &admin.parts.brain;
    let answer = match (brain.is_running(), &*brain.role().borrow()) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "the server's brain has ended\n"),
        (true, Role::Leads) => (StatusCode::OK, "ready, and leads\n"),
        (true, Role::Follows { leader: Some(_) }) => (StatusCode::OK, "ready, and follows\n"),
        (true, Role::Follows { leader: None }) => {
            (StatusCode::SERVICE_UNAVAILABLE, "no server leads, as far as this one hears\n")
        }
    };
    answer.into_response()
}

/// `200` at the server that leads, `503` at all others: where load balancers send agents' MQTT. Open to all.
pub(super) async fn leads(State(admin): State<Shared>) -> Response {
    let brain = &admin.parts.brain;
    if brain.is_running() && brain.role().borrow().leads() {
        return (StatusCode::OK, "leads\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "another server leads\n").into_response()
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
        metrics::gauge!("netloom_broker_waiting").set(admin.parts.broker.backlog().messages as f64);
        let Queues { commands, notices } = admin.parts.brain.queues();
        metrics::gauge!("netloom_commands_waiting").set(commands as f64);
        metrics::gauge!("netloom_notices_waiting").set(notices as f64);
    }
    let leads = admin.parts.brain.role().borrow().leads();
    metrics::gauge!("netloom_leads").set(number(leads));
    let up = carries(leads, admin.parts.broker.trouble().is_some());
    metrics::gauge!("netloom_broker_up").set(number(up));
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], admin.parts.telemetry.render()).into_response())
}

/// Whether this server carries messages, or need not: an alert on its gauge must not name servers that only follow.
const fn carries(leads: bool, is_troubled: bool) -> bool {
    !(leads && is_troubled)
}

const fn number(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_leads_can_lack_the_broker() {
        assert!(carries(true, false) && carries(false, false) && carries(false, true));
        assert!(!carries(true, true));
    }
}
