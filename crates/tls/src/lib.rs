//! TLS as a client of a Netloom server: which certificate is believed, and in words why one is not. Agent and command
//! line share it.
//!
//! Not for carrying anything and not for serving. It keeps true that a connection never goes on with a server that the
//! given trust does not cover: there is no way to switch the check off.

mod failure;
mod trust;

pub use failure::Failure;
pub use trust::{
    Trust, TrustError, client_config, client_config_by_authorities, client_config_by_pins, pin_of,
};
