//! What an agent says it saw and did. Sent when something in it changed, never by the clock.

use minicbor::{Decode, Encode};
use model::{Endpoint, Generation, MemberId, Timestamp};
use serde::{Deserialize, Serialize};

/// What a machine is: shown to people, decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Facts {
    /// `linux`, `macos` …
    #[n(0)]
    pub os: String,
    /// The release's name, such as `Debian GNU/Linux 12 (bookworm)`.
    #[n(1)]
    pub release: String,
    /// `x86_64`, `aarch64` …
    #[n(2)]
    pub arch: String,
    /// The kernel's version.
    #[n(3)]
    pub kernel: String,
    /// The agent's version.
    #[n(4)]
    pub agent: String,
    /// `kernel` or `userspace`: whose WireGuard it is.
    #[n(5)]
    pub wireguard: String,
}

/// An op that failed, in words.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Outcome {
    /// What was tried.
    #[n(0)]
    pub op: String,
    /// What went wrong.
    #[n(1)]
    pub error: String,
}

/// What an agent saw and did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Report {
    /// The map it has carried out.
    #[n(0)]
    pub generation: Generation,
    /// What the machine is.
    #[n(1)]
    pub facts: Facts,
    /// Its own addresses with its WireGuard port; ordered, without those of its own tunnels.
    #[n(2)]
    pub local: Vec<Endpoint>,
    /// Ops that failed; empty when all is as wanted.
    #[n(3)]
    pub failures: Vec<Outcome>,
    /// Clients that this host let in, by id.
    #[cbor(n(4), default, skip_if = "Vec::is_empty")]
    #[serde(default)]
    pub clients: Vec<ClientSeen>,
    /// When this was said, by the host's clock: how long ago its other times were is all that anybody else can know.
    #[n(5)]
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// A client that came in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct ClientSeen {
    /// The client.
    #[n(0)]
    pub id: MemberId,
    /// Where it comes from.
    #[n(1)]
    pub endpoint: Option<Endpoint>,
    /// When its session began: of a session's later handshakes only each tenth minute's is told.
    #[n(2)]
    pub handshake: Timestamp,
    /// It was heard after this moment, whether or not with a handshake; none: nothing more is known.
    #[n(3)]
    #[serde(default)]
    pub heard: Option<Timestamp>,
}

impl Report {
    /// At most this many local endpoints count.
    pub const MOST_LOCAL: usize = 16;
    /// At most this many failures are told.
    pub const MOST_FAILURES: usize = 16;
    /// At most this many clients are told.
    pub const MOST_CLIENTS: usize = 4_096;
}
