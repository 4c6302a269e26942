//! The message broker: how changes reach agents and how reports come back (MQTT 3.1.1).
//!
//! The rest of the server knows the [`Broker`] trait and [`BrokerEvent`] only; [`Embedded`] is the broker inside this
//! process, an external one stands behind the same trait. What travels is sealed bytes; this module neither opens nor
//! stores it, and does not decide who a host is (that is [`Authenticate`], given by the caller).
//!
//! Invariants: a host reaches its own three topics and nothing else · nothing is retained and no session outlives its
//! connection · every queue is bounded, and so is the sum of them: what finds no room takes all that waits for its host with it,
//! and whoever published tells the host to fetch its map; nobody's connection ends by it · little is read from who did not prove itself yet · once a host was announced as online, exactly one `Offline` follows the last
//! of its connections, and never after the `Online` of a newer one.

mod chosen;
mod codec;
mod external;
mod frames;
mod listen;
mod mailbox;
#[cfg(test)]
mod numbers;
mod packet;
mod registry;
mod session;
pub mod settings;
mod websocket;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::HostId;
use tokio::sync::mpsc;

pub use ::wire::{PRESENCE_OFFLINE, PRESENCE_ONLINE};
pub use chosen::{Chosen, told};
pub use external::{
    AUTHENTICATE, AUTHORIZE, External, Guests, Hook, HostsOfIntent, Pauses, Usable, examine, probe,
};
pub use listen::Embedded;

/// Says whether `password` proves that the client is the host it names. Called for each CONNECT, from the connection's
/// own task; it must not block for long. A panic or `false` refuses.
pub type Authenticate = Arc<dyn Fn(HostId, &[u8]) -> bool + Send + Sync>;

/// What the server needs of a message broker, embedded or external.
pub trait Broker: Send + Sync {
    /// Hands `payload` to a host's map topic, at the quality with which it subscribed. Never waits; nothing is kept for a host
    /// that is not there. Messages are never lost in the middle: what does not arrive ends the connection, or is followed by
    /// word to fetch.
    fn publish(&self, host: HostId, payload: Bytes) -> Delivery;
    /// There is this host, or it has other keys now: it is to be let in by the password that these give. A broker that asks us
    /// at each log-in need not be told.
    fn admit(&self, _host: HostId) {}
    /// Ends the host's connection, if it has one, for instance because it was removed. It is let in again only if it is still
    /// there.
    fn kick(&self, host: HostId) -> bool;
    /// True from the host's presence message until its connection ended.
    fn is_online(&self, host: HostId) -> bool;
    /// True while something published now may reach the host: it listens to its map topic. True earlier than `is_online`:
    /// a host that listens and fetches its map must miss nothing that changes in between.
    fn is_listening(&self, host: HostId) -> bool;
    /// How many hosts are connected to this server.
    fn connected(&self) -> usize;
    /// What was published and did not leave yet. Cheap: to be asked before each telling.
    fn backlog(&self) -> Backlog;
    /// Why nothing can be carried now, if that is so.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// What waits to leave for hosts. While it is large, telling more makes queues longer and nobody wiser: changes are better
/// gathered meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Hosts that wait for us: they could take what waits for them if only the server came to it. Hosts that do not read
    /// or acknowledge are none of them, so that nobody waits for a host that hangs.
    pub hosts: usize,
    /// Messages that wait for any host, hanging ones as well.
    pub messages: usize,
    /// The bytes of these.
    pub bytes: usize,
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It waits for the host's connection to take it.
    Queued,
    /// The host is not connected, or does not listen yet. It asks for its map when it comes.
    Offline,
    /// There was no room, and all that waited for the host was dropped with it. It has to be told to fetch its map over
    /// HTTP; for a message as small as that there is room now.
    Full,
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
        host: HostId,
    },
    /// The host's connection ended, or it said farewell.
    Offline {
        /// Which host.
        host: HostId,
        /// Why.
        reason: Ended,
    },
    /// The host published on its report topic.
    Report {
        /// Which host.
        host: HostId,
        /// The payload, sealed.
        payload: Bytes,
    },
    /// A broker that is not ours can be reached, for the first time or again: any host may have missed anything.
    Restored,
    /// What was told lately may have missed this host. It is to be told to look whether its map is the newest.
    Missed {
        /// Which host.
        host: HostId,
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
    /// A broker that is not ours says so, or the host did not come back to it.
    Absent,
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
            Self::Absent => "the message broker says that it is gone",
        })
    }
}

/// Bounds of the embedded broker.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Hosts connected at the same time. Further ones are refused.
    pub connections: usize,
    /// Connections that have not authenticated yet. Further ones are refused and told when to come again.
    pub connecting: usize,
    /// How long a connection may take until its CONNECT was read.
    pub connect_timeout: Duration,
    /// Largest CONNECT packet; small, because it is read before the host is known.
    pub connect_bytes: usize,
    /// Largest packet from a host, once it proved itself; as much as a report over HTTP may have.
    pub up_bytes: usize,
    /// Largest payload to a host.
    pub down_bytes: usize,
    /// Messages sent to a host and not acknowledged yet. At that many, nothing more is sent to it.
    pub in_flight: usize,
    /// Messages waiting for a host. One more, and they all are dropped: the host is told to fetch its map instead.
    pub queue_messages: usize,
    /// Bytes waiting for a host, or one message. More, and they all are dropped: the host is told to fetch instead.
    pub queue_bytes: usize,
    /// Bytes waiting for all hosts together. Beyond half of it, hosts that have something waiting already are told to
    /// fetch instead; beyond all of it, every host is.
    pub queued_bytes: usize,
    /// How long a write may make no progress until the connection is ended.
    pub write_timeout: Duration,
    /// Longest keepalive; also used for a client that asks for none.
    pub max_keepalive: Duration,
    /// Room of the event channel. When it is full, connections are not read until there is room.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connecting: 4_096,
            connect_timeout: Duration::from_secs(10),
            connect_bytes: 4 * 1024,
            up_bytes: 64 * 1024,
            down_bytes: 1024 * 1024,
            in_flight: 32,
            queue_messages: 64,
            queue_bytes: 1024 * 1024,
            queued_bytes: 256 * 1024 * 1024,
            write_timeout: Duration::from_secs(10),
            max_keepalive: Duration::from_secs(300),
            events: 4_096,
        }
    }
}

/// The receiving end of what hosts did.
pub type Events = mpsc::Receiver<BrokerEvent>;
