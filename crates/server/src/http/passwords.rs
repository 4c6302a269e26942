//! Passwords: hashed and checked by argon2id (RFC 9106), a few at a time and never on the threads that serve requests.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, anyhow};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use model::PasswordHash;
use tokio::sync::Semaphore;

use super::Failure;

/// Each takes 19 MiB and a core for a while.
const MOST_AT_ONCE: usize = 2;
/// Those that wait for their turn; who comes when all places are taken is told to come later.
const MOST_WAITING: usize = 64;

/// Does the work of hashing.
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    places: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(MOST_AT_ONCE)), places: Semaphore::new(MOST_WAITING) }
    }
}

fn hash(password: &str) -> Result<PasswordHash> {
    let phc: Phc = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow!("the password cannot be hashed: {error}"))?;
    Ok(PasswordHash::from_phc(phc.to_string()))
}

/// A hash that no password has: checked for accounts that do not exist, so that they take as long as those that do.
static NOBODY: LazyLock<Option<PasswordHash>> = LazyLock::new(|| hash("nobody's").ok());

fn matches(password: &str, hash: &PasswordHash) -> bool {
    let parsed = Phc::new(hash.as_phc());
    parsed.is_ok_and(|phc| Argon2::default().verify_password(password.as_bytes(), &phc).is_ok())
}

impl Passwords {
    async fn turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let _place = self.places.try_acquire().map_err(|_| {
            Failure::busy("many passwords are being checked just now; try again in a few seconds")
        })?;
        let turn =
            Arc::clone(&self.turns).acquire_owned().await.context("passwords are not checked any more")?;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        Ok(worked.await.context("the password was not worked on")?)
    }

    /// The hash of a new password.
    pub(super) async fn hash(&self, password: String) -> Result<PasswordHash, Failure> {
        Ok(self.turn(move || hash(&password)).await??)
    }

    /// Whether this is the password; takes as long when there is no account.
    pub(super) async fn check(&self, password: String, known: Option<PasswordHash>) -> Result<bool, Failure> {
        self.turn(move || match known {
            Some(known) => matches(&password, &known),
            None => {
                let _nobody = NOBODY.as_ref().map(|nobody| matches(&password, nobody));
                false
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_matches_and_hashes_are_argon2id() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$"));
        assert!(passwords.check("correct horse".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.check("wrong horse".to_owned(), Some(hash)).await.unwrap());
        assert!(!passwords.check("correct horse".to_owned(), None).await.unwrap());
    }
}
