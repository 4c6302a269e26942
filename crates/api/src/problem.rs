//! How the API says no: problem details (RFC 9457), with a code for programs and a sentence for people.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kinds of problem: what gives the HTTP status. What exactly is wrong says the problem's `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request cannot be read or breaks a rule; `errors` names the fields.
    Invalid,
    /// No token, an unknown one, or an expired one: log in.
    Unauthenticated,
    /// This user may not do that.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The method is not offered here.
    MethodNotAllowed,
    /// It does not go together with what is there.
    Conflict,
    /// The body is larger than is read.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// Too many tries; wait as `Retry-After` says.
    RateLimited,
    /// Something broke in the server; it is in its log.
    Internal,
    /// This server's database or broker cannot do that.
    Unsupported,
    /// The database or another part does not answer just now; try again.
    Busy,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::Internal,
        Self::Unsupported,
        Self::Busy,
    ];

    /// Status, code where nothing more exact is known, and title.
    const fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Invalid => (422, "invalid", "The request is not valid"),
            Self::Unauthenticated => (401, "not-logged-in", "Not logged in"),
            Self::Forbidden => (403, "not-allowed", "Not allowed"),
            Self::NotFound => (404, "not-found", "Not found"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "Method not allowed"),
            Self::Conflict => (409, "conflict", "In conflict with what is there"),
            Self::TooLarge => (413, "too-large", "Too large"),
            Self::UnsupportedMediaType => (415, "not-json", "Not JSON"),
            Self::RateLimited => (429, "rate-limited", "Too many requests"),
            Self::Internal => (500, "internal", "Internal error"),
            Self::Unsupported => (501, "unsupported", "Not possible here"),
            Self::Busy => (503, "busy", "Busy"),
        }
    }

    /// The HTTP status it goes with.
    pub const fn status(self) -> u16 {
        self.facts().0
    }

    /// The code where nothing more exact is known.
    pub const fn code(self) -> &'static str {
        self.facts().1
    }

    /// What it is, the same each time.
    pub const fn title(self) -> &'static str {
        self.facts().2
    }
}

/// Name or password is wrong.
pub const WRONG_PASSWORD: &str = "wrong-password";
/// The set-up code is wrong.
pub const WRONG_CODE: &str = "wrong-code";
/// The first administrator does not exist yet.
pub const SETUP_NEEDED: &str = "setup-needed";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field, as a path: `networks[0]`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Problem details (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// The kind of problem, as a URN.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:netloom:problem:network-name-taken")]
    pub kind: Box<str>,
    /// What it is, the same for each problem of the kind.
    #[schema(value_type = String)]
    pub title: Box<str>,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 409)]
    pub status: u16,
    /// What is wrong here, and what to do.
    pub detail: String,
    /// The path of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<Box<str>>,
    /// What is wrong, for programs: stable words, the last part of `type`.
    #[schema(value_type = String, example = "network-name-taken")]
    pub code: Box<str>,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// The media type of a problem.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// A problem of this kind; `detail` says what is wrong here and what to do.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self::coded(kind, kind.code(), detail)
    }

    /// A problem of this kind with a code of its own.
    pub fn coded(kind: ProblemKind, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:netloom:problem:{code}").into(),
            title: kind.title().into(),
            status: kind.status(),
            detail: detail.into(),
            instance: None,
            code: code.into(),
            errors: Vec::new(),
        }
    }

    /// A request with mistakes in these fields.
    pub fn of_fields(errors: Vec<FieldError>) -> Self {
        let sentences: Vec<String> =
            errors.iter().map(|error| format!("`{}`: {}", error.field, error.message)).collect();
        Self { errors, ..Self::new(ProblemKind::Invalid, sentences.join("; ")) }
    }

    /// A request with a mistake in one field.
    pub fn of_field(field: &str, message: impl std::fmt::Display) -> Self {
        Self::of_fields(vec![FieldError { field: field.to_owned(), message: message.to_string() }])
    }

    /// The same problem, at the path of this request.
    #[must_use]
    pub fn at(self, instance: &str) -> Self {
        Self { instance: Some(instance.into()), ..self }
    }
}

/// Reads a JSON body; a mistake is told with the field it is in.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() && path != "." {
            return Problem::of_field(&path, error);
        }
        Problem::new(ProblemKind::Invalid, format!("the body is not the expected JSON: {error}"))
    })?;
    let rest = deserializer.end();
    rest.map_err(|error| {
        Problem::new(ProblemKind::Invalid, format!("the body goes on after the JSON: {error}"))
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateKey, CreateNetwork};

    #[test]
    fn a_problem_has_the_fields_of_rfc_9457() {
        let problem = Problem::coded(ProblemKind::Conflict, "name-taken", "taken").at("/api/v1/networks");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:netloom:problem:name-taken");
        assert_eq!(json["status"], 409);
        assert_eq!(json["code"], "name-taken");
        assert_eq!(json["instance"], "/api/v1/networks");
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }

    #[test]
    fn a_wrong_field_is_named_with_its_sentence() {
        let problem = read::<CreateNetwork>(br#"{"name": "my net", "v4": "10.0.0.0/24"}"#).unwrap_err();
        assert_eq!(problem.errors[0].field, "name");
        assert!(problem.detail.contains("' '"), "{}", problem.detail);
        let problem = read::<CreateKey>(br#"{"title": "x", "networks": ["ok", "not ok\n"]}"#).unwrap_err();
        assert_eq!(problem.errors[0].field, "networks[1]");
    }

    #[test]
    fn a_field_that_may_not_be_given_is_named() {
        let problem = read::<CreateNetwork>(br#"{"name": "a", "id": "x"}"#).unwrap_err();
        assert!(problem.detail.contains("`id`"), "{}", problem.detail);
        assert_eq!(read::<CreateNetwork>(b"{").unwrap_err().code.as_ref(), "invalid");
        assert!(read::<CreateNetwork>(br#"{"name": "a"} x"#).unwrap_err().detail.contains("goes on"));
    }
}
