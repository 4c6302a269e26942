//! Whom the agent takes for its server: by the pin of the token or what the server said takes its place, or by the certificate
//! authorities of this machine. And whom for a broker of somebody else's: by authorities that the server names in the map, or by
//! those of this machine.
//!
//! Not for checking certificates: `tls` does. It keeps true that there is no further way, and that a pin is for whoever has that
//! key alone.

use std::sync::Arc;

use model::Digest;
use rustls::ClientConfig;
use rustls::crypto::ring;
use tls::Trust;

use super::LinkError;

/// How the server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerTrust {
    /// SHA-256 of the server's public key, from the token.
    Pin([u8; 32]),
    /// The same of a server that is about to change its key: the one that counts, or the next.
    EitherPin([[u8; 32]; 2]),
    /// The certificate authorities that this machine trusts.
    PublicRoots,
    /// These certificate authorities and no others, in PEM.
    Authorities(Arc<str>),
}

impl ServerTrust {
    /// Whether it is by a pin.
    pub const fn is_pinned(&self) -> bool {
        match self {
            Self::Pin(_) | Self::EitherPin(_) => true,
            Self::PublicRoots | Self::Authorities(_) => false,
        }
    }
}

/// Makes *ring* the process-wide provider of cryptography for TLS; libraries that ask for a default need it.
pub fn install_crypto_provider() {
    // Fails if one is installed already, which is as good.
    let _ = ring::default_provider().install_default();
}

/// The TLS settings for every connection to the server. No ALPN: HTTP/1.1 is what WebSockets are upgraded from.
pub(super) fn client_config(trust: &ServerTrust) -> Result<Arc<ClientConfig>, LinkError> {
    let config = match trust {
        ServerTrust::Pin(pin) => tls::client_config(&Trust::Pin(Digest::from_bytes(*pin))),
        ServerTrust::EitherPin(pins) => tls::client_config_by_pins(pins.map(Digest::from_bytes)),
        ServerTrust::PublicRoots => tls::client_config(&Trust::System),
        ServerTrust::Authorities(pem) => tls::client_config_by_authorities(pem),
    };
    config.map(Arc::new).map_err(|error| LinkError::Tls(error.to_string()))
}
