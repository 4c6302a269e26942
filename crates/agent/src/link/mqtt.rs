//! The standing connection to the broker (MQTT 3.1.1): maps come in, reports and presence go out.
//!
//! Works with the embedded broker and with external ones, so it relies on nothing that only MQTT 5 has and on exact
//! topics only. Payloads are sealed bytes, neither opened nor kept here. Invariants: each connection starts clean, with
//! a fresh credential; what was on its way when one broke is lost, and the agent asks for its map when the next one
//! stands · the last will and a farewell both say "offline" · nothing queues without bound.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, NetworkOptions, Outgoing,
    Packet, QoS, SubscribeReasonCode,
};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;
use wire::TopicKind;
pub use wire::{PRESENCE_OFFLINE, PRESENCE_ONLINE};

use super::error::{root_cause, tls_cause};
use super::url::BrokerUrl;
use super::{Backoff, LinkError, ServerTrust};

/// Unacknowledged messages at a time; further ones wait among `REPORTS`. The library sets memory aside for each.
const IN_FLIGHT: u16 = 32;
/// Reports waiting for the connection to take them. When it is full, reports go over HTTP.
const REPORTS: usize = 16;
/// Events waiting for the agent. When it does not take them, the link stops reading.
const EVENTS: usize = 64;
/// What MQTT adds to a payload, at most, for our topics.
const ENVELOPE: usize = 256;
/// A connection that stood this long counts as a success, and pauses start small again.
const STABLE: Duration = Duration::from_secs(10);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Makes a fresh credential for each attempt to connect: it carries the time, so an old one is refused.
pub type PasswordProvider = Arc<dyn Fn() -> String + Send + Sync>;

/// How to connect.
#[derive(Clone)]
pub struct LinkOptions {
    /// `wss:`, `ws:`, `mqtts:` or `mqtt:` address of the broker.
    pub url: String,
    /// This host's id: client id, user name, and part of its topics.
    pub host_id: String,
    /// Makes the password.
    pub password: PasswordProvider,
    /// How often to show that we are there, at least; whole seconds.
    pub keepalive: Duration,
    /// How the broker proves who it is.
    pub trust: ServerTrust,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// How long connecting may take; the broker's answers after that as long again.
    pub connect_timeout: Duration,
    /// Whether each message is acknowledged (QoS 1). The server's own broker loses none while the connection stands, and what
    /// comes after a connection was lost is asked for anyway: then acknowledging is a packet for nothing.
    pub acknowledge: bool,
    /// Largest payload taken from the server.
    pub down_bytes: usize,
    /// Largest report sent.
    pub up_bytes: usize,
}

impl LinkOptions {
    /// Options with the usual limits.
    pub fn new(url: String, host_id: String, password: PasswordProvider, trust: ServerTrust) -> Self {
        Self {
            url,
            host_id,
            password,
            keepalive: Duration::from_secs(20),
            trust,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            acknowledge: true,
            down_bytes: 1024 * 1024,
            up_bytes: 64 * 1024 - ENVELOPE,
        }
    }
}

impl fmt::Debug for LinkOptions {
    // The password stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkOptions")
            .field("url", &self.url)
            .field("host_id", &self.host_id)
            .field("keepalive", &self.keepalive)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// What the link tells the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected and subscribed: changes from now on arrive. What happened before has to be asked for.
    Connected,
    /// No connection (any more); the link tries again by itself.
    Disconnected {
        /// Why.
        reason: LinkError,
        /// When it tries again.
        retry_in: Duration,
    },
    /// A message on this host's map topic.
    Map(Vec<u8>),
}

/// Why a report was not taken. The caller sends it over HTTP, or later.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Undelivered {
    /// There is no connection now.
    #[error("there is no connection to the message broker")]
    NotConnected,
    /// The connection does not keep up.
    #[error("the connection to the message broker does not keep up")]
    QueueFull,
    /// Larger than the broker takes.
    #[error("the report is larger than {limit} bytes")]
    TooLarge {
        /// How much it takes.
        limit: usize,
    },
}

/// The standing connection: see [`Link::connect`].
pub struct Link {
    options: LinkOptions,
    url: BrokerUrl,
    events: mpsc::Sender<LinkEvent>,
    current: Current,
    stop: watch::Receiver<bool>,
}

