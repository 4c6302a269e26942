//! `/mqtt`: the upgrade of an HTTP connection to MQTT over WebSocket.
//!
//! Decides only whether there is room and whether the client means MQTT; who it is, the session finds out. After the
//! upgrade nothing of HTTP is left of the connection: the session has the bare stream.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::BytesMut;
use data_encoding::BASE64;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use tracing::debug;

use super::session::{self, Shared};
use super::wire::Wire;
use crate::front;

/// Where agents find the broker on the HTTPS port.
const PATH: &str = "/mqtt";
const PROTOCOL: &str = "mqtt";
/// What RFC 6455 has appended to the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route(PATH, get(upgrade)).with_state(shared)
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let accept = match accept(request.headers()) {
        Ok(accept) => accept,
        Err(advice) => return (StatusCode::BAD_REQUEST, advice).into_response(),
    };
    let Ok(connecting) = shared.connecting.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]).into_response();
    };
    let upgraded = front::upgraded(request);
    // One task for each connection, and those that did not prove themselves have no more of them than permits.
    tokio::spawn(async move {
        match upgraded.await {
            Ok((stream, early)) => {
                session::serve(shared, Wire::websocket(stream, BytesMut::from(early)), peer, connecting)
                    .await;
            }
            Err(error) => debug!(%peer, %error, "a WebSocket was not opened"),
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL)),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// What proves to the client that its wish was understood; or what is wrong with the wish.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, &'static str> {
    if !names(headers, &header::CONNECTION, "upgrade") || !names(headers, &header::UPGRADE, "websocket") {
        return Err("This is an MQTT broker: open a WebSocket here, over HTTP/1.1.\n");
    }
    if !names(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err("This is an MQTT broker: ask for the WebSocket subprotocol \"mqtt\".\n");
    }
    if !names(headers, &header::SEC_WEBSOCKET_VERSION, "13") {
        return Err("This broker speaks version 13 of the WebSocket protocol (RFC 6455).\n");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if BASE64.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err("The header Sec-WebSocket-Key has to be sixteen bytes in Base64.\n");
    }
    // Not for secrecy: the protocol has it that way.
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(GUID);
    let accept = BASE64.encode(digest.finish().as_ref());
    Ok(HeaderValue::try_from(accept).expect("Base64 has no characters that a header may not have"))
}

/// Whether the word is in the header's list.
fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let lines = headers.get_all(header).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the answer are the example of RFC 6455.
    const HEADERS: [(&str, &str); 5] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, mqtt"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn headers(left_out: usize) -> HeaderMap {
        let kept = HEADERS.iter().enumerate().filter(|(place, _)| *place != left_out);
        kept.map(|(_, (name, value))| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wish_for_mqtt_is_answered_as_the_specification_says() {
        let whole = accept(&headers(HEADERS.len())).unwrap();
        assert_eq!(whole, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (left_out, (name, _)) in HEADERS.iter().enumerate() {
            assert!(accept(&headers(left_out)).is_err(), "without {name}");
        }
        let mut short = headers(4);
        short.append("sec-websocket-key", HeaderValue::from_static("dGhl"));
        assert!(accept(&short).is_err());
    }
}
