//! What can befall a SQLite file: another program that keeps it locked.
//!
//! Not for the server's own claim on the file. It keeps true that a lock ends with whoever holds its value.

use std::io;
use std::path::Path;

use rusqlite::Connection;

/// A lock that is held until this is dropped: nobody else writes, all may read.
#[derive(Debug)]
pub struct Lock(Connection);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the connection ends it all the same.
        drop(self.0.execute_batch("ROLLBACK"));
    }
}

/// Keeps others from writing to the file.
pub fn hold_lock(path: &Path) -> io::Result<Lock> {
    let connection = Connection::open(path).map_err(io::Error::other)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(io::Error::other)?;
    Ok(Lock(connection))
}
