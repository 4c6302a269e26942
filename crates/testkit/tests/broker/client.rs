//! An MQTT client that does as it is told, rightly or wrongly; not the agent's own link.

use model::HostId;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet,
    Publish, QoS, SubscribeReasonCode, Transport,
};
use tokio::time::timeout;

use crate::server::{DEADLINE, Server, password_of};

pub(crate) struct Client {
    pub(crate) mqtt: AsyncClient,
    pub(crate) events: EventLoop,
}

/// Options of a well-behaved host.
pub(crate) fn options(server: &Server, host: HostId) -> MqttOptions {
    let mut options = MqttOptions::new(host.to_string(), server.url(), server.address.port());
    options
        .set_transport(Transport::Ws)
        .set_credentials(host.to_string(), password_of(host))
        .set_last_will(LastWill::new(topic(host, "presence"), "offline", QoS::AtLeastOnce, false))
        .set_inflight(32)
        .set_max_packet_size(1 << 20, 1 << 20);
    options
}

pub(crate) fn topic(host: HostId, channel: &str) -> String {
    format!("netloom/v1/host/{host}/{channel}")
}

/// Connects, or says how it was refused.
pub(crate) async fn connect(options: MqttOptions) -> Result<Client, ConnectReturnCode> {
    let (mqtt, mut events) = AsyncClient::new(options, 100);
    match timeout(DEADLINE, events.poll()).await.expect("no answer to CONNECT in time") {
        Ok(Event::Incoming(Packet::ConnAck(_))) => Ok(Client { mqtt, events }),
        Err(ConnectionError::ConnectionRefused(code)) => Err(code),
        other => panic!("neither accepted nor refused: {other:?}"),
    }
}

/// Connects as the host itself, subscribes to its map, and says that it is there.
pub(crate) async fn join(server: &Server, host: HostId) -> Client {
    let mut client = connect(options(server, host)).await.expect("the host is welcome");
    assert!(client.subscribe(&topic(host, "map")).await);
    client.publish(&topic(host, "presence"), "online").await.expect("the host may say that it is there");
    client
}

impl Client {
    async fn next(&mut self) -> Result<Packet, ConnectionError> {
        loop {
            if let Event::Incoming(packet) =
                timeout(DEADLINE, self.events.poll()).await.expect("nothing came in time")?
            {
                return Ok(packet);
            }
        }
    }

    /// True if granted.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> bool {
        self.mqtt.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
        loop {
            if let Packet::SubAck(answer) = self.next().await.expect("the connection stands") {
                return !answer.return_codes.contains(&SubscribeReasonCode::Failure);
            }
        }
    }

    /// Publishes and waits for the acknowledgement; an error if the connection ended instead.
    pub(crate) async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Vec<u8>>,
    ) -> Result<(), ConnectionError> {
        self.mqtt.try_publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        loop {
            if let Packet::PubAck(_) = self.next().await? {
                return Ok(());
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Publish {
        loop {
            if let Packet::Publish(message) = self.next().await.expect("the connection stands") {
                return message;
            }
        }
    }

    /// Waits until the broker ends the connection.
    pub(crate) async fn ended(&mut self) {
        while self.next().await.is_ok() {}
    }
}
