//! Failures on their way out: every one becomes problem details (RFC 9457) here.

use api::{Problem, ProblemKind};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use control::{Class, Rejection};
use store::{CommitError, StoreError};
use utoipa::openapi::{RefOr, ResponseBuilder, ResponsesBuilder};
use utoipa::{IntoResponses, ToSchema as _};

use crate::attempts::TooMany;
use crate::brain::Refused;

/// A problem, ready to be sent.
#[derive(Debug)]
pub(super) struct Failure {
    problem: Box<Problem>,
    retry_after: Option<u64>,
}

impl Failure {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    /// Too much at once: whoever asks is to come again.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(ProblemKind::Busy, detail)), retry_after: Some(5) }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), retry_after: None }
    }
}

/// What a refusal by the rules is told as.
pub(super) fn problem(rejection: &Rejection) -> Problem {
    let kind = match rejection.class() {
        Class::Unauthenticated => ProblemKind::Unauthenticated,
        Class::Forbidden => ProblemKind::Forbidden,
        Class::NotFound => ProblemKind::NotFound,
        Class::Conflict => ProblemKind::Conflict,
        Class::Invalid => ProblemKind::Invalid,
    };
    Problem::coded(kind, rejection.code(), rejection.to_string())
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        problem(&rejection).into()
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rejected(rejection) => rejection.into(),
            Refused::Unavailable(
                CommitError::Conflict { .. } | CommitError::Unknown { .. } | CommitError::Store(_),
            )
            | Refused::Overloaded => Self::busy(refused.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        Self::busy(error.to_string())
    }
}

impl From<TooMany> for Failure {
    fn from(too_many: TooMany) -> Self {
        let problem = Box::new(Problem::new(ProblemKind::RateLimited, too_many.to_string()));
        Self { problem, retry_after: Some(too_many.retry_after.as_secs()) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!("a request failed: {error:#}");
        Self::new(ProblemKind::Internal, "something broke in the server; its log says what")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, Problem::MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("there is nothing at this path; {} lists all that is", api::path::DOCUMENT);
    Problem::new(ProblemKind::NotFound, detail).at(&path).into()
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("{method} is not offered here; {} says what is", api::path::DOCUMENT);
    Problem::new(ProblemKind::MethodNotAllowed, detail).at(&path).into()
}

/// What every request may be answered with, for the OpenAPI document.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let kinds = [
            ProblemKind::Unauthenticated,
            ProblemKind::Forbidden,
            ProblemKind::NotFound,
            ProblemKind::Conflict,
            ProblemKind::Invalid,
            ProblemKind::RateLimited,
            ProblemKind::Busy,
        ];
        let one = |kind: ProblemKind| {
            let schema = utoipa::openapi::Ref::from_schema_name(Problem::name());
            let content = utoipa::openapi::ContentBuilder::new().schema(Some(schema)).build();
            let response =
                ResponseBuilder::new().description(kind.title()).content(Problem::MEDIA_TYPE, content);
            (kind.status().to_string(), response.build())
        };
        ResponsesBuilder::new().responses_from_iter(kinds.map(one)).build().into()
    }
}
