//! An MQTT client that does as it is told, rightly or wrongly; not the agent's own link.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::link::ServerTrust;
use model::{Digest, HostId};
use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, SubscribeReasonCode, TlsConfiguration,
    Transport,
};
use server::broker::settings::{BrokerAddress, Carrier};
use tls::Trust;
use tokio::time::timeout;

use crate::subject::{DEADLINE, Subject, password_of};

pub(crate) struct Client {
    pub(crate) mqtt: AsyncClient,
    events: EventLoop,
}

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Granted,
    Refused,
    /// The broker ended the connection over it.
    Ended,
}

pub(crate) fn topic(host: HostId, channel: &str) -> String {
    format!("netloom/v1/host/{host}/{channel}")
}

/// Options of a well-behaved host.
pub(crate) fn options(subject: &Subject, host: HostId) -> MqttOptions {
    options_at(subject, host, &subject.url)
}

/// The same at another address.
pub(crate) fn options_at(subject: &Subject, host: HostId, url: &str) -> MqttOptions {
    let address = BrokerAddress::parse(url).unwrap();
    let config = match &subject.trust {
        ServerTrust::Pin(pin) => tls::client_config(&Trust::Pin(Digest::from_bytes(*pin))).unwrap(),
        ServerTrust::Authorities(pem) => tls::client_config_by_authorities(pem).unwrap(),
        ServerTrust::EitherPin(_) => panic!("for servers that change their keys"),
        ServerTrust::PublicRoots => tls::client_config(&Trust::System).unwrap(),
    };
    let config = TlsConfiguration::Rustls(Arc::new(config));
    let (place, transport) = match address.carrier {
        Carrier::Stream => (address.host, Transport::Tls(config)),
        Carrier::WebSocket => (address.text, Transport::Wss(config)),
    };
    let mut options = MqttOptions::new(host.to_string(), place, address.port);
    options
        .set_transport(transport)
        .set_credentials(host.to_string(), password_of(host))
        .set_last_will(LastWill::new(topic(host, "presence"), "offline", QoS::AtLeastOnce, false))
        .set_keep_alive(Duration::from_secs(5))
        .set_max_packet_size(8 << 20, 8 << 20);
    options
}

/// Connects, unless it is refused.
pub(crate) async fn connect(options: MqttOptions) -> Option<Client> {
    let (mqtt, mut events) = AsyncClient::new(options, 100);
    match timeout(DEADLINE, events.poll()).await.expect("no answer to CONNECT in time") {
        Ok(Event::Incoming(Packet::ConnAck(_))) => Some(Client { mqtt, events }),
        Ok(other) => panic!("neither accepted nor refused: {other:?}"),
        Err(_refused) => None,
    }
}

/// Connects as a host that there is: its account may take a moment.
pub(crate) async fn let_in(subject: &Subject, host: HostId) -> Client {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(client) = connect(options(subject, host)).await {
            return client;
        }
        assert!(Instant::now() < deadline, "the host is welcome");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Client {
    async fn next(&mut self) -> Option<Packet> {
        loop {
            match timeout(DEADLINE, self.events.poll()).await.expect("nothing came in time") {
                Ok(Event::Incoming(packet)) => return Some(packet),
                Ok(Event::Outgoing(_)) => {}
                Err(_ended) => return None,
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) -> Outcome {
        self.mqtt.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
        loop {
            match self.next().await {
                Some(Packet::SubAck(answer)) => {
                    let failed = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                    return if failed { Outcome::Refused } else { Outcome::Granted };
                }
                Some(_) => {}
                None => return Outcome::Ended,
            }
        }
    }

    /// Publishes, and waits until that is confirmed: which says nothing about whether it was let through.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> Outcome {
        self.mqtt.try_publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        loop {
            match self.next().await {
                Some(Packet::PubAck(_)) => return Outcome::Granted,
                Some(_) => {}
                None => return Outcome::Ended,
            }
        }
    }

    /// The topic and payload of the next message.
    pub(crate) async fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Packet::Publish(message) = self.next().await.expect("the connection stands") {
                assert!(!message.retain, "nothing is retained");
                return (message.topic, message.payload.to_vec());
            }
        }
    }

    /// Waits until the broker ends the connection.
    pub(crate) async fn ended(&mut self) {
        while self.next().await.is_some() {}
    }
}
