//! The server's own state.

use model::{Digest, Timestamp, WgPublicKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// The database's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatabaseStatus {
    /// Which it is.
    #[schema(example = "sqlite")]
    pub kind: String,
    /// Whether it answers.
    pub ok: bool,
    /// What is wrong, when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its size in bytes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// How a server stands to the message broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BrokerState {
    /// This server leads, and the broker carries its messages.
    Working,
    /// This server leads, and the broker does not carry its messages.
    Failing,
    /// This server follows, so the broker is another one's: the server that leads sees to it.
    Elsewhere,
}

/// The message broker's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrokerStatus {
    /// Which it is.
    #[schema(example = "embedded")]
    pub kind: String,
    /// How this server stands to it.
    pub state: BrokerState,
    /// What is wrong, when it is failing; which server sees to it, when another one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many agents are connected.
    pub agents: u64,
}

/// How much of everything there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Networks.
    pub networks: u64,
    /// Hosts.
    pub hosts: u64,
    /// Hosts whose agent is connected.
    pub hosts_online: u64,
    /// Nodes.
    pub nodes: u64,
    /// Enrollment keys.
    pub keys: u64,
    /// Accounts.
    pub users: u64,
}

/// One identity of the rendezvous.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rendezvous {
    /// Its UDP port.
    pub port: u16,
    /// Its WireGuard key.
    #[schema(value_type = schema::WireguardKey)]
    pub key: WgPublicKey,
}

/// A change of the server's own keys that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RekeyStatus {
    /// Hosts that have not heard of the next keys yet; those that still speak by them where it is taken back.
    pub hosts_left: u64,
    /// Whether it was abandoned, and is taken back.
    #[serde(default)]
    pub taken_back: bool,
}

/// The server's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerStatus {
    /// Its version.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// When it was started.
    #[schema(value_type = schema::Timestamp)]
    pub started: Timestamp,
    /// Its clock.
    #[schema(value_type = schema::Timestamp)]
    pub now: Timestamp,
    /// The addresses of its API that tokens name, best first.
    #[schema(example = json!(["https://vpn.example.org:8443"]))]
    pub addresses: Vec<String>,
    /// The pin of its certificate; null when the certificate is publicly trusted, or there is no TLS.
    #[schema(value_type = Option<schema::Pin>)]
    pub pin: Option<Digest>,
    /// The rendezvous' identities: two, or none when it is off.
    pub rendezvous: Vec<Rendezvous>,
    /// The number of the last committed change.
    pub seq: u64,
    /// The database.
    pub database: DatabaseStatus,
    /// The broker.
    pub broker: BrokerStatus,
    /// A change of the server's own keys; null when none is under way.
    #[serde(default)]
    pub rekey: Option<RekeyStatus>,
    /// How much there is.
    pub counts: Counts,
}

/// One of the servers that share a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Server {
    /// Its id: made once, kept in its data folder.
    #[schema(example = "3f1c9a5be0d27714")]
    pub id: String,
    /// What it calls itself.
    #[schema(example = "vpn-1")]
    pub name: String,
    /// Where the other servers reach it.
    #[schema(example = "https://vpn-1.example.org:8443")]
    pub address: String,
    /// Its version.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// Whether it is the one that speaks to agents.
    pub leads: bool,
    /// Whether it is the one that answered this request.
    pub this: bool,
    /// What is wrong with its place among them: who does not reach it, or that it does not reach the message broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
