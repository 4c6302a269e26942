//! Where a database is, in words for people: a file's path, or the address of a server without user and password.
//!
//! Not for opening anything. It keeps true that whatever names a place can be shown and logged.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a database or a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Arc<str>);

impl Place {
    /// A place by its words; nothing secret may be in them.
    pub(crate) fn named(words: impl Into<Arc<str>>) -> Self {
        Self(words.into())
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self(path.display().to_string().into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
