//! Why a TLS connection was not made, found anywhere in an error's chain, as a sentence that says what to do.

use std::error::Error;

use model::Digest;
use rustls::CertificateError;

/// The server's public key is not the pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's key is {found}, pinned is {wanted}")]
pub(crate) struct WrongPin {
    pub(crate) wanted: Digest,
    pub(crate) found: Digest,
}

/// What was wrong with the server's certificate or its TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another public key than the pinned one.
    #[error(
        "the server shows another certificate than the pinned one (pin {wanted}, shown {found}): its certificate was \
         replaced, or something stands in between; nothing was sent"
    )]
    WrongPin {
        /// The pin.
        wanted: Digest,
        /// What the server showed.
        found: Digest,
    },
    /// No known authority signed it.
    #[error(
        "the server's certificate is not signed by an authority that this machine trusts; nothing was sent"
    )]
    UnknownAuthority,
    /// It is for other names.
    #[error("the server's certificate is for another name than the one in the address; nothing was sent")]
    WrongName,
    /// Its dates do not cover this machine's now.
    #[error(
        "the server's certificate has expired or is not valid yet; check this machine's clock; nothing was sent"
    )]
    WrongTime,
    /// Anything else about TLS.
    #[error("no TLS connection could be made: {0}; is this an HTTPS address?")]
    Other(String),
}

impl Failure {
    /// The first TLS failure in the error's chain of sources. I/O errors that wrap one are looked into.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::of(tls));
            }
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if let Some(failure) = inner.and_then(|inner| Self::find(inner)) {
                return Some(failure);
            }
            next = error.source();
        }
        None
    }

    fn of(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(reason) = error else {
            return Self::Other(error.to_string());
        };
        match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::WrongTime,
            CertificateError::Other(other) => match other.0.downcast_ref::<WrongPin>() {
                Some(WrongPin { wanted, found }) => Self::WrongPin { wanted: *wanted, found: *found },
                None => Self::Other(error.to_string()),
            },
            // Rustls' own enum, which grows.
            other => Self::Other(other.to_string()),
        }
    }
}
