//! What stands at a path, and putting it there: nothing, a link, or a file with its mode and owner.
//!
//! Not for knowing whose it is. It keeps true that whoever reads meanwhile finds the old or the new one whole wherever the
//! file system can do that, and that a name servers' file is never read without a limit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::words;

/// The longest file that is taken for a resolver's configuration.
const LONGEST: u64 = 64 << 10;
/// Why a file cannot be replaced by renaming another one onto it, though it may still be written: it is a mount of its
/// own, or its folder is closed.
const NOT_RENAMED: [Errno; 5] = [Errno::BUSY, Errno::XDEV, Errno::ROFS, Errno::ACCESS, Errno::PERM];

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing.
    Absent,
    /// A symbolic link to this.
    Link(PathBuf),
    /// A file.
    File(Contents),
}

/// A file's bytes and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Entry {
    /// What stands there; a link is not followed.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            found => found?,
        };
        if metadata.is_symlink() {
            return Ok(Self::Link(fs::read_link(path)?));
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        Ok(Self::File(Contents { bytes: read(path)?, mode, uid, gid }))
    }

    /// Puts this at the path in one step, by way of `draft` in the same folder, and makes sure that it stays.
    pub(super) fn put(&self, path: &Path, draft: &Path) -> io::Result<()> {
        remove(draft)?;
        let put = match self {
            Self::Absent => remove(path),
            Self::Link(target) => symlink(target, draft).and_then(|()| fs::rename(draft, path)),
            Self::File(contents) => contents.write(draft).and_then(|()| fs::rename(draft, path)),
        };
        if put.is_err() {
            // What went wrong is the news; a draft that stays is removed the next time.
            let _ = remove(draft);
            return put;
        }
        sync_folder(path)
    }
}

impl Contents {
    /// An ordinary file of the system with these bytes.
    pub(super) fn ordinary(bytes: Vec<u8>) -> Self {
        Self { bytes, mode: 0o644, uid: 0, gid: 0 }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&self.bytes)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (self.uid, self.gid) {
            fchown(&file, Some(self.uid), Some(self.gid))?;
        }
        file.set_permissions(fs::Permissions::from_mode(self.mode))?;
        file.sync_all()
    }

    /// Writes the bytes into the file that is there, which keeps its mode, its owner and its mount.
    pub(super) fn write_in_place(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        file.write_all(&self.bytes)?;
        file.sync_all()
    }
}

/// Whether writing in place may do what putting could not.
pub(super) fn may_be_written_in_place(error: &io::Error) -> bool {
    words::is(error, &NOT_RENAMED)
}

/// Reads a file, or what a link leads to.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe that was put there must not hold us up.
    let file =
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than a resolver's configuration can be (64 KiB)"));
    }
    Ok(bytes)
}

/// The same; nothing where there is nothing.
pub(super) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Removes a file; it is fine if there is none.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
