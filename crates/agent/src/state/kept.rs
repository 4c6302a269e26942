//! What settings of the kernel were before they were changed, on disk: `sysctls.json`.
//!
//! Not for which settings, nor for putting them back (`reconcile::Kept`). It keeps true that what is known here is on the
//! disk, so that whoever comes after a process that was killed can put it back; and that nothing is left of it where nothing
//! is to be put back.

use std::path::PathBuf;

use anyhow::Context as _;
use reconcile::Kept;

use super::{MOST_JSON, file};

/// The file, and what is in it.
#[derive(Debug)]
pub struct KeptFile {
    path: PathBuf,
    kept: Kept,
}

impl KeptFile {
    /// The file at this path, which need not exist yet.
    pub fn open(path: PathBuf) -> anyhow::Result<Self> {
        let kept = match file::read(&path, MOST_JSON)? {
            None => Kept::default(),
            Some(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged: it says what settings of the kernel were; remove it", path.display())
            })?,
        };
        Ok(Self { path, kept })
    }

    /// What is kept.
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Keeps this from now on. What could not be written is not kept. Says whether it is other than before.
    pub fn keep(&mut self, kept: Kept) -> anyhow::Result<bool> {
        if kept == self.kept {
            return Ok(false);
        }
        if kept.0.is_empty() {
            file::remove(&self.path)?;
        } else {
            let text = serde_json::to_vec_pretty(&kept).context("the settings cannot be encoded")?;
            file::write(&self.path, &text)?;
        }
        self.kept = kept;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_outlives_the_process_and_leaves_no_file_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sysctls.json");
        let kept = Kept([("net/ipv4/ip_forward".to_owned(), "0".to_owned())].into());
        let mut file = KeptFile::open(path.clone()).unwrap();
        assert!(file.keep(kept.clone()).unwrap() && !file.keep(kept.clone()).unwrap());
        let mut again = KeptFile::open(path.clone()).unwrap();
        assert_eq!(again.kept(), &kept);
        assert!(again.keep(Kept::default()).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn what_cannot_be_written_is_not_kept_and_a_damaged_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/such/folder/sysctls.json");
        let mut file = KeptFile::open(path).unwrap();
        assert!(file.keep(Kept([("net/a".to_owned(), "0".to_owned())].into())).is_err());
        assert_eq!(file.kept(), &Kept::default());
        let path = folder.path().join("sysctls.json");
        std::fs::write(&path, "{").unwrap();
        assert!(KeptFile::open(path).unwrap_err().to_string().contains("sysctls.json"));
    }
}
