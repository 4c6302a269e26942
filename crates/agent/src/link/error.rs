//! What can go wrong between agent and server, told apart by what a person can do about it.
//!
//! Made from the errors of several libraries by looking through their chains. No secrets and no URLs in the texts.

use std::error::Error;

use thiserror::Error;
use tls::Failure;

/// Why the server could not be talked to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LinkError {
    /// No connection: name, route, port, timeout.
    #[error("the server cannot be reached: {0}. Check its address and that its port is open")]
    Unreachable(String),
    /// The server is there and does not take this host's credentials.
    #[error(
        "the server does not accept this host's credentials: it may have been removed, or this machine's clock is wrong"
    )]
    NotAuthorised,
    /// The server presents another certificate than the pinned one.
    #[error(
        "the server's certificate is not the one that the token names: somebody may be in between, or the server was \
         set up anew and needs a new token"
    )]
    WrongPin,
    /// The certificate is not trusted for another reason: expired, other name, unknown issuer.
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The server answered that it cannot or will not serve now.
    #[error("the server refused: {0}")]
    Refused(String),
    /// There was a connection, and it ended.
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    /// The server sent more than is taken.
    #[error("the server's answer is larger than {limit} bytes")]
    TooLarge {
        /// How much is taken.
        limit: usize,
    },
    /// The address given for the server cannot be used.
    #[error("the server's address cannot be used: {0}")]
    BadUrl(String),
    /// This machine cannot do TLS as asked.
    #[error("TLS cannot be set up on this machine: {0}")]
    Tls(String),
}

impl LinkError {
    /// True if trying again cannot help before a person did something.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::WrongPin | Self::Untrusted(_) | Self::BadUrl(_) | Self::Tls(_) => true,
            Self::Unreachable(_)
            | Self::NotAuthorised
            | Self::Refused(_)
            | Self::Lost(_)
            | Self::TooLarge { .. } => false,
        }
    }
}

/// What the TLS library found wrong, if that is the cause.
pub(super) fn tls_cause(error: &(dyn Error + 'static)) -> Option<LinkError> {
    match Failure::find(error)? {
        Failure::WrongPin { .. } => Some(LinkError::WrongPin),
        failure @ (Failure::UnknownAuthority | Failure::WrongName | Failure::WrongTime) => {
            Some(LinkError::Untrusted(failure.to_string()))
        }
        Failure::Other(why) if why.contains("certificate") => Some(LinkError::Untrusted(why)),
        Failure::Other(why) if why.contains("corrupt") => {
            Some(LinkError::Unreachable("what answers there does not speak TLS".to_owned()))
        }
        Failure::Other(_) => None,
    }
}

/// The last words of a chain of errors, which say most.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
