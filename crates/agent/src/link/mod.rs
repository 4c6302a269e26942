//! How the agent talks to its server: HTTP requests, and MQTT for changes and reports, both over one trust in TLS.
//!
//! Carries bytes; what they mean is not decided here. Invariants: the server proves that it is the one the token names
//! before anything is sent to it · everything received has a size limit · a lost connection comes back by itself, with
//! growing, random pauses · errors say which of "unreachable", "not authorised" and "wrong certificate" it was · no full
//! tunnel, dead or alive, stands between the agent and its server.

mod addresses;
mod backoff;
mod dial;
mod error;
mod http;
mod mqtt;
mod road;
mod tls;
mod url;

pub use addresses::{AddressBook, KnownAddresses};
pub use backoff::Backoff;
pub use dial::Dialer;
pub use error::LinkError;
pub use http::{Answer, HttpClient, HttpLimits, Method, Request, StatusCode};
pub use mqtt::{
    Link, LinkEvent, LinkHandle, LinkOptions, PRESENCE_OFFLINE, PRESENCE_ONLINE, PasswordProvider,
    Undelivered,
};
pub use road::Road;
pub use tls::{ServerTrust, install_crypto_provider};
pub use url::Clear;

/// Nothing came in time.
fn late() -> LinkError {
    LinkError::Unreachable("it did not answer in time".to_owned())
}
