//! `/mqtt`: the upgrade of an HTTP connection to MQTT over WebSocket.
//!
//! Decides only whether there is room and whether the client means MQTT; who it is, the session finds out.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};

use super::session::{self, Shared};
use super::wire::WebSocketWire;
use crate::front::Allowance;

/// Where agents find the broker on the HTTPS port.
const PATH: &str = "/mqtt";
const PROTOCOL: &str = "mqtt";
/// The library's own default is 128 KiB for each connection.
const READ_BUFFER: usize = 4 * 1024;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route(PATH, any(upgrade)).with_state(shared)
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(allowance): Extension<Allowance>,
    socket: WebSocketUpgrade,
) -> Response {
    if !socket.requested_protocols().any(|protocol| protocol == PROTOCOL) {
        let advice = "This is an MQTT broker: ask for the WebSocket subprotocol \"mqtt\".\n";
        return (StatusCode::BAD_REQUEST, advice).into_response();
    }
    let Ok(connecting) = shared.connecting.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]).into_response();
    };
    // The library takes whole messages and can be told their largest size once only, so it is the bytes that are counted
    // until the host proved itself. The frame's own head and that of the packet want some room beside the packet.
    allowance.set(2 * shared.limits.connect_bytes);
    // One message may carry several packets, so it may be larger than one packet.
    let largest = 4 * shared.limits.up_bytes.max(shared.limits.connect_bytes);
    socket
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(largest)
        .max_frame_size(largest)
        .on_upgrade(move |socket| {
            session::serve(shared, WebSocketWire { socket, allowance }, peer, connecting)
        })
}
