//! One connection to a broker that is not ours, in MQTT 3.1.1.
//!
//! Not for what is said over it. It keeps true that what comes is read only as fast as it is taken, that a broker that falls
//! silent is noticed, and that what a connection left behind never shows up in the next one.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet, Publish, QoS,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Target;
use crate::broker::settings::Carrier;

/// How often to show that we are there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A broker of which nothing was heard for so long, although it was asked, is gone.
const SILENCE: Duration = Duration::from_secs(25);
/// How long connecting may take, and each answer that is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Messages on their way that the broker did not confirm yet.
const IN_FLIGHT: u16 = 256;
/// Requests and packets that wait between two of our tasks: few, as what waits here is lost with the connection.
const HANDS: usize = 16;
/// What MQTT adds to a payload, at most, for our topics.
const ENVELOPE: usize = 256;
/// The largest packet taken. A host's may be much smaller, but one that is too large ends the connection, and lists of accounts
/// are long.
const MOST_INCOMING: usize = 8 * 1024 * 1024;
/// Messages that came before the broker confirmed what was subscribed to.
const EARLY: usize = 4096;

/// Why there is no connection, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It is not there.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It does not believe that we are who we say.
    #[error("it refuses our user name and password; see `broker_user` and `broker_password_file`")]
    NotAuthorised,
    /// It does not let us hear what hosts say.
    #[error("it does not let us subscribe to {0}; see what rights the user has there")]
    NoRights(String),
    /// The connection ended.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// Its accounts cannot be kept.
    #[error("{0}")]
    Accounts(String),
}

/// What to send.
pub(super) struct Letter {
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

/// A connection that stands.
pub(super) struct Talk {
    client: AsyncClient,
    packets: mpsc::Receiver<Result<Packet, Trouble>>,
    early: std::collections::VecDeque<Publish>,
    _tasks: JoinSet<()>,
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talk").finish_non_exhaustive()
    }
}

impl Talk {
    /// Connects.
    pub(super) async fn open(target: &Target) -> Result<Self, Trouble> {
        let (client, mut events) = AsyncClient::new(options(target), HANDS);
        match timeout(PATIENCE, events.poll()).await {
            Ok(Ok(_greeted)) => {}
            Ok(Err(error)) => return Err(refused(&error)),
            Err(_late) => return Err(Trouble::Unreachable("it does not answer".to_owned())),
        }
        let (hand, packets) = mpsc::channel(HANDS);
        let mut tasks = JoinSet::new();
        tasks.spawn(read(events, hand));
        Ok(Self { client, packets, early: std::collections::VecDeque::new(), _tasks: tasks })
    }

    /// A hand that sends letters, for a task of its own.
    pub(super) fn sender(&self) -> AsyncClient {
        self.client.clone()
    }

    /// Subscribes, and waits until that is granted.
    pub(super) async fn subscribe(&mut self, topics: &[String]) -> Result<(), Trouble> {
        let filters =
            topics.iter().map(|topic| SubscribeFilter { path: topic.clone(), qos: QoS::AtLeastOnce });
        let asked = self.client.try_subscribe_many(filters);
        asked.map_err(|error| Trouble::Lost(error.to_string()))?;
        let granted = async {
            loop {
                match self.packet().await? {
                    Packet::SubAck(answer) => return Ok(answer.return_codes),
                    Packet::Publish(message) if self.early.len() < EARLY => self.early.push_back(message),
                    // The library's own enum: nothing else matters now.
                    _ => {}
                }
            }
        };
        let codes = timeout(PATIENCE, granted).await;
        let codes: Vec<SubscribeReasonCode> =
            codes.map_err(|_late| Trouble::Lost("it does not answer".to_owned()))??;
        if codes.contains(&SubscribeReasonCode::Failure) {
            return Err(Trouble::NoRights(topics.join(" and ")));
        }
        Ok(())
    }

    /// The next message. Loses nothing when it is not waited for any longer.
    pub(super) async fn message(&mut self) -> Result<Publish, Trouble> {
        if let Some(message) = self.early.pop_front() {
            return Ok(message);
        }
        loop {
            if let Packet::Publish(message) = self.packet().await? {
                return Ok(message);
            }
        }
    }

    async fn packet(&mut self) -> Result<Packet, Trouble> {
        let gone = || Trouble::Lost("its task ended".to_owned());
        self.packets.recv().await.ok_or_else(gone)?
    }

    /// Says farewell, as far as there is time.
    pub(super) async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            let ended = async { while self.packet().await.is_ok() {} };
            // Whether it heard that does not matter.
            let _ended = timeout(Duration::from_secs(1), ended).await;
        }
    }
}

/// Sends a letter; waits while the broker confirms too little.
pub(super) async fn send(client: &AsyncClient, letter: Letter) -> bool {
    client.publish_bytes(letter.topic, QoS::AtLeastOnce, false, letter.payload).await.is_ok()
}

/// Drives the connection. In a task of its own: what is half done there must not be dropped.
async fn read(mut events: EventLoop, hand: mpsc::Sender<Result<Packet, Trouble>>) {
    loop {
        let packet = match timeout(SILENCE, events.poll()).await {
            Ok(Ok(Event::Incoming(packet))) => Ok(packet),
            Ok(Ok(Event::Outgoing(_))) => continue,
            Ok(Err(error)) => Err(Trouble::Lost(error.to_string())),
            Err(_late) => Err(Trouble::Lost("nothing was heard from it".to_owned())),
        };
        let is_over = packet.is_err();
        if hand.send(packet).await.is_err() || is_over {
            return;
        }
    }
}

fn options(target: &Target) -> MqttOptions {
    let address = &target.address;
    let tls = || TlsConfiguration::Rustls(target.tls.clone());
    let (host, transport) = match (address.carrier, address.is_secure) {
        (Carrier::Stream, true) => (&address.host, Transport::Tls(tls())),
        (Carrier::Stream, false) => (&address.host, Transport::Tcp),
        (Carrier::WebSocket, true) => (&address.text, Transport::Wss(tls())),
        (Carrier::WebSocket, false) => (&address.text, Transport::Ws),
    };
    let mut options = MqttOptions::new(target.client.clone(), host.clone(), address.port);
    options
        .set_transport(transport)
        .set_credentials(target.user.clone(), target.password.expose())
        .set_keep_alive(KEEPALIVE)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(MOST_INCOMING, target.down_bytes + ENVELOPE);
    options
}

fn refused(error: &ConnectionError) -> Trouble {
    if let ConnectionError::ConnectionRefused(
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
    ) = error
    {
        return Trouble::NotAuthorised;
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    Trouble::Unreachable(reason.to_string())
}
