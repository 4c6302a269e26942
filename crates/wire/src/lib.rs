//! What server and agent say to each other: the token, registration, the host map and its deltas, reports, and the seal
//! around all of it. CBOR (RFC 8949) with numbered fields: additive, unknown fields are ignored.
//!
//! Not for carrying (HTTP and MQTT are the shells') and not for deciding. It keeps true that whatever is decoded here has
//! been checked, and that old encodings stay readable (`tests/golden`).

use std::convert::Infallible;

use minicbor::Encoder;

mod channel_change;
mod credential;
mod delta;
mod entry;
mod grant;
mod host_map;
mod key_change;
mod message;
mod nets;
mod parts;
mod records;
mod refusal;
mod register;
mod report;
mod seal;
mod secret;
mod splice;
mod token;
mod topic;

pub mod frames;
pub mod path;

pub use channel_change::ChannelChange;
pub use credential::{
    ClockSkew, CredentialError, MOST_SKEW, RequestSignature, SignedRequest, mqtt_password,
    verify_mqtt_password,
};
pub use delta::{Delta, WrongBase, delta, patch};
pub use entry::{BUCKETS, BucketDigests, Entry, bucket_of, digests};
pub use grant::{Class, Grant, Party};
pub use host_map::{
    EgressDuty, HostMap, HostSettings, InternetWay, Membership, NatMapping, NextKeys, OwnHost, Peer,
    PeerNode, Rendezvous, ServerLinks, ToldUpstream, Way,
};
pub use key_change::KeyChange;
pub use message::{Down, MapReply, NodeSwitch};
pub use nets::Net;
pub use parts::{MapRequest, Part, PartsError, PartsHead, assemble, pack};
pub use records::{RecordsChange, pack_records, records_digest};
pub use refusal::{Refusal, RefusalCode};
pub use register::{Hello, Leave, RegisterReply, RegisterRequest, Registration, WireguardProof};
pub use report::{ClientSeen, Facts, Outcome, Report};
pub use seal::{Agreement, Channel, Direction, Opened, SealError};
pub use secret::{SealingSecret, SigningSecret, WgSecret};
pub use splice::{OwnPart, PeersPart, RecordsPart, encode_delta, encode_delta_reply};
pub use token::{Token, TokenError, TokenSecret};
pub use topic::{HostTopic, PRESENCE_OFFLINE, PRESENCE_ONLINE, TopicKind};

/// The largest message that either side accepts, in bytes. A map of 10,000 peers has about 1.5 MiB.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What can be encoded.
pub trait Encode: minicbor::Encode<()> {}
impl<T: minicbor::Encode<()>> Encode for T {}

/// What can be decoded.
pub trait Decode<'b>: minicbor::Decode<'b, ()> {}
impl<'b, T: minicbor::Decode<'b, ()>> Decode<'b> for T {}

/// Encodes a value.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, |encoder| encoder.encode(value)?.ok());
    bytes
}

/// Appends what is written. Writing to memory cannot fail.
fn append(
    bytes: &mut Vec<u8>,
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<Infallible>>,
) {
    if let Err(error) = write(&mut Encoder::new(bytes)) {
        unreachable!("encoding to memory failed: {error}");
    }
}

/// Why bytes are not the expected message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be read: {0}")]
pub struct DecodeError(String);

/// Decodes a value, refusing more than `MOST_BYTES`.
pub fn decode<'b, T: Decode<'b>>(bytes: &'b [u8]) -> Result<T, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError(format!("{} bytes are more than the {MOST_BYTES} allowed", bytes.len())));
    }
    minicbor::decode(bytes).map_err(|error| DecodeError(error.to_string()))
}
