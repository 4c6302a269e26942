//! Which database: the table of backends, and the address that chooses one.
//!
//! Not for talking to any. It keeps true that an address shows neither user nor password, and that whatever is wrong with it
//! is said before anything is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{Answer, Database, Place, StoreError, postgres, rqlite, sqlite};

/// A kind of database: the beginnings of its addresses, and what it is opened and filled by.
pub(crate) struct Backend {
    /// What stands before `:` in its addresses.
    pub(crate) schemes: &'static [&'static str],
    /// An address, for people.
    pub(crate) example: &'static str,
    /// Where this address leads, in words without secrets; or what is wrong with it.
    pub(crate) place: fn(&Url) -> Result<Place, String>,
    /// Looks at it, and changes nothing; none where it is empty.
    pub(crate) inspect: for<'a> fn(&'a Address) -> Answer<'a, Option<Inspected>>,
    /// Opens it, and makes what is missing.
    pub(crate) open: for<'a> fn(&'a Address) -> Answer<'a, Arc<dyn Database>>,
    /// Fills it from a backup; says where what was there before is now, if it is anywhere.
    pub(crate) restore: for<'a> fn(&'a Address, &'a Path, Existing) -> Answer<'a, Option<Place>>,
}

/// Every kind of database there is.
const BACKENDS: &[Backend] = &[sqlite::BACKEND, postgres::BACKEND, rqlite::BACKEND];

/// What was found in a database that was only looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The version of its tables.
    pub schema: u32,
    /// The newest version that this program knows.
    pub known: u32,
    /// The last commit's number.
    pub seq: u64,
    /// Who its servers are; none before the first start that says so.
    pub identity: Option<String>,
    /// Whether it takes no writes.
    pub read_only: bool,
}

/// What a restore does with data that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is refused.
    Keep,
    /// What is there goes.
    Replace,
}

/// A database password: never shown, and wiped from memory.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password from its text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What is needed beside the address.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The password, where the address has none.
    pub password: Option<Password>,
    /// A PEM file with the authorities that a server's certificate is held against; the system's without it.
    pub authority: Option<PathBuf>,
}

/// An address in its parts: `scheme:rest`. It may hold a password.
#[derive(Clone)]
pub(crate) struct Url {
    pub(crate) scheme: &'static str,
    pub(crate) text: Zeroizing<String>,
}

impl Url {
    /// What stands behind the scheme and its colon.
    pub(crate) fn rest(&self) -> &str {
        &self.text[self.scheme.len() + 1..]
    }
}

/// Where a database is, and what is needed to get in.
#[derive(Clone)]
pub struct Address {
    pub(crate) url: Url,
    pub(crate) access: Access,
    pub(crate) place: Place,
    backend: &'static Backend,
}

impl Address {
    /// Reads `sqlite:/path`, a path, or the address of a database server; what is wrong otherwise, as a sentence.
    pub fn parse(text: &str, access: Access) -> Result<Self, String> {
        let (backend, url) = match scheme_of(text) {
            Some(scheme) => {
                let known = |backend: &&Backend| backend.schemes.contains(&scheme);
                let backend = BACKENDS.iter().find(known).ok_or_else(|| unknown(scheme))?;
                let scheme =
                    backend.schemes.iter().find(|known| **known == scheme).expect("it was found by it");
                (backend, Url { scheme, text: Zeroizing::new(text.to_owned()) })
            }
            None => return Ok(Self::file(Path::new(text))),
        };
        let place = (backend.place)(&url)?;
        Ok(Self { url, access, place, backend })
    }

    /// The SQLite file with this path.
    pub fn file(path: &Path) -> Self {
        let text = Zeroizing::new(format!("{}:{}", sqlite::SCHEME, path.display()));
        let url = Url { scheme: sqlite::SCHEME, text };
        let backend = &BACKENDS[0];
        Self { url, access: Access::default(), place: Place::from(path), backend }
    }

    /// The same with another way in.
    #[must_use]
    pub fn with(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Whether several servers can use it at the same time.
    pub fn is_shared(&self) -> bool {
        self.url.scheme != sqlite::SCHEME
    }

    /// Where it is, in words that may be shown.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.place).finish()
    }
}

fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_one =
        scheme.len() > 1 && scheme.chars().all(|one| one.is_ascii_alphanumeric() || "+-.".contains(one));
    is_one.then_some(scheme)
}

fn unknown(scheme: &str) -> String {
    let examples: Vec<&str> = BACKENDS.iter().map(|backend| backend.example).collect();
    format!("`{scheme}:` is not a database that is known; there are a path, {}", examples.join(", "))
}

/// Looks at the database at this address, and changes nothing; none where it is empty or not made yet.
pub async fn inspect(address: &Address) -> Result<Option<Inspected>, StoreError> {
    (address.backend.inspect)(address).await
}

/// Opens the database at this address: its tables are made or brought to the newest version.
pub async fn open(address: &Address) -> Result<Arc<dyn Database>, StoreError> {
    (address.backend.open)(address).await
}

/// Fills the database at this address from a backup, whichever database that is from. No server may use it meanwhile. Says where
/// what was there before is now, if it is anywhere.
pub async fn restore(
    backup: &Path,
    address: &Address,
    existing: Existing,
) -> Result<Option<Place>, StoreError> {
    (address.backend.restore)(address, backup, existing).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<String, String> {
        Address::parse(text, Access::default()).map(|address| address.place().to_string())
    }

    #[test]
    fn an_address_leads_to_its_backend_and_shows_no_secret() {
        let cases = [
            ("/var/lib/netloom/netloom.db", "/var/lib/netloom/netloom.db"),
            ("sqlite:/var/lib/netloom/netloom.db", "/var/lib/netloom/netloom.db"),
            ("postgres://anna:hunter2@db.example:5433/netloom", "postgres://db.example:5433/netloom"),
            (
                "postgresql://anna@[2001:db8::1]/netloom?password=hunter2",
                "postgres://[2001:db8::1]:5432/netloom",
            ),
            ("postgres://one,two:5433/netloom", "postgres://one:5432,two:5433/netloom"),
            ("postgres:///netloom?host=/run/postgresql", "postgres:///netloom?host=/run/postgresql"),
            ("rqlite://anna:hunter2@one:4001,two:4001", "rqlite://one:4001,two:4001"),
            ("rqlites://[2001:db8::1]", "rqlites://[2001:db8::1]:4001"),
        ];
        for (text, expected) in cases {
            let address = Address::parse(text, Access::default()).unwrap();
            assert_eq!(address.place().to_string(), expected);
            assert!(!format!("{address:?}").contains("hunter2") && !format!("{address:?}").contains("anna"));
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said_without_its_secrets() {
        let cases = [
            ("mysql://anna:hunter2@db/netloom", "not a database that is known"),
            ("postgres://anna:hunter2@db:five/netloom", "port"),
            ("postgres://anna:hunter2@db", "name of the database"),
            ("postgres://anna:hunter2@db/netloom?sslmode=maybe", "sslmode"),
            ("rqlite://anna:hunter2@", "host"),
            ("rqlite://anna:hunter2@one/path", "path"),
            ("sqlite:", "path"),
        ];
        for (text, expected) in cases {
            let error = place(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
