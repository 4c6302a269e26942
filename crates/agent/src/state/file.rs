//! Files written whole or not at all, and read with a limit.
//!
//! Not for what is in them. It keeps true that whoever reads sees the old file or the new one, also after a power cut, and
//! that nobody but the owner can read either.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Error, bail};

/// Makes the folder for its owner alone. Says whether it had to be made.
pub fn create_folder(path: &Path) -> anyhow::Result<bool> {
    if path.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|error| trouble("keep to its owner", path, error))?;
        return Ok(false);
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| trouble("make", path, error))?;
    Ok(true)
}

/// Writes a file in place of what is there.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = draft_of(path);
    let written =
        write_draft(&draft, bytes).and_then(|()| fs::rename(&draft, path)).and_then(|()| sync_folder(path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map_err(|error| trouble("write", path, error))
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn write_draft(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Reads a file of at most this many bytes; none where there is no such file.
pub fn read(path: &Path, most: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened.map_err(|error| trouble("read", path, error))?,
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| trouble("read", path, error))?;
    if bytes.len() > most {
        bail!("{} has more than the {most} bytes allowed; something else has written to it", path.display());
    }
    Ok(Some(bytes))
}

/// Removes a file; that it is not there is as good.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(trouble("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether this many bytes can be written there now. Tried rather than asked: quotas and reserved blocks count as well.
pub fn check_room(folder: &Path, bytes: usize) -> anyhow::Result<()> {
    let probe = folder.join("room.new");
    let tried = write_draft(&probe, &vec![0x55; bytes]);
    let _ = fs::remove_file(&probe);
    tried.map_err(|error| trouble("write to", folder, error))
}

/// What the system refused, with what to do about it.
pub(super) fn trouble(doing: &str, path: &Path, error: io::Error) -> Error {
    let path = path.display();
    let advice = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("the disk is full: could not {doing} {path}; make room there and try again")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!(
                "could not {doing} {path}: its file system is read-only; mount it for writing, or set NETCLIENT_STATE_DIR to another folder"
            )
        }
        ErrorKind::PermissionDenied => {
            format!("no permission to {doing} {path}: run this as root, such as with `sudo`")
        }
        _ => return Error::new(error).context(format!("could not {doing} {path}")),
    };
    Error::msg(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(read(&path, 2).is_err());
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path, 10).unwrap().is_none());
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        // Every write to /dev/full fails as a full disk does.
        let error = OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        let text = trouble("write", Path::new("/var/lib/netclient/map"), error).to_string();
        assert!(text.starts_with("the disk is full") && text.contains("make room"), "{text}");
    }
}
