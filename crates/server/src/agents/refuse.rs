//! Refusals on their way out: one place that turns every failure into a `wire::Refusal` with its status.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control::Rejection;
use wire::{CredentialError, Refusal, RefusalCode};

use crate::attempts::TooMany;
use crate::brain::{self, now};

/// A refusal, ready to be sent.
#[derive(Debug)]
pub(crate) struct Refused {
    refusal: Refusal,
    guess: bool,
}

impl Refused {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let refusal = Refusal { code, message, server_time: now(), retry_after: None, elsewhere: false };
        Self { refusal, guess: false }
    }

    /// The refusal of something that somebody sends who tries keys, or tries what the server does with nonsense.
    pub(crate) fn guess(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { guess: true, ..Self::new(code, message) }
    }

    pub(crate) fn busy(message: impl Into<String>, seconds: u32) -> Self {
        let mut refused = Self::new(RefusalCode::Busy, message);
        refused.refusal.retry_after = Some(seconds);
        refused
    }

    /// Of this server alone: another one may take it now.
    pub(crate) fn elsewhere(mut self) -> Self {
        self.refusal.elsewhere = true;
        self
    }

    /// No server leads just now, or none that answers. That takes a few seconds at most.
    pub(crate) fn no_leader() -> Self {
        Self::busy("another server is about to lead; ask again", 1).elsewhere()
    }

    pub(crate) fn unknown_host() -> Self {
        Self::new(
            RefusalCode::UnknownHost,
            "the server does not know this host (any more): it was removed; join again with a token",
        )
    }

    pub(crate) fn code(&self) -> RefusalCode {
        self.refusal.code
    }

    /// Whether it counts among the attempts that a source has.
    pub(crate) fn is_guess(&self) -> bool {
        self.guess
    }

    fn status(&self) -> StatusCode {
        match self.refusal.code {
            RefusalCode::UnknownKey | RefusalCode::ExpiredKey | RefusalCode::SpentKey => {
                StatusCode::FORBIDDEN
            }
            RefusalCode::ClockSkew | RefusalCode::UnknownHost | RefusalCode::NotProved => {
                StatusCode::UNAUTHORIZED
            }
            RefusalCode::Invalid => StatusCode::BAD_REQUEST,
            RefusalCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
            RefusalCode::Internal | RefusalCode::Other => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<CredentialError> for Refused {
    fn from(error: CredentialError) -> Self {
        let (code, guess) = match error {
            CredentialError::Form => (RefusalCode::Invalid, true),
            CredentialError::Clock(_) => (RefusalCode::ClockSkew, false),
            CredentialError::Signature => (RefusalCode::NotProved, true),
        };
        Self { guess, ..Self::new(code, error.to_string()) }
    }
}

/// The rejections after which agents do something else than telling people, and whether they are guesses. A key that was
/// good once is known to whoever offers it; an address or a name that is taken is no secret.
fn told_apart(rejection: &Rejection) -> Option<(RefusalCode, bool)> {
    let apart = [
        (matches!(rejection, Rejection::UnknownKey), (RefusalCode::UnknownKey, true)),
        (matches!(rejection, Rejection::KeyNeeded), (RefusalCode::Invalid, true)),
        (matches!(rejection, Rejection::ExpiredKey { .. }), (RefusalCode::ExpiredKey, false)),
        (matches!(rejection, Rejection::SpentKey { .. }), (RefusalCode::SpentKey, false)),
        (matches!(rejection, Rejection::NoSuchHost { .. }), (RefusalCode::UnknownHost, false)),
    ];
    apart.into_iter().find_map(|(is, told)| is.then_some(told))
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        let (code, guess) = told_apart(&rejection).unwrap_or((RefusalCode::Invalid, false));
        Self { guess, ..Self::new(code, rejection.to_string()) }
    }
}

impl From<brain::Refused> for Refused {
    fn from(refused: brain::Refused) -> Self {
        match refused {
            brain::Refused::Rejected(rejection) => rejection.into(),
            brain::Refused::Unavailable(_) => Self::busy(refused.to_string(), 5).elsewhere(),
            brain::Refused::Overloaded => Self::busy(refused.to_string(), 5),
        }
    }
}

impl From<TooMany> for Refused {
    fn from(too_many: TooMany) -> Self {
        Self::busy(too_many.to_string(), u32::try_from(too_many.retry_after.as_secs()).unwrap_or(u32::MAX))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = wire::encode(&self.refusal);
        let mut response = (self.status(), [(CONTENT_TYPE, wire::path::MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.refusal.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use model::HostId;

    use super::*;

    #[test]
    fn only_what_somebody_tries_without_knowing_is_a_guess() {
        let full = Rejection::NoAddressLeft {
            network: "home".parse().unwrap(),
            range: "10.0.0.0/24".parse().unwrap(),
        };
        for (rejection, code, guess) in [
            (Rejection::UnknownKey, RefusalCode::UnknownKey, true),
            (Rejection::KeyNeeded, RefusalCode::Invalid, true),
            (Rejection::WireguardKeyTaken, RefusalCode::Invalid, false),
            (Rejection::SpentKey { title: "one".parse().unwrap() }, RefusalCode::SpentKey, false),
            (Rejection::NoSuchHost { host: HostId::from_bytes([1; 16]) }, RefusalCode::UnknownHost, false),
            (full, RefusalCode::Invalid, false),
        ] {
            let refused = Refused::from(rejection);
            assert_eq!((refused.code(), refused.is_guess()), (code, guess), "{refused:?}");
        }
        assert!(Refused::from(CredentialError::Signature).is_guess());
    }
}
