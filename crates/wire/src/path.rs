//! The paths of the agents' part of the HTTP API, under the server's address.
//!
//! Bodies are CBOR (`application/cbor`), refusals are a `Refusal`. All but `HELLO` and `REGISTER` are signed by the host.

/// `GET`: a `Hello`; what an agent must know before it can register.
pub const HELLO: &str = "/agent/v1/hello";
/// `POST`: a `RegisterRequest`, answered by a `RegisterReply`.
pub const REGISTER: &str = "/agent/v1/register";
/// `POST`: a `MapRequest`, answered by `frames`, each sealed: a `MapReply`, then lists of `Part`.
pub const MAP: &str = "/agent/v1/map";
/// `POST`: a sealed `Report`, answered with no content.
pub const REPORT: &str = "/agent/v1/report";
/// `POST`: `HostSettings` as the machine's own settings say, answered with no content.
pub const SETTINGS: &str = "/agent/v1/settings";
/// `POST`: a `NodeSwitch`: take part in a network or pause, answered with no content.
pub const NODE: &str = "/agent/v1/node";
/// `POST`: a `Leave`: one network or the server, answered with no content.
pub const LEAVE: &str = "/agent/v1/leave";
/// `POST`: a `KeyChange`: another WireGuard key, answered with no content.
pub const KEY: &str = "/agent/v1/key";
/// `POST`: a `ChannelChange`: a sealed channel with the server's next key, answered with no content.
pub const CHANNEL: &str = "/agent/v1/channel";
/// MQTT over WebSocket.
pub const MQTT: &str = "/mqtt";
/// The media type of all bodies.
pub const MEDIA_TYPE: &str = "application/cbor";
