//! The message broker: how changes reach agents and how reports come back (MQTT 3.1.1).
//!
//! The rest of the server knows the [`Broker`] trait and [`BrokerEvent`] only; [`Embedded`] is the broker inside this
//! process, an external one stands behind the same trait. What travels is sealed bytes; this module neither opens nor
//! stores it, and does not decide who a host is (that is [`Authenticate`], given by the caller).
//!
//! Invariants: a host reaches its own three topics and nothing else · nothing is retained and no session outlives its
//! connection · every queue is bounded, and so is the sum of them: what finds no room ends its host's connection, its queue is
//! dropped, and the host fetches its map when it is back · little is read from who did not prove itself yet · once a host was announced as online, exactly one `Offline` follows the last
//! of its connections, and never after the `Online` of a newer one.

mod codec;
mod listen;
mod packet;
mod registry;
mod session;
mod websocket;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use ::wire::{PRESENCE_OFFLINE, PRESENCE_ONLINE};
pub use listen::Embedded;

/// Says whether `password` proves that the client is the host it names. Called for each CONNECT, from the connection's
/// own task; it must not block for long. A panic or `false` refuses.
pub type Authenticate = Arc<dyn Fn(&str, &[u8]) -> bool + Send + Sync>;

/// What the server needs of a message broker, embedded or external.
pub trait Broker: Send + Sync {
    /// Hands `payload` to a host's map topic at QoS 1. Never waits; nothing is kept for a host that is not there.
    fn publish(&self, host: &str, payload: Bytes) -> Delivery;
    /// Ends the host's connection, if it has one, for instance because it was removed.
    fn kick(&self, host: &str) -> bool;
    /// True from the host's presence message until its connection ended.
    fn is_online(&self, host: &str) -> bool;
    /// True while something published now may reach the host: it listens to its map topic. True earlier than `is_online`:
    /// a host that listens and fetches its map must miss nothing that changes in between.
    fn is_listening(&self, host: &str) -> bool;
    /// How many hosts are connected to this server.
    fn connected(&self) -> usize;
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It waits for the host's connection to take it.
    Queued,
    /// The host is not connected, or does not listen yet. It asks for its map when it comes.
    Offline,
    /// The host does not keep up: its connection was ended, and it will fetch its map over HTTP when it is back.
    TooSlow,
    /// Larger than a packet may be. The host has to fetch its map over HTTP.
    TooLarge,
}

/// What hosts did. Reported in order for each host, over a bounded channel: when it is full the connections wait, so
/// that agents feel the pressure and nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerEvent {
    /// The host is connected, listens to its map topic and said so. May come again without an `Offline` in between,
    /// when a newer connection took over.
    Online {
        /// Which host.
        host: Arc<str>,
    },
    /// The host's connection ended, or it said farewell.
    Offline {
        /// Which host.
        host: Arc<str>,
        /// Why.
        reason: Ended,
    },
    /// The host published on its report topic.
    Report {
        /// Which host.
        host: Arc<str>,
        /// The payload, sealed.
        payload: Bytes,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The host said farewell.
    Left,
    /// The connection broke: the process died, a reset came.
    Lost,
    /// Nothing was heard for one and a half keepalives.
    Silent,
    /// The host did not read what was sent to it.
    TooSlow,
    /// The server ended it, see [`Broker::kick`].
    Kicked,
    /// A newer connection of the same host took its place.
    TakenOver,
    /// The host tried to reach a topic that is not its own.
    Forbidden,
    /// The host broke the protocol, or sent a packet that is too large.
    Violation,
    /// The server is shutting down.
    Shutdown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "it said farewell",
            Self::Lost => "the connection broke",
            Self::Silent => "nothing was heard for one and a half keepalives",
            Self::TooSlow => "it did not read what was sent to it",
            Self::Kicked => "the server ended the connection",
            Self::TakenOver => "a newer connection of the same host took over",
            Self::Forbidden => "it tried to reach a topic that is not its own",
            Self::Violation => "it broke the MQTT protocol or sent too large a packet",
            Self::Shutdown => "the server is shutting down",
        })
    }
}

/// Bounds of the embedded broker.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Hosts connected at the same time.
    pub connections: usize,
    /// Connections that have not authenticated yet.
    pub connecting: usize,
    /// How long a connection may take until its CONNECT was read.
    pub connect_timeout: Duration,
    /// Largest CONNECT packet; small, because it is read before the host is known.
    pub connect_bytes: usize,
    /// Largest packet from a host, once it proved itself; as much as a report over HTTP may have.
    pub up_bytes: usize,
    /// Largest payload to a host.
    pub down_bytes: usize,
    /// Messages sent to a host and not acknowledged yet.
    pub in_flight: usize,
    /// Messages waiting for a host.
    pub queue_messages: usize,
    /// Bytes waiting for a host.
    pub queue_bytes: usize,
    /// Bytes waiting for all hosts together.
    pub queued_bytes: usize,
    /// How long one write may take.
    pub write_timeout: Duration,
    /// Longest keepalive; also used for a client that asks for none.
    pub max_keepalive: Duration,
    /// Room of the event channel.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connecting: 1_024,
            connect_timeout: Duration::from_secs(10),
            connect_bytes: 4 * 1024,
            up_bytes: 64 * 1024,
            down_bytes: 1024 * 1024,
            in_flight: 32,
            queue_messages: 64,
            queue_bytes: 4 * 1024 * 1024,
            queued_bytes: 256 * 1024 * 1024,
            write_timeout: Duration::from_secs(10),
            max_keepalive: Duration::from_secs(300),
            events: 4_096,
        }
    }
}

/// The receiving end of what hosts did.
pub type Events = mpsc::Receiver<BrokerEvent>;

/// A host id has to be one level of a topic and free of wildcards.
fn is_host_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use ::wire::TopicKind;

    use super::*;

    #[test]
    fn a_host_owns_its_three_topics_and_no_others() {
        assert_eq!(TopicKind::of_own("a", &TopicKind::Map.topic_of("a")), Some(TopicKind::Map));
        assert_eq!(TopicKind::of_own("a", &TopicKind::Report.topic_of("a")), Some(TopicKind::Report));
        assert_eq!(TopicKind::of_own("a", &TopicKind::Presence.topic_of("a")), Some(TopicKind::Presence));
        let foreign = [
            TopicKind::Map.topic_of("b"),
            TopicKind::Map.topic_of("aa"),
            TopicKind::Map.topic_of("+"),
            "#".into(),
            "netloom/v1/host/a/#".into(),
            "netloom/v1/host/a/map/".into(),
            format!("$share/g/{}", TopicKind::Map.topic_of("a")),
            "$SYS/broker/clients".into(),
            String::new(),
        ];
        for topic in foreign {
            assert_eq!(TopicKind::of_own("a", &topic), None, "{topic}");
        }
    }

    #[test]
    fn a_host_id_is_one_plain_topic_level() {
        assert!(is_host_id("0192f1c6-93a0-7c55-8d1e-000000000001"));
        for id in ["", "+", "#", "a/b", "$SYS", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_host_id(id), "{id}");
        }
    }
}
