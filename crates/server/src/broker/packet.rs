//! The MQTT 3.1.1 packets that a broker receives, as values; [`super::codec`] reads them.
//!
//! Only what QoS 0 and 1 need: a QoS 2 exchange is refused when its first packet is read.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// Quality of service of a message. There is no "exactly once" here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qos {
    AtMostOnce,
    AtLeastOnce,
}

/// A packet from a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Connect(Connect),
    Publish(Publish),
    PubAck { id: u16 },
    Subscribe(Subscribe),
    Unsubscribe { id: u16, filters: Vec<String> },
    PingReq,
    Disconnect,
}

/// A client introduces itself.
#[derive(PartialEq, Eq)]
pub(super) struct Connect {
    pub(super) client_id: String,
    /// Seconds; zero asks for none.
    pub(super) keepalive: u16,
    pub(super) will_topic: Option<String>,
    pub(super) user_name: Option<String>,
    pub(super) password: Option<Bytes>,
}

impl fmt::Debug for Connect {
    // The password stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("client_id", &self.client_id)
            .field("keepalive", &self.keepalive)
            .field("will_topic", &self.will_topic)
            .finish_non_exhaustive()
    }
}

/// A client sends a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) topic: String,
    /// Set if the client wants an acknowledgement.
    pub(super) id: Option<u16>,
    pub(super) payload: Bytes,
}

/// A client asks for topics.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subscribe {
    pub(super) id: u16,
    /// Filter and the quality asked for, already capped at what we grant.
    pub(super) filters: Vec<(String, Qos)>,
}

/// Why bytes are not a packet that we take.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("a packet larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("a length that is longer than four bytes")]
    Length,
    #[error("a packet that ends before its fields do, or goes on after them")]
    Shape,
    #[error("flags that this kind of packet must not have")]
    Flags,
    #[error("a text that is not UTF-8 or contains a zero")]
    Text,
    #[error("packet id zero")]
    PacketId,
    #[error("a packet of kind {0}, which clients do not send here")]
    Kind(u8),
    #[error("QoS 2, which is not offered here")]
    Qos,
    #[error("protocol level {0}; only MQTT 3.1.1 (level 4) is spoken here")]
    Protocol(u8),
    #[error("more than {limit} filters in one packet")]
    Filters { limit: usize },
}

/// Return codes of CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Accepted = 0,
    UnacceptableProtocol = 1,
    IdentifierRejected = 2,
    Unavailable = 3,
    BadCredentials = 4,
    NotAuthorised = 5,
}
