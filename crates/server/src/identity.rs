//! The server's own secrets, in the data folder: made at the first start, readable by its owner only, never sent anywhere.
//!
//! Losing them means that every agent has to join again, so a backup of the data folder includes them.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use store::Database;
use wire::{SealingSecret, WgSecret};

use crate::rekey::Next;

/// The private keys of the server.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its end of every sealed channel.
    pub sealing: SealingSecret,
    /// The two WireGuard identities of the rendezvous.
    pub rendezvous: [WgSecret; 2],
}

/// The files in which they are.
pub(crate) const SEALING: &str = "sealing.key";
pub(crate) const RENDEZVOUS: [&str; 2] = ["rendezvous-1.key", "rendezvous-2.key"];

impl Identity {
    /// Reads the keys, making those that are not there yet.
    pub fn load_or_create(data: &Path) -> Result<Self> {
        Self::create_in(&folder(data))
    }

    /// Reads the keys in a folder, making those that are not there yet.
    pub fn create_in(folder: &Path) -> Result<Self> {
        create_private_folder(folder)?;
        Self::by(|name| key(&folder.join(name)))
    }

    /// Reads the keys, and makes none.
    pub fn load(data: &Path) -> Result<Self> {
        Self::load_from(&[folder(data)])
    }

    /// Reads the keys, each in the first of these folders in which it is, and makes none.
    pub fn load_from(folders: &[PathBuf]) -> Result<Self> {
        Self::by(|name| {
            for folder in folders {
                if let Some(key) = read(&folder.join(name))? {
                    return Ok(key);
                }
            }
            let missing = folders.last().map(|folder| folder.join(name)).unwrap_or_default();
            bail!("{} is not there; restore it from a backup", missing.display())
        })
    }

    fn by(key: impl Fn(&str) -> Result<[u8; 32]>) -> Result<Self> {
        Ok(Self {
            sealing: SealingSecret::from_random(key(SEALING)?),
            rendezvous: [
                WgSecret::from_random(key(RENDEZVOUS[0])?),
                WgSecret::from_random(key(RENDEZVOUS[1])?),
            ],
        })
    }

    /// Whether this database is one of servers with these keys; a new one becomes it. Hosts agreed their channels with one key:
    /// a server with another one would be none to them.
    pub async fn check(&self, database: &dyn Database, data: &Path, next: Option<&Next>) -> Result<()> {
        let ours = self.sealing.public().to_string();
        let theirs = database.identity(&ours).await.context("who uses the database cannot be read")?;
        if ours != theirs {
            if next.is_some_and(|next| next.sealing.public().to_string() == theirs) {
                bail!(
                    "this server's next keys are in force, and it has not taken them over yet: a change of keys was not finished \
                     here; say `netloom-server rekey finish`"
                );
            }
            bail!(
                "{} belongs to a server with other keys than those in {}: no agent would know this one; copy the folder \
                 `keys` (and, with self-signed certificates, `tls`) of a server of this database to there, or name another \
                 database; if those keys are lost for good, `netloom-server rekey adopt` makes the database this server's, and \
                 every host has to join again",
                database.place(),
                folder(data).display()
            );
        }
        Ok(())
    }
}

/// The sealing key in a folder, if it is there.
pub(crate) fn sealing(folder: &Path) -> Result<Option<SealingSecret>> {
    Ok(read(&folder.join(SEALING))?.map(SealingSecret::from_random))
}

/// Makes a folder that only its owner can enter.
pub fn create_private_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).with_context(|| {
        format!("cannot make the folder {}; choose another with `data` or NETLOOM_DATA", folder.display())
    })
}

/// Where the keys are.
pub fn folder(data: &Path) -> PathBuf {
    data.join("keys")
}

/// The key in a file, which is made where it is missing.
fn key(path: &Path) -> Result<[u8; 32]> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let random = random()?;
    write_private(path, BASE64.encode(&random).as_bytes())?;
    Ok(random)
}

fn read(path: &Path) -> Result<Option<[u8; 32]>> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map(Some).with_context(|| {
            format!("{} does not hold a key (32 bytes of base64); restore it from a backup", path.display())
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse(text: &str) -> Result<[u8; 32]> {
    let bytes = BASE64.decode(text.trim().as_bytes())?;
    let Ok(key) = bytes.try_into() else { bail!("wrong length") };
    Ok(key)
}

/// Randomness from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the operating system gives no randomness")?;
    Ok(bytes)
}

/// Writes a file that only its owner can read: whole or not at all, also when the power fails.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_made_once_and_only_their_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(folder.path()).unwrap();
        let second = Identity::load_or_create(folder.path()).unwrap();
        assert_eq!(first.sealing, second.sealing);
        assert_eq!(first.rendezvous, second.rendezvous);
        assert_ne!(first.rendezvous[0], first.rendezvous[1]);
        let mode = fs::metadata(folder.path().join("keys/sealing.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_database_is_used_by_servers_with_the_same_keys_only() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let database = store::Sqlite::open(&one.path().join("netloom.db")).unwrap();
        let (first, other) =
            (Identity::load_or_create(one.path()).unwrap(), Identity::load_or_create(two.path()).unwrap());
        first.check(&database, one.path(), None).await.unwrap();
        first.check(&database, one.path(), None).await.unwrap();
        let error = other.check(&database, two.path(), None).await.unwrap_err().to_string();
        let keys = two.path().join("keys").display().to_string();
        assert!(error.contains("netloom.db") && error.contains(&keys) && error.contains("copy"), "{error}");
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        Identity::load_or_create(folder.path()).unwrap();
        fs::write(folder.path().join("keys/sealing.key"), "short").unwrap();
        let error = format!("{:#}", Identity::load_or_create(folder.path()).unwrap_err());
        assert!(error.contains("sealing.key") && error.contains("backup"), "{error}");
    }
}
