//! Extractors whose refusals are problem details: JSON bodies, queries, and segments of the path.

use std::error::Error as _;

use api::{Problem, ProblemKind};
use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, PathRejection};
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
        let (most, import) = (api::MOST_BODY, api::MOST_IMPORT);
        let detail = format!("the body may have {most} bytes at most, that of an import {import}");
        return Failure::new(ProblemKind::TooLarge, detail);
    }
    Failure::new(ProblemKind::Invalid, rejection.body_text())
}

/// The query.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(value) = query.map_err(|rejection| {
            // The reason inside says what is wrong with which part; what stands around it is the library's own.
            let reason = rejection.source().map_or_else(|| rejection.body_text(), ToString::to_string);
            Problem::of_field("query", reason)
        })?;
        Ok(Self(value))
    }
}

/// The segments of the path.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        let Path(value) = path.map_err(|rejection| wrong_segment(&rejection))?;
        Ok(Self(value))
    }
}

/// Which part of the path is wrong, and what it should be.
fn wrong_segment(rejection: &PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return Problem::of_field("path", rejection.body_text());
    };
    match failed.kind() {
        ErrorKind::DeserializeError { key, message, .. } => Problem::of_field(key, message),
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => {
            Problem::of_field(key, format!("`{}` is no {expected_type}", shortened(value)))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => Problem::of_field(key, "it is not UTF-8"),
        ErrorKind::Message(message) => Problem::of_field("path", message),
        other => Problem::of_field("path", other),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use api::NetworkSelector;
    use axum::Router;
    use axum::body::{Body as Bytes, to_bytes};
    use axum::response::IntoResponse as _;
    use axum::routing::get;
    use model::ApiTokenId;
    use tower::ServiceExt as _;

    use super::*;

    async fn told(path: &str) -> String {
        let one = |_: Segments<ApiTokenId>| async {};
        let two = |_: Segments<(NetworkSelector, NetworkSelector)>| async {};
        let list = |_: Params<api::Paging>| async {};
        let router = Router::new()
            .route("/tokens/{token}", get(one))
            .route("/networks/{network}/nodes/{node}", get(two))
            .route("/list", get(list));
        let request = Request::get(path).body(Bytes::empty()).unwrap();
        let answer = router.oneshot(request).await.into_response();
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let body = to_bytes(answer.into_body(), 10_000).await.unwrap();
        serde_json::from_slice::<Problem>(&body).unwrap().detail
    }

    #[tokio::test]
    async fn a_wrong_part_of_the_path_or_query_is_told_in_a_plain_sentence() {
        let told =
            [told("/tokens/x").await, told("/networks/home/nodes/a%20b").await, told("/list?limit=0").await];
        assert!(told[1].contains("`a b` is neither an id nor a name"), "{told:?}");
        assert!(told[2].contains("a page has 1 to 1000 items"), "{told:?}");
        for sentence in told {
            for jargon in ["URL", "parse", "deserialize", "with value"] {
                assert!(!sentence.contains(jargon), "{sentence}");
            }
        }
    }
}
