//! Files that are their owner's alone.
//!
//! It keeps true that such a file is readable by nobody else (0600), never replaces another, and has its name only when it is
//! whole.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::failure::Failure;

/// A file that is not whole yet. It is gone unless it was published.
pub(crate) struct PrivateFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
}

fn taken(path: &Path) -> Failure {
    Failure::Local(anyhow::anyhow!("the file {} exists already; give another name", path.display()))
}

impl PrivateFile {
    /// A file that will have this name, which must be free.
    pub(crate) fn new(target: &Path) -> Result<Self, Failure> {
        if target.symlink_metadata().is_ok() {
            return Err(taken(target));
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = target.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = file.with_context(|| format!("{} cannot be written", partial.display()))?;
        Ok(Self { file, partial, target: target.to_owned() })
    }

    /// The name that it will have.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Adds to it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(bytes);
        Ok(written.with_context(|| format!("{} cannot be written", self.partial.display()))?)
    }

    /// Gives it its name, unless another file has that.
    pub(crate) fn publish(self) -> Result<(), Failure> {
        let about = || format!("{} cannot be written", self.target.display());
        self.file.sync_all().with_context(about)?;
        // A link never replaces anything, other than a rename.
        match fs::hard_link(&self.partial, &self.target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(taken(&self.target)),
            Err(_) if self.target.symlink_metadata().is_ok() => Err(taken(&self.target)),
            // Some file systems have no links.
            Err(_) => Ok(fs::rename(&self.partial, &self.target).with_context(about)?),
        }
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
    }
}
