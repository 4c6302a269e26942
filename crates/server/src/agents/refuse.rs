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
pub(crate) struct Refused(Refusal);

impl Refused {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self(Refusal { code, message: message.into(), server_time: now(), retry_after: None })
    }

    pub(crate) fn busy(message: impl Into<String>, seconds: u32) -> Self {
        let mut refused = Self::new(RefusalCode::Busy, message);
        refused.0.retry_after = Some(seconds);
        refused
    }

    pub(crate) fn unknown_host() -> Self {
        Self::new(
            RefusalCode::UnknownHost,
            "the server does not know this host (any more): it was removed; join again with a token",
        )
    }

    pub(crate) fn code(&self) -> RefusalCode {
        self.0.code
    }

    fn status(&self) -> StatusCode {
        match self.0.code {
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
        let code = match error {
            CredentialError::Form => RefusalCode::Invalid,
            CredentialError::Clock(_) => RefusalCode::ClockSkew,
            CredentialError::Signature => RefusalCode::NotProved,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection.code() {
            "unknown-key" => RefusalCode::UnknownKey,
            "expired-key" => RefusalCode::ExpiredKey,
            "spent-key" => RefusalCode::SpentKey,
            "no-such-host" => RefusalCode::UnknownHost,
            _ => RefusalCode::Invalid,
        };
        Self::new(code, rejection.to_string())
    }
}

impl From<brain::Refused> for Refused {
    fn from(refused: brain::Refused) -> Self {
        match refused {
            brain::Refused::Rejected(rejection) => rejection.into(),
            brain::Refused::Unavailable(_) | brain::Refused::Overloaded => Self::busy(refused.to_string(), 5),
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
        let body = wire::encode(&self.0);
        let mut response = (self.status(), [(CONTENT_TYPE, wire::path::MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
