//! What PostgreSQL, its driver and the network say, as errors that a person can act on.
//!
//! Not for retrying. It keeps true that an error counts as certain only when the server itself said that nothing was done.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::{Place, StoreError};

/// The error, and whether the connection it came over is of no more use.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) is_lost: bool,
}

impl Failure {
    /// The same, where something half done may be left on the connection: it is of no more use, whatever was said.
    pub(super) fn half_done(self) -> Self {
        Self { is_lost: true, ..self }
    }
}

/// What this error means for a database at this place.
pub(super) fn failure(place: &Place, error: &Error) -> Failure {
    match error.as_db_error() {
        Some(said) => of_server(place, said),
        None => Failure { error: of_driver(place, error), is_lost: true },
    }
}

/// No answer came in time: what was asked may still be done.
pub(super) fn no_answer(place: &Place) -> Failure {
    Failure { error: StoreError::NoAnswer(place.clone()), is_lost: true }
}

fn of_driver(place: &Place, error: &Error) -> StoreError {
    let place = place.clone();
    if let Some(tls) = ::tls::Failure::find(error) {
        return StoreError::Tls { place, reason: tls.to_string() };
    }
    let reason = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if reason.contains("password missing") || reason.contains("authentication") {
        return StoreError::Credentials { place, reason };
    }
    StoreError::Unreachable { place, reason }
}

fn of_server(place: &Place, said: &DbError) -> Failure {
    let place = place.clone();
    let (code, reason) = (said.code().code(), said.message().to_owned());
    let certain = |error| Failure { error, is_lost: false };
    // The end of a session, whatever became of its statement.
    if code.starts_with("57P") || code.starts_with("08") {
        return Failure { error: StoreError::Unreachable { place, reason }, is_lost: true };
    }
    certain(match code {
        _ if code.starts_with("28") => StoreError::Credentials { place, reason },
        "3D000" | "3F000" => StoreError::Open { place, reason: format!("{reason}; it must be made first") },
        "42501" => StoreError::Rights { place, reason },
        "25006" => StoreError::Standby(place),
        "53100" => StoreError::Full(place),
        _ if code.starts_with("53") => StoreError::Overloaded { place, reason },
        "57014" | "55P03" => StoreError::Timeout(place),
        "40001" | "40P01" => StoreError::Overloaded { place, reason },
        "58030" => StoreError::Disk { place, detail: reason },
        "XX001" | "XX002" => StoreError::Damaged { place, detail: reason },
        // Not ours to list: there are some hundreds.
        _ => StoreError::Other { place, detail: format!("{reason} ({code})") },
    })
}

/// Whether another commit had this number first.
pub(super) fn is_taken(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}
