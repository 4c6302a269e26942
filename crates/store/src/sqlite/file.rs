//! The database's file: made for its owner alone, and used by one server at a time.
//!
//! Not for what is in it. It keeps true that while a `Claim` lives, no other server has the file.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::failure::of_file;
use crate::{Place, StoreError};

/// The right to use a database file. It ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Claim {
    lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that was forked just now has the file open until it becomes another program.
        let _unlocked = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Which file was opened at a path.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    /// Its device and its number there.
    file: (u64, u64),
}

impl OpenFile {
    /// The one that is there now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: number(path)? })
    }

    /// Whether its path still leads to it.
    pub(super) fn is_still_there(&self) -> bool {
        number(&self.path).is_ok_and(|file| file == self.file)
    }
}

fn number(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// The path with something behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the folder if it is missing, claims the file, and makes it if it is missing.
pub(super) fn claim(path: &Path) -> Result<Claim, StoreError> {
    make_folder(path)?;
    let claim = lock(path)?;
    make_private(path)?;
    Ok(claim)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| of_file(folder, &error))
}

fn lock(path: &Path) -> Result<Claim, StoreError> {
    let lock_path = beside(path, ".lock");
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
    let mut lock = opened.map_err(|error| of_file(&lock_path, &error))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(StoreError::InUse { place: Place::from(path), holder: holder(&mut lock) });
        }
        Err(error) => return Err(of_file(&lock_path, &error.into())),
    }
    // Only so that the next one can say who has it; on a full disk it cannot, and the lock holds all the same.
    drop(sign(&mut lock));
    Ok(Claim { lock })
}

fn sign(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(32).read_to_string(&mut text);
    let Some(pid) = read.ok().and_then(|_| text.trim().parse::<u32>().ok()) else {
        return "another process".to_owned();
    };
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}

/// Makes an empty file that only its owner may read, or takes the others' rights from one that is there.
fn make_private(path: &Path) -> Result<(), StoreError> {
    match create_private(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => take_others_rights(path),
        Err(error) => Err(of_file(path, &error)),
    }
}

fn take_others_rights(path: &Path) -> Result<(), StoreError> {
    let mode = std::fs::metadata(path).map_err(|error| of_file(path, &error))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|error| of_file(path, &error))
}

/// A new file for its owner alone.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn folder_and_file_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/netloom.db");
        drop(claim(&path).unwrap());
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));

        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(claim(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_second_server_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netloom.db");
        let first = claim(&path).unwrap();
        let error = claim(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())) && error.contains("stop"),
            "{error}"
        );
        drop(first);
        claim(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = claim(&file.join("netloom.db")).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
