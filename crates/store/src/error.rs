//! What can be wrong with a database, each in a sentence that says where and what to do.

use std::path::PathBuf;

/// Why a database did not do what was asked. Nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room.
    #[error("the disk with {path} is full; nothing was changed; make room and try again", path = .0.display())]
    Full(PathBuf),
    /// May not write.
    #[error("{path} cannot be written: its file system is mounted read-only, or this user may not write there", path = .0.display())]
    ReadOnly(PathBuf),
    /// Somebody else has it locked for longer than we wait.
    #[error("{path} is locked by another program (a sqlite3 shell or a backup tool?); end that and try again", path = .0.display())]
    Busy(PathBuf),
    /// Another server has it.
    #[error("{path} is in use by {holder}; only one server can use this file at a time, stop the other one", path = .path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// Who has it, as far as can be told.
        holder: String,
    },
    /// Cannot be opened or made.
    #[error("{path} cannot be opened: {reason}", path = .path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Not readable as what it should be.
    #[error("{path} is damaged ({detail}); stop the server, keep the file, and restore the last backup", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A file of something else.
    #[error("{path} is not a database of this program; name another file", path = .0.display())]
    Foreign(PathBuf),
    /// Written by a newer version.
    #[error(
        "{path} was written by a newer version (schema {found}; this version knows up to {known}); install that version again",
        path = .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that is known.
        known: u32,
    },
    /// A record that cannot be read.
    #[error("the record {key} in {path} cannot be read: {detail}", path = .path.display())]
    Record {
        /// The database.
        path: PathBuf,
        /// Kind and id.
        key: String,
        /// What is wrong.
        detail: String,
    },
    /// The disk failed.
    #[error("the disk with {path} reports an error ({detail}); look at the kernel's log (dmesg) and at the disk", path = .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The error.
        detail: String,
    },
    /// Would have overwritten something.
    #[error("{path} exists already; it is not overwritten, name another file", path = .0.display())]
    Exists(PathBuf),
    /// The database's thread has ended.
    #[error("the database is closed; the server's log says why, restart the server")]
    Gone,
    /// Something no rule foresees.
    #[error("the database {path} failed: {detail}", path = .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
}

/// Why a group was not committed. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else committed first, or the numbers do not follow one another: follow, and decide again.
    #[error("the next commit has number {next}, not {given}")]
    Conflict {
        /// The number that was given.
        given: u64,
        /// The number that is next.
        next: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
