//! The one-time code with which the first administrator is made: in a file that only the server's owner can read, gone as
//! soon as there is an account. No default password, and nothing secret in a log.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use control::Intent;
use data_encoding::BASE32_NOPAD;

use crate::identity::{random, write_private};

/// Fifteen bytes as base32.
const CODE_LENGTH: usize = 24;

fn make(file: &Path) -> Result<String> {
    let code = BASE32_NOPAD.encode(&random::<15>()?).to_lowercase();
    write_private(file, format!("{code}\n").as_bytes())?;
    Ok(code)
}

/// The code, while there is no account.
#[derive(Debug)]
pub struct SetupCode {
    file: PathBuf,
    code: Mutex<Option<String>>,
}

impl SetupCode {
    /// Makes the code, or reads the one that was made before; removes it where there is an account.
    pub fn prepare(data: &Path, intent: &Intent) -> Result<Self> {
        let file = data.join("setup-code");
        if intent.is_set_up() {
            let prepared = Self { file, code: Mutex::new(None) };
            prepared.used();
            return Ok(prepared);
        }
        let code = match fs::read_to_string(&file) {
            Ok(text) if text.trim().len() == CODE_LENGTH => text.trim().to_owned(),
            // Whatever emptied or shortened the file: a code that is easily guessed must not open the server.
            Ok(_) => make(&file)?,
            Err(error) if error.kind() == ErrorKind::NotFound => make(&file)?,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        tracing::warn!(
            file = %file.display(),
            "there is no administrator yet: run `netloom setup` with the code in this file"
        );
        Ok(Self { file, code: Mutex::new(Some(code)) })
    }

    /// Where the code is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether this is the code. None once there is an account.
    pub fn matches(&self, given: &str) -> Option<bool> {
        let code = self.code.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let code = code.as_ref()?.as_bytes();
        let given = given.trim().to_lowercase();
        let differs = code.iter().zip(given.as_bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
        Some(code.len() == given.len() && differs == 0)
    }

    /// There is an account now: the code is worth nothing any more.
    pub fn used(&self) {
        *self.code.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(file = %self.file.display(), %error, "the used set-up code was not removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_kept_until_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let first = SetupCode::prepare(folder.path(), &Intent::default()).unwrap();
        let code = fs::read_to_string(first.file()).unwrap();
        let second = SetupCode::prepare(folder.path(), &Intent::default()).unwrap();
        assert_eq!(second.matches(&code.to_uppercase()), Some(true));
        assert_eq!(second.matches("wrong"), Some(false));
        assert_eq!(second.matches(""), Some(false));
        fs::write(second.file(), "\n").unwrap();
        let third = SetupCode::prepare(folder.path(), &Intent::default()).unwrap();
        assert_eq!((third.matches(""), third.matches(&code)), (Some(false), Some(false)));
        second.used();
        assert_eq!(second.matches(&code), None);
        assert!(!second.file().exists());
    }
}
