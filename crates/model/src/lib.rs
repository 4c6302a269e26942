//! The vocabulary of Netloom: ids, names, keys, ranges and the nouns of intent, each parsed once and valid ever after.
//!
//! Not for deciding anything (that is `control`), not for what travels between server and agent (`wire`).
//! It keeps one thing true: a value of a type in here has passed every check its name promises.

mod address;
mod cbor;
mod dns;
mod endpoint;
mod enrollment;
mod gateway;
mod generation;
mod host;
mod id;
mod key;
mod name;
mod network;
mod node;
mod policy;
mod range;
mod service;
mod settings;
mod time;
mod user;

pub use address::Addresses;
pub use dns::{DnsName, DnsNameError, DnsRecord, RecordData, ToldRecord, Upstream};
pub use endpoint::{Endpoint, EndpointError};
pub use enrollment::{EnrollmentKey, Uses};
pub use gateway::{Client, Duties, Egress, InternetUse, Router};
pub use generation::{Epoch, Generation};
pub use host::{Host, SealingIdentity};
pub use id::{
    ApiTokenId, ClientId, DnsRecordId, EgressId, EnrollmentKeyId, HostId, IdError, MemberId, NetworkId,
    NodeId, PolicyId, PolicyTestId, UpstreamId, UserId,
};
pub use key::{Digest, KeyError, SealingPublicKey, SigningPublicKey, WgPublicKey};
pub use name::{GroupName, HostName, NameError, NetworkName, Tag, Title, UserName};
pub use network::Network;
pub use node::Node;
pub use policy::{Access, Policy, PolicyTest, Subject};
pub use range::{RangeError, Ranges};
pub use service::{PortRange, Protocol, Service, ServiceError};
pub use settings::{Keepalive, Mtu, SettingError};
pub use time::{Duration, TimeError, Timestamp};
pub use user::{ApiToken, PasswordHash, Role, TokenPurpose, User};
