//! Addresses of a broker: `wss:`, `ws:`, `mqtts:`, `mqtt:`, and connections to them.
//!
//! Invariants: whoever has a pin never talks in the clear, whatever the address says · nobody does beyond this machine, unless
//! the token's own addresses are in the clear.

use std::net::IpAddr;
use std::sync::Arc;

use async_tungstenite::tokio::client_async_with_config;
use async_tungstenite::tungstenite::client::IntoClientRequest as _;
use async_tungstenite::tungstenite::http::HeaderValue;
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{self, handshake::client::Response};
use rustls::ClientConfig;
use url::Url;
use ws_stream_tungstenite::WsStream;

use super::LinkError;
use super::dial::{Dialer, Stream};
use super::error::root_cause;
use super::tls::{ServerTrust, client_config};

/// The header by which both ends of a WebSocket agree on what they speak.
const PROTOCOL: &str = "sec-websocket-protocol";
/// What they agree on.
const MQTT: &str = "mqtt";
/// The largest message of a WebSocket, which may hold many of MQTT, each with its own limit.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Where the broker is, checked.
pub(super) struct BrokerUrl {
    text: String,
    host: String,
    port: u16,
    carrier: Carrier,
    tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Stream,
    WebSocket,
}

/// How far what is said in the clear may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// To this machine itself and no further.
    Here,
    /// Anywhere: to a server whose token says so.
    Anywhere,
}

impl BrokerUrl {
    pub(super) fn parse(text: &str, trust: &ServerTrust, clear: Clear) -> Result<Self, LinkError> {
        let bad = |why: &str| LinkError::BadUrl(why.to_owned());
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        let (carrier, secure, port) = match url.scheme() {
            "wss" => (Carrier::WebSocket, true, 443),
            "ws" => (Carrier::WebSocket, false, 80),
            "mqtts" => (Carrier::Stream, true, 8883),
            "mqtt" => (Carrier::Stream, false, 1883),
            _ => return Err(bad("a broker's address starts with wss:, ws:, mqtts: or mqtt:")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it must not contain a user name or password"));
        }
        if !secure && trust.is_pinned() {
            return Err(bad(
                "the token names a certificate, so the broker has to be reached by wss: or mqtts:",
            ));
        }
        if !secure && clear == Clear::Here && !is_this_machine(host) {
            return Err(bad(
                "what is said there is in the clear, which is for brokers on the same machine alone; the server has to name the \
                 broker by mqtts: or wss:",
            ));
        }
        Ok(Self {
            text: url.to_string(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            carrier,
            tls: if secure { Some(client_config(trust)?) } else { None },
        })
    }

    /// A connection to the broker there, ready for MQTT's own packets.
    pub(super) async fn connect(&self, dialer: &Dialer) -> Result<Stream, LinkError> {
        let stream = dialer.connect(&self.host, self.port, self.tls.as_ref()).await?;
        match self.carrier {
            Carrier::Stream => Ok(stream),
            Carrier::WebSocket => self.upgrade(stream).await,
        }
    }

    async fn upgrade(&self, stream: Stream) -> Result<Stream, LinkError> {
        let road = stream.road();
        let mut request = self.text.as_str().into_client_request().map_err(|error| refusal(&error))?;
        request.headers_mut().insert(PROTOCOL, HeaderValue::from_static(MQTT));
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let upgraded = client_async_with_config(request, stream, Some(limits)).await;
        let (socket, response) = upgraded.map_err(|error| refusal(&error))?;
        if !speaks_mqtt(&response) {
            return Err(LinkError::Refused("no broker there: what answers does not speak MQTT".to_owned()));
        }
        Ok(Stream::new(WsStream::new(socket), road))
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn speaks_mqtt(response: &Response) -> bool {
    response.headers().get(PROTOCOL).is_some_and(|spoken| spoken.as_bytes().trim_ascii() == MQTT.as_bytes())
}

fn refusal(error: &tungstenite::Error) -> LinkError {
    match error {
        tungstenite::Error::Http(answer) => {
            LinkError::Refused(format!("no broker there: HTTP error: {}", answer.status()))
        }
        // The library's own enum, which grows.
        other => LinkError::Unreachable(root_cause(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<(Carrier, String, u16), LinkError> {
        let url = BrokerUrl::parse(text, &ServerTrust::Pin([0; 32]), Clear::Anywhere)?;
        Ok((url.carrier, url.host, url.port))
    }

    #[test]
    fn each_scheme_has_its_own_port_and_form() {
        let is = |text: &str, carrier, host: &str, port| {
            assert_eq!(address(text), Ok((carrier, host.to_owned(), port)));
        };
        is("wss://a.example/mqtt", Carrier::WebSocket, "a.example", 443);
        is("wss://[::1]:8443/mqtt", Carrier::WebSocket, "::1", 8443);
        is("mqtts://a.example", Carrier::Stream, "a.example", 8883);
        is("mqtts://[fd00::1]:99", Carrier::Stream, "fd00::1", 99);
    }

    #[test]
    fn addresses_that_would_leak_or_lead_nowhere_are_refused() {
        for text in
            ["http://a.example", "a.example", "wss://u:p@a.example", "mqtts:", "ws://a.example", "mqtt://a"]
        {
            assert!(matches!(address(text), Err(LinkError::BadUrl(_))), "{text}");
        }
    }

    #[test]
    fn what_is_in_the_clear_stays_on_this_machine_unless_the_token_says_otherwise() {
        let taken = |text, clear| BrokerUrl::parse(text, &ServerTrust::PublicRoots, clear).is_ok();
        for text in ["ws://127.0.0.1:80/mqtt", "mqtt://[::1]:1883", "mqtt://127.7.0.1", "mqtt://localhost"] {
            assert!(taken(text, Clear::Here), "{text}");
        }
        for text in
            ["ws://192.0.2.1/mqtt", "mqtt://a.example", "mqtt://localhost.a.example", "mqtt://[fd00::1]"]
        {
            assert!(!taken(text, Clear::Here) && taken(text, Clear::Anywhere), "{text}");
        }
        let told = BrokerUrl::parse("mqtt://a.example", &ServerTrust::PublicRoots, Clear::Here);
        let told = told.err().unwrap().to_string();
        assert!(told.contains("in the clear") && told.contains("mqtts:"), "{told}");
    }

    #[test]
    fn authorities_that_are_none_are_told() {
        let authorities = ServerTrust::Authorities("no certificate".into());
        let error = BrokerUrl::parse("mqtts://a.example", &authorities, Clear::Here).err().unwrap();
        assert!(matches!(&error, LinkError::Tls(why) if why.contains("PEM")), "{error}");
    }
}
