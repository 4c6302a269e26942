//! The standing connection to the broker (MQTT 3.1.1): maps come in, reports and presence go out.
//!
//! Works with the embedded broker and with external ones, so it relies on nothing that only MQTT 5 has and on exact
//! topics only. Payloads are sealed bytes, neither opened nor kept here. Invariants: each connection starts clean, with
//! a fresh credential; what was on its way when one broke is lost, and the agent asks for its map when the next one
//! stands · the last will and a farewell both say "offline" · nothing queues without bound.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::{Connect, LastWill, Login, Packet, QoS};
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;
use wire::TopicKind;
pub use wire::{PRESENCE_OFFLINE, PRESENCE_ONLINE};

use super::url::BrokerUrl;
use super::{Backoff, Clear, Dialer, LinkError, Road, ServerTrust, late};
use conversation::{Conversation, Said};

mod conversation;

/// Words waiting for the connection to take them. When it is full, reports go over HTTP.
const WORDS: usize = 16;
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
    /// How far the connection may go where nobody proves anything.
    pub clear: Clear,
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
    /// Makes the connections.
    pub dialer: Dialer,
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
            clear: Clear::Here,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            acknowledge: true,
            down_bytes: 1024 * 1024,
            up_bytes: 64 * 1024 - ENVELOPE,
            dialer: Dialer::default(),
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

/// The connection that stands, if one does.
type Current = Arc<Mutex<Option<Standing>>>;

/// A connection that stands.
struct Standing {
    words: mpsc::Sender<Word>,
    road: Road,
}

/// Something to be said on one of this host's topics.
type Word = (TopicKind, Vec<u8>);

/// Sends reports and ends the link. Dropping it ends the link too, without waiting.
pub struct LinkHandle {
    current: Current,
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
        self.say((TopicKind::Report, payload))
    }

    /// Says once more that this host is there, to a server that may not have heard it.
    pub fn say_online(&self) -> Result<(), Undelivered> {
        self.say((TopicKind::Presence, PRESENCE_ONLINE.into()))
    }

    fn say(&self, word: Word) -> Result<(), Undelivered> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = current.as_ref().ok_or(Undelivered::NotConnected)?;
        standing.words.try_send(word).map_err(|error| match error {
            TrySendError::Full(_) => Undelivered::QueueFull,
            TrySendError::Closed(_) => Undelivered::NotConnected,
        })
    }

    /// How the connection that stands leaves this machine.
    pub fn road(&self) -> Option<Road> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|standing| standing.road)
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
        let url = BrokerUrl::parse(&options.url, &options.trust, options.clear)?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let (stop, stopping) = watch::channel(false);
        let current = Current::default();
        let up_bytes = options.up_bytes;
        let link = Self { options, url, events, current: current.clone(), stop: stopping };
        let task = tokio::spawn(link.run());
        Ok((LinkHandle { current, up_bytes, stop, task }, receiver))
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
        let mut stop = self.stop.clone();
        let subscribed_by = Instant::now() + 2 * self.options.connect_timeout;
        let opened = tokio::select! {
            opened = timeout(self.options.connect_timeout, self.open()) => opened,
            () = stopped(&mut stop) => return Outcome::Stopped,
        };
        let mut talk = match opened {
            Ok(Ok(talk)) => talk,
            Ok(Err(error)) => return Outcome::Failed(error),
            Err(_late) => return Outcome::Failed(late()),
        };
        let (words, mut waiting) = mpsc::channel(WORDS);
        let mut standing = Some(Standing { words, road: talk.road() });
        let mut ping_at = Instant::now() + self.keepalive();
        loop {
            let done = tokio::select! {
                () = sleep_until(subscribed_by), if stood_since.is_none() => return Outcome::Failed(late()),
                packet = talk.read() => match packet {
                    Ok(packet) => self.handle(packet, &mut talk, &mut standing, stood_since).await,
                    Err(error) => Err(Outcome::Failed(error)),
                },
                Some((kind, payload)) = waiting.recv(), if talk.has_room() => {
                    self.publish(&mut talk, kind, payload).await
                }
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + self.keepalive();
                    talk.ping().await.map_err(Outcome::Failed)
                }
                () = stopped(&mut stop) => {
                    if stood_since.is_some() {
                        self.farewell(&mut talk).await;
                    }
                    return Outcome::Stopped;
                }
            };
            match done {
                Ok(()) => {}
                Err(Outcome::Failed(LinkError::Lost(why))) if stood_since.is_none() => {
                    return Outcome::Failed(LinkError::Unreachable(why));
                }
                Err(outcome) => return outcome,
            }
        }
    }

    fn keepalive(&self) -> Duration {
        self.options.keepalive.clamp(Duration::from_secs(1), Duration::from_secs(u16::MAX.into()))
    }

    /// A connection that the broker has accepted, and that has asked for this host's maps.
    async fn open(&self) -> Result<Conversation, LinkError> {
        let LinkOptions { host_id: host, down_bytes, up_bytes, .. } = &self.options;
        let stream = self.url.connect(&self.options.dialer).await?;
        let presence = TopicKind::Presence.topic_of(host);
        let greeting = Connect {
            keep_alive: u16::try_from(self.keepalive().as_secs()).unwrap_or(u16::MAX),
            clean_session: true,
            last_will: Some(LastWill::new(presence, PRESENCE_OFFLINE, QoS::AtLeastOnce, false)),
            login: Some(Login::new(host, (self.options.password)())),
            ..Connect::new(host)
        };
        let limits = [down_bytes + ENVELOPE, up_bytes + ENVELOPE];
        let mut talk = Conversation::open(stream, greeting, limits, self.options.connect_timeout).await?;
        let quality = if self.options.acknowledge { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        talk.subscribe(&TopicKind::Map.topic_of(host), quality).await?;
        Ok(talk)
    }

    async fn handle(
        &self,
        packet: Packet,
        talk: &mut Conversation,
        standing: &mut Option<Standing>,
        stood_since: &mut Option<Instant>,
    ) -> Result<(), Outcome> {
        let map = TopicKind::Map.topic_of(&self.options.host_id);
        match talk.take(packet).await.map_err(Outcome::Failed)? {
            Said::Subscribed => {
                let Some(standing) = standing.take() else { return Ok(()) };
                self.publish(talk, TopicKind::Presence, PRESENCE_ONLINE.into()).await?;
                *stood_since = Some(Instant::now());
                self.set_current(Some(standing));
                self.tell(LinkEvent::Connected).await
            }
            Said::Message { topic, payload } if topic == map => self.tell(LinkEvent::Map(payload)).await,
            Said::Message { .. } | Said::Nothing => Ok(()),
        }
    }

    async fn publish(
        &self,
        talk: &mut Conversation,
        kind: TopicKind,
        payload: Vec<u8>,
    ) -> Result<(), Outcome> {
        talk.publish(&kind.topic_of(&self.options.host_id), payload).await.map_err(Outcome::Failed)
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
    async fn farewell(&self, talk: &mut Conversation) {
        let saying = async {
            self.publish(talk, TopicKind::Presence, PRESENCE_OFFLINE.into()).await?;
            talk.close().await.map_err(Outcome::Failed)
        };
        if !matches!(timeout(FAREWELL, saying).await, Ok(Ok(()))) {
            debug!("the broker did not hear the farewell");
        }
    }

    fn set_current(&self, standing: Option<Standing>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which ends the link too.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
