//! What can be wrong with a database, each in a sentence that says where and what to do.

use crate::Place;

/// Why a database did not do what was asked. Nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room.
    #[error("the disk with {0} is full; nothing was changed; make room and try again")]
    Full(Place),
    /// May not write.
    #[error("{0} cannot be written: its file system is mounted read-only, or this user may not write there")]
    ReadOnly(Place),
    /// Somebody else has it locked for longer than we wait.
    #[error("{0} is locked by another program (a sqlite3 shell or a backup tool?); end that and try again")]
    Busy(Place),
    /// Another server has it.
    #[error("{place} is in use by {holder}; only one server can use this file at a time, stop the other one")]
    InUse {
        /// The database.
        place: Place,
        /// Who has it, as far as can be told.
        holder: String,
    },
    /// Cannot be opened or made.
    #[error("{place} cannot be opened: {reason}")]
    Open {
        /// The file or folder, or the server.
        place: Place,
        /// The system's reason.
        reason: String,
    },
    /// Not readable as what it should be.
    #[error(
        "{place} is damaged ({detail}); stop the server, keep what is there, and restore the last backup"
    )]
    Damaged {
        /// The database.
        place: Place,
        /// What is wrong.
        detail: String,
    },
    /// A database of something else.
    #[error("{0} is not a database of this program; name another one")]
    Foreign(Place),
    /// Written by a newer version.
    #[error(
        "{place} was written by a newer version (schema {found}; this version knows up to {known}); install that version again"
    )]
    Newer {
        /// The database.
        place: Place,
        /// Its schema.
        found: u32,
        /// The newest schema that is known.
        known: u32,
    },
    /// A record that cannot be read.
    #[error("the record {key} in {place} cannot be read: {detail}")]
    Record {
        /// The database.
        place: Place,
        /// Kind and id.
        key: String,
        /// What is wrong.
        detail: String,
    },
    /// The disk failed.
    #[error(
        "the disk with {place} reports an error ({detail}); look at the kernel's log (dmesg) and at the disk"
    )]
    Disk {
        /// The database.
        place: Place,
        /// The error.
        detail: String,
    },
    /// Its file is not where it was any more.
    #[error(
        "the file {0} was moved, removed or replaced while the server uses it; nothing was changed; stop the server, put the file back or restore the last backup, and start it again"
    )]
    Moved(Place),
    /// Would have overwritten something.
    #[error("{0} exists already; it is not overwritten, name another file")]
    Exists(Place),
    /// Would have overwritten what a database holds.
    #[error("{0} holds the data of a server already; nothing was changed; to replace it, say so explicitly")]
    NotEmpty(Place),
    /// A restore that did not come to its end.
    #[error("{0} was to be filled from a backup, and that was not finished; restore the backup again")]
    HalfRestored(Place),
    /// No answer at all.
    #[error("{place} cannot be reached ({reason}); see that it runs and that this machine may connect to it")]
    Unreachable {
        /// The database.
        place: Place,
        /// What the network said.
        reason: String,
    },
    /// It can be reached, and says nothing. What was asked may be done all the same.
    #[error(
        "{0} does not answer; see what keeps it busy, and whether the network between it and this machine is sound"
    )]
    NoAnswer(Place),
    /// A cluster whose nodes do not agree who leads.
    #[error(
        "{0} has no leader now; nothing was changed; see that most of its nodes run and reach one another, and try again"
    )]
    NoLeader(Place),
    /// User or password refused.
    #[error(
        "{place} refuses the user or the password ({reason}); check `database` and `database_password_file`"
    )]
    Credentials {
        /// The database.
        place: Place,
        /// What it said.
        reason: String,
    },
    /// The user may log in, and not do what is needed.
    #[error(
        "{place} does not let its user do what is needed ({reason}); the user must own the tables, or its own schema"
    )]
    Rights {
        /// The database.
        place: Place,
        /// What it said.
        reason: String,
    },
    /// No trusted connection.
    #[error("no trusted connection to {place} could be made: {reason}; check `database_ca_file`")]
    Tls {
        /// The database.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// A replica that only answers reads.
    #[error(
        "{0} takes no writes now (a standby, or set to read-only); nothing was changed; name the primary, or promote it"
    )]
    Standby(Place),
    /// Gave up by itself, because it took too long.
    #[error("{0} could not do it in time; nothing was changed; see what keeps it busy, and try again")]
    Timeout(Place),
    /// Has too much to do, in its own words.
    #[error("{place} has too much to do ({reason}); nothing was changed; try again")]
    Overloaded {
        /// The database.
        place: Place,
        /// What it said.
        reason: String,
    },
    /// Not as it must be for us.
    #[error("{place} cannot be used: {reason}")]
    Unsuitable {
        /// The database.
        place: Place,
        /// What it lacks.
        reason: String,
    },
    /// A text that not every database can keep.
    #[error("{what} holds a character that databases cannot keep (NUL); nothing was changed")]
    Text {
        /// Where it was.
        what: &'static str,
    },
    /// Said as the one that leads, in an epoch that is over.
    #[error("another server has begun to lead since; nothing was changed in {0}")]
    Deposed(Place),
    /// What the database's work runs on has ended.
    #[error("the database is closed; the server's log says why, restart the server")]
    Gone,
    /// Something no rule foresees.
    #[error("the database {place} failed: {detail}")]
    Other {
        /// The database.
        place: Place,
        /// What it said.
        detail: String,
    },
}

/// Why it was not said that a group is committed.
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
    /// The connection ended before the answer, and what became of the group could not be found out in time. It is there
    /// wholly or not at all: load or follow before anything more is decided.
    #[error("it is not known whether {place} kept the change ({reason}); look before you try again")]
    Unknown {
        /// The database.
        place: Place,
        /// What happened.
        reason: String,
    },
    /// The database failed. Nothing of the group was done.
    #[error(transparent)]
    Store(#[from] StoreError),
}
