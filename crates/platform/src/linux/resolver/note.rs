//! Which way the resolver was told in, noted beside our state.
//!
//! Not for what it was told. It keeps true that the note is on disk before the resolver is told, and that a note which a
//! newer version wrote is an error rather than a guess.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::entry::{self, Contents, Entry};

/// The way that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Noted {
    Resolved,
    Resolvconf {
        /// The name of our record.
        record: String,
        /// How it was set.
        mark: String,
    },
    File,
}

impl Noted {
    /// Whether both tell the resolver in the same place.
    pub(super) fn is_same_way(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Resolvconf { record, .. }, Self::Resolvconf { record: other, .. }) => record == other,
            (Self::Resolved, Self::Resolved) | (Self::File, Self::File) => true,
            (Self::Resolved | Self::Resolvconf { .. } | Self::File, _) => false,
        }
    }

    /// How a record was set.
    pub(super) fn mark(&self) -> Option<&str> {
        match self {
            Self::Resolvconf { mark, .. } => Some(mark),
            Self::Resolved | Self::File => None,
        }
    }

    /// What may be said before it is set: where, but how only as it was before.
    pub(super) fn before_it_is_set(&self, before: Option<&Self>) -> Self {
        match (self, before) {
            (Self::Resolvconf { .. }, Some(before)) if before.is_same_way(self) => before.clone(),
            (Self::Resolvconf { record, .. }, _) => {
                Self::Resolvconf { record: record.clone(), mark: "unknown".to_owned() }
            }
            (Self::Resolved | Self::File, _) => self.clone(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Resolved => "resolved\n".to_owned(),
            Self::Resolvconf { record, mark } => format!("resolvconf {record} {mark}\n"),
            Self::File => "file\n".to_owned(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words[..] {
            ["resolved"] => Some(Self::Resolved),
            ["resolvconf", record, mark] => {
                Some(Self::Resolvconf { record: record.to_owned(), mark: mark.to_owned() })
            }
            ["file"] => Some(Self::File),
            _ => None,
        }
    }
}

/// The note on disk.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
}

impl Note {
    pub(super) fn new(state: &Path) -> Self {
        Self { path: state.join("resolver") }
    }

    /// What is noted.
    pub(super) fn read(&self) -> anyhow::Result<Option<Noted>> {
        let text = entry::read_if_there(&self.path);
        let Some(text) = text.with_context(|| format!("could not read {}", self.path.display()))? else {
            return Ok(None);
        };
        let Some(noted) = Noted::parse(&String::from_utf8_lossy(&text)) else {
            bail!("{} is not understood: a newer version may have written it", self.path.display());
        };
        Ok(Some(noted))
    }

    /// Notes this, if it is not noted.
    pub(super) fn write(&self, noted: &Noted) -> anyhow::Result<()> {
        if self.read()?.as_ref() == Some(noted) {
            return Ok(());
        }
        let entry = Entry::File(Contents::ordinary(noted.text().into_bytes()));
        let write = || {
            fs::create_dir_all(self.path.parent().unwrap_or(Path::new("/")))?;
            entry.put(&self.path, &self.path.with_extension("draft"))
        };
        write().with_context(|| format!("could not write {}", self.path.display()))
    }

    /// Removes the note, and what is left of one that was being written.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        if !self.path.parent().is_some_and(Path::is_dir) {
            return Ok(());
        }
        let removed = Entry::Absent.put(&self.path, &self.path.with_extension("draft"));
        removed.with_context(|| format!("could not remove {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolvconf(record: &str, mark: &str) -> Noted {
        Noted::Resolvconf { record: record.into(), mark: mark.into() }
    }

    #[test]
    fn what_is_noted_is_read_again_and_what_is_not_understood_is_no_guess() {
        for noted in [Noted::Resolved, resolvconf("tun.netloom0.netloom", "exclusive"), Noted::File] {
            assert_eq!(Noted::parse(&noted.text()), Some(noted));
        }
        for text in ["", "networkmanager\n", "resolvconf x\n", "file x\n"] {
            assert_eq!(Noted::parse(text), None, "{text}");
        }
    }

    #[test]
    fn how_a_record_is_set_is_noted_only_after_it_was() {
        let private = resolvconf("a", "private");
        let exclusive = resolvconf("a", "exclusive");
        assert_eq!(exclusive.before_it_is_set(None), resolvconf("a", "unknown"));
        assert_eq!(exclusive.before_it_is_set(Some(&private)), private);
        assert_eq!(exclusive.before_it_is_set(Some(&resolvconf("b", "private"))), resolvconf("a", "unknown"));
        assert_eq!(Noted::File.before_it_is_set(Some(&private)), Noted::File);
    }
}
