//! Extractors whose refusals are problem details: JSON bodies, queries, and segments of the path.

use api::{Problem, ProblemKind};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Failure;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = media_type
            .is_some_and(|text| text.split(';').next().is_some_and(|text| text.trim() == "application/json"));
        if !is_json {
            let detail = "the body has to be JSON, with `Content-Type: application/json`";
            return Err(Failure::new(ProblemKind::UnsupportedMediaType, detail));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| too_large(&rejection))?;
        Ok(Self(api::read(&bytes)?))
    }
}

fn too_large(rejection: &BytesRejection) -> Failure {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Failure::new(
            ProblemKind::TooLarge,
            format!("the body may have {} bytes at most", api::MOST_BODY),
        );
    }
    Failure::new(ProblemKind::Invalid, rejection.body_text())
}

/// The query.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(value) = query.map_err(|rejection| Problem::of_field("query", rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// The segments of the path.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        let Path(value) = path.map_err(|rejection| Problem::of_field("path", rejection.body_text()))?;
        Ok(Self(value))
    }
}