/// The client of the connection that stands, if one does.
type Current = Arc<Mutex<Option<AsyncClient>>>;

/// Sends reports and ends the link. Dropping it ends the link too, without waiting.
pub struct LinkHandle {
    current: Current,
    report_topic: String,
    up_bytes: usize,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl LinkHandle {
    /// Hands a report to the connection, at QoS 1. `Ok` means on its way: if the connection breaks before it was
    /// acknowledged it is lost, so the agent reports anew after each [`LinkEvent::Connected`].
    pub fn publish_report(&self, payload: Vec<u8>) -> Result<(), Undelivered> {
        if payload.len() > self.up_bytes {
            return Err(Undelivered::TooLarge { limit: self.up_bytes });
        }
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let client = current.as_ref().ok_or(Undelivered::NotConnected)?;
        client
            .try_publish(&self.report_topic, QoS::AtLeastOnce, false, payload)
            .map_err(|_| Undelivered::QueueFull)
    }

    /// Says farewell to the server and ends.
    pub async fn close(self) {
        self.stop.send_replace(true);
        if timeout(2 * FAREWELL, self.task).await.is_err() {
            debug!("the link to the broker did not end in time");
        }
    }
}

/// How one connection ended.
enum Outcome {
    Failed(LinkError),
    /// The agent wants no more of it.
    Stopped,
}

impl Link {
    /// Connects, and from then on keeps connected, in a task of its own. Fails only if the options cannot work.
    pub fn connect(options: LinkOptions) -> Result<(LinkHandle, mpsc::Receiver<LinkEvent>), LinkError> {
        let url = BrokerUrl::parse(&options.url, &options.trust)?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let (stop, stopping) = watch::channel(false);
        let current = Current::default();
        let (report_topic, up_bytes) = (TopicKind::Report.topic_of(&options.host_id), options.up_bytes);
        let link = Self { options, url, events, current: current.clone(), stop: stopping };
        let task = tokio::spawn(link.run());
        Ok((LinkHandle { current, report_topic, up_bytes, stop, task }, receiver))
    }

    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let mut stood_since = None;
            let outcome = self.connection(&mut stood_since).await;
            self.set_current(None);
            let Outcome::Failed(reason) = outcome else {
                return;
            };
            if stood_since.is_some_and(|since| since.elapsed() >= STABLE) {
                failures = 0;
            }
            let retry_in = self.options.backoff.pause(failures);
            failures = failures.saturating_add(1);
            debug!(%reason, ?retry_in, "no connection to the broker");
            let mut stop = self.stop.clone();
            let pause = async {
                let told = self.events.send(LinkEvent::Disconnected { reason, retry_in }).await.is_ok();
                sleep(retry_in).await;
                told
            };
            let go_on = tokio::select! {
                told = pause => told,
                () = stopped(&mut stop) => false,
            };
            if !go_on {
                return;
            }
        }
    }

    /// One connection from the first packet to its end.
    async fn connection(&mut self, stood_since: &mut Option<Instant>) -> Outcome {
        let (client, mut events) = self.prepare();
        let mut stop = self.stop.clone();
        let subscribed_by = Instant::now() + 2 * self.options.connect_timeout;
        loop {
            tokio::select! {
                () = sleep_until(subscribed_by), if stood_since.is_none() => {
                    return Outcome::Failed(LinkError::Unreachable("it did not answer in time".to_owned()));
                }
                event = events.poll() => {
                    let handled = match event {
                        Ok(event) => self.handle(event, &client, stood_since).await,
                        Err(error) => Err(Outcome::Failed(error_of(&error, stood_since.is_some()))),
                    };
                    if let Err(outcome) = handled {
                        return outcome;
                    }
                }
                () = stopped(&mut stop) => {
                    if stood_since.is_some() {
                        self.farewell(&client, &mut events).await;
                    }
                    return Outcome::Stopped;
                }
            }
        }
    }

    fn prepare(&self) -> (AsyncClient, EventLoop) {
        let host = &self.options.host_id;
        let will =
            LastWill::new(TopicKind::Presence.topic_of(host), PRESENCE_OFFLINE, QoS::AtLeastOnce, false);
        let keepalive =
            self.options.keepalive.clamp(Duration::from_secs(1), Duration::from_secs(u16::MAX.into()));
        let mut options = self.url.options(host);
        options
            .set_credentials(host, (self.options.password)())
            .set_last_will(will)
            .set_keep_alive(keepalive)
            .set_clean_session(true)
            .set_inflight(IN_FLIGHT)
            .set_max_packet_size(self.options.down_bytes + ENVELOPE, self.options.up_bytes + ENVELOPE);
        let (client, mut events) = AsyncClient::new(options, REPORTS);
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(self.options.connect_timeout.as_secs().max(1));
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        (client, events)
    }

    async fn handle(
        &mut self,
        event: Event,
        client: &AsyncClient,
        stood_since: &mut Option<Instant>,
    ) -> Result<(), Outcome> {
        let host = &self.options.host_id;
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let quality = if self.options.acknowledge { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                client.try_subscribe(TopicKind::Map.topic_of(host), quality).map_err(|_| confused())
            }
            Event::Incoming(Packet::SubAck(answer)) if stood_since.is_none() => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(Outcome::Failed(LinkError::NotAuthorised));
                }
                client
                    .try_publish(TopicKind::Presence.topic_of(host), QoS::AtLeastOnce, false, PRESENCE_ONLINE)
                    .map_err(|_| confused())?;
                *stood_since = Some(Instant::now());
                self.set_current(Some(client.clone()));
                self.tell(LinkEvent::Connected).await
            }
            Event::Incoming(Packet::Publish(message)) if message.topic == TopicKind::Map.topic_of(host) => {
                self.tell(LinkEvent::Map(message.payload.to_vec())).await
            }
            Event::Incoming(_) | Event::Outgoing(_) => Ok(()),
        }
    }

    /// Waits while the agent is busy, unless it ends the link or is gone.
    async fn tell(&self, event: LinkEvent) -> Result<(), Outcome> {
        let mut stop = self.stop.clone();
        tokio::select! {
            told = self.events.send(event) => told.map_err(|_| Outcome::Stopped),
            () = stopped(&mut stop) => Ok(()),
        }
    }

    /// A clean end makes the broker forget the last will, so "offline" is said aloud.
    async fn farewell(&self, client: &AsyncClient, events: &mut EventLoop) {
        let presence = TopicKind::Presence.topic_of(&self.options.host_id);
        let said = client
            .try_publish(presence, QoS::AtLeastOnce, false, PRESENCE_OFFLINE)
            .and_then(|()| client.try_disconnect());
        if said.is_err() {
            return;
        }
        let deadline = Instant::now() + FAREWELL;
        loop {
            tokio::select! {
                event = events.poll() => match event {
                    Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
                    Ok(_) => {}
                },
                () = sleep_until(deadline) => return,
            }
        }
    }

    fn set_current(&self, client: Option<AsyncClient>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// The queue of a new connection has room, unless the broker answers what was not asked.
fn confused() -> Outcome {
    Outcome::Failed(LinkError::Lost("the broker broke the protocol".to_owned()))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which ends the link too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn error_of(error: &ConnectionError, stood: bool) -> LinkError {
    if let Some(error) = tls_cause(error) {
        return error;
    }
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::BadClientId => LinkError::NotAuthorised,
            ConnectReturnCode::ServiceUnavailable => {
                LinkError::Refused("the broker is full or shutting down".to_owned())
            }
            ConnectReturnCode::RefusedProtocolVersion => {
                LinkError::Refused("the broker does not speak MQTT 3.1.1".to_owned())
            }
            ConnectReturnCode::Success => LinkError::Lost("the broker contradicted itself".to_owned()),
        },
        ConnectionError::NetworkTimeout if !stood => {
            LinkError::Unreachable("it did not answer in time".to_owned())
        }
        ConnectionError::Websocket(error) if !stood => match root_cause(error) {
            text if text.starts_with("HTTP error") => LinkError::Refused(format!("no broker there: {text}")),
            text => LinkError::Unreachable(text),
        },
        other if stood => LinkError::Lost(root_cause(other)),
        other => LinkError::Unreachable(root_cause(other)),
    }
}

#[cfg(test)]
mod tests;
