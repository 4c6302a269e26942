//! What SQLite and the file system say, as errors that a person can act on.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::{CommitError, Place, StoreError};

/// What went wrong inside a job, before it is known to which file it happened.
#[derive(Debug)]
pub(crate) enum Failed {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// We found it.
    Store(StoreError),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failed {
    /// The error, of this file.
    pub(crate) fn at(self, place: &Place) -> StoreError {
        match self {
            Self::Sql(error) => of_sql(place.clone(), &error),
            Self::Store(error) => error,
        }
    }
}

fn of_sql(place: Place, error: &rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    let Some(failure) = error.sqlite_error() else {
        return StoreError::Other { place, detail };
    };
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full(place),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly(place),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy(place),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Damaged { place, detail },
        ErrorCode::CannotOpen => StoreError::Open { place, reason: detail },
        ErrorCode::SystemIoFailure => StoreError::Disk { place, detail },
        // Not ours to list: the enum is SQLite's and grows.
        _ => StoreError::Other { place, detail },
    }
}

/// What became of a commit whose last step failed. What the disk took of it before it failed may be found there after a crash.
pub(super) fn may_be_there(place: &Place, error: rusqlite::Error) -> Result<CommitError, Failed> {
    match error.sqlite_error().map(|failure| failure.code) {
        Some(ErrorCode::SystemIoFailure) => {
            Ok(CommitError::Unknown { place: place.clone(), reason: error.to_string() })
        }
        Some(_) | None => Err(error.into()),
    }
}

/// The error of a file or folder that could not be made, opened or read.
pub(crate) fn of_file(path: &Path, error: &io::Error) -> StoreError {
    let place = Place::from(path);
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(place),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(place),
        io::ErrorKind::AlreadyExists => StoreError::Exists(place),
        _ => StoreError::Open { place, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn every_failure_names_the_file_and_what_to_do() {
        let cases = [
            (ffi::SQLITE_FULL, "make room"),
            (ffi::SQLITE_READONLY, "read-only"),
            (ffi::SQLITE_BUSY, "end that and try again"),
            (ffi::SQLITE_CORRUPT, "restore the last backup"),
            (ffi::SQLITE_NOTADB, "restore the last backup"),
            (ffi::SQLITE_CANTOPEN, "cannot be opened"),
            (ffi::SQLITE_IOERR_FSYNC, "look at the kernel's log"),
            (ffi::SQLITE_INTERNAL, "failed"),
        ];
        for (code, expected) in cases {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let text = Failed::from(error).at(&Place::named("/var/lib/netloom/netloom.db")).to_string();
            assert!(
                text.contains("/var/lib/netloom/netloom.db") && text.contains(expected),
                "{code}: {text}"
            );
        }
    }

    #[test]
    fn a_connection_that_may_not_write_says_so() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch("PRAGMA query_only = ON").unwrap();
        let error = connection.execute_batch("CREATE TABLE t (c)").unwrap_err();
        assert_eq!(Failed::from(error).at(&Place::named("x")), StoreError::ReadOnly(Place::named("x")));
    }
}
