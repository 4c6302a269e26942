//! Who a server is to the others: the words in which it holds leases.
//!
//! Not a secret, and not an identity that proves anything: only who can write to the database can be read there. It keeps
//! true that one run of one server has one text.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::identity::{random, write_private};

/// A longer text is none of ours.
const MOST_TEXT: usize = 4 * 1024;

/// A server as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which server: made once, kept in its data folder.
    pub id: String,
    /// Which run of it.
    pub run: String,
    /// What it calls itself.
    pub name: String,
    /// Where the other servers reach it.
    pub url: String,
    /// The pin of its certificate there; none where the certificate is publicly trusted, or there is no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Digest>,
    /// Its version.
    pub version: String,
}

impl Holder {
    /// This server, in this run.
    pub fn new(data: &Path, name: String, url: String, pin: Option<Digest>) -> Result<Self> {
        let (id, run) = (id(data)?, HEXLOWER.encode(&random::<8>()?));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Self { id, run, name, url, pin, version })
    }

    /// In the words in which it holds leases.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("text and numbers can be written as JSON")
    }

    /// Who holds a lease in these words; none where they are not a server's.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() > MOST_TEXT {
            return None;
        }
        serde_json::from_str(text).ok()
    }

    /// Whether this is an earlier run of the same server.
    pub(super) fn is_former_of(&self, now: &Self) -> bool {
        self.id == now.id && self.run != now.run
    }
}

fn id(data: &Path) -> Result<String> {
    let file = data.join("server-id");
    match fs::read_to_string(&file) {
        Ok(text) if is_id(text.trim()) => Ok(text.trim().to_owned()),
        Ok(_) => bail!("{} does not hold an id; remove it, and another one is made", file.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let id = HEXLOWER.encode(&random::<8>()?);
            write_private(&file, format!("{id}\n").as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_id_and_each_run_has_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let pin = Some(Digest::from_bytes([7; 32]));
            Holder::new(folder.path(), "one".to_owned(), "https://one.example".to_owned(), pin).unwrap()
        };
        let (first, second) = (start(), start());
        assert!(first.is_former_of(&second) && !first.is_former_of(&first));
        assert_ne!(first.text(), second.text());
        assert_eq!(Holder::read(&first.text()), Some(first.clone()));
        fs::write(folder.path().join("server-id"), "").unwrap();
        let error = Holder::new(folder.path(), String::new(), String::new(), None).unwrap_err().to_string();
        assert!(error.contains("server-id") && error.contains("remove"), "{error}");
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over_and_what_is_no_server_is_nobody() {
        let newer = r#"{"id":"0","run":"1","name":"x","url":"https://x","version":"9","more":[1]}"#;
        assert_eq!(Holder::read(newer).unwrap().pin, None);
        for other in ["", "somebody", "{}", &format!("{newer}{}", " ".repeat(5_000))] {
            assert_eq!(Holder::read(other), None);
        }
    }
}
