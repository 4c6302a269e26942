//! Addresses of a broker: `wss:`, `ws:`, `mqtts:`, `mqtt:`, and what each means for the client library.
//!
//! Invariant: whoever has a pin never talks in the clear, whatever the address says.

use std::sync::Arc;

use reqwest::Url;
use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use rustls::ClientConfig;

use super::LinkError;
use super::tls::{ServerTrust, client_config};

/// Where the broker is, checked.
pub(super) struct BrokerUrl {
    address: String,
    port: u16,
    carrier: Carrier,
    tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone, Copy)]
enum Carrier {
    Stream,
    WebSocket,
}

impl BrokerUrl {
    pub(super) fn parse(text: &str, trust: &ServerTrust) -> Result<Self, LinkError> {
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
        if !secure && matches!(trust, ServerTrust::Pin(_)) {
            return Err(bad(
                "the token names a certificate, so the broker has to be reached by wss: or mqtts:",
            ));
        }
        Ok(Self {
            address: match carrier {
                Carrier::WebSocket => url.to_string(),
                Carrier::Stream => host.trim_matches(['[', ']']).to_owned(),
            },
            port: url.port().unwrap_or(port),
            carrier,
            tls: if secure { Some(client_config(trust)?) } else { None },
        })
    }

    /// The library's options for this address.
    pub(super) fn options(&self, client_id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, &self.address, self.port);
        let tls = self.tls.clone().map(TlsConfiguration::Rustls);
        options.set_transport(match (self.carrier, tls) {
            (Carrier::Stream, None) => Transport::Tcp,
            (Carrier::Stream, Some(tls)) => Transport::Tls(tls),
            (Carrier::WebSocket, None) => Transport::Ws,
            (Carrier::WebSocket, Some(tls)) => Transport::Wss(tls),
        });
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<(String, u16), LinkError> {
        let url = BrokerUrl::parse(text, &ServerTrust::Pin([0; 32]))?;
        Ok(url.options("h").broker_address())
    }

    #[test]
    fn each_scheme_has_its_own_port_and_form() {
        assert_eq!(address("wss://a.example/mqtt"), Ok(("wss://a.example/mqtt".into(), 443)));
        assert_eq!(address("wss://[::1]:8443/mqtt"), Ok(("wss://[::1]:8443/mqtt".into(), 8443)));
        assert_eq!(address("mqtts://a.example"), Ok(("a.example".into(), 8883)));
        assert_eq!(address("mqtts://[fd00::1]:99"), Ok(("fd00::1".into(), 99)));
    }

    #[test]
    fn addresses_that_would_leak_or_lead_nowhere_are_refused() {
        for text in
            ["http://a.example", "a.example", "wss://u:p@a.example", "mqtts:", "ws://a.example", "mqtt://a"]
        {
            assert!(matches!(address(text), Err(LinkError::BadUrl(_))), "{text}");
        }
        assert!(BrokerUrl::parse("ws://127.0.0.1:80/mqtt", &ServerTrust::PublicRoots).is_ok());
    }
}
