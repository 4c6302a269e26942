//! The contexts file: the servers this command line knows, how each is recognised, and the log-in to it.
//!
//! It holds tokens, so it is for its owner alone (0600), and is replaced whole, so that it is never half written.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use api::Secret;
use model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use tls::Trust;

use crate::failure::Failure;

/// A server that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Its address.
    pub(crate) server: String,
    /// Where other servers of the same database are: asked when it cannot be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<String>,
    /// The pin of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<Digest>,
    /// The authorities that sign its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Who is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The log-in's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
    /// When the log-in ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
}

impl Context {
    /// A server and how it is recognised, nobody logged in.
    pub(crate) fn new(server: String, trust: &Trust) -> Self {
        let (pin, ca) = match trust {
            Trust::Pin(pin) => (Some(*pin), None),
            Trust::AuthorityFile(path) => (None, Some(path.clone())),
            Trust::System => (None, None),
        };
        Self { server, others: Vec::new(), pin, ca, user: None, token: None, expires: None }
    }

    /// How the server is recognised.
    pub(crate) fn trust(&self) -> Trust {
        match (self.pin, &self.ca) {
            (Some(pin), _) => Trust::Pin(pin),
            (None, Some(path)) => Trust::AuthorityFile(path.clone()),
            (None, None) => Trust::System,
        }
    }

    /// Whether this is the address of one of its servers.
    pub(crate) fn is_at(&self, server: &str) -> bool {
        self.server == server || self.others.iter().any(|other| other == server)
    }

    /// Forgets the log-in.
    pub(crate) fn forget(&mut self) {
        (self.user, self.token, self.expires) = (None, None, None);
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// All servers that are known.
#[derive(Debug)]
pub(crate) struct Contexts {
    path: PathBuf,
    file: File,
}

impl Contexts {
    /// Reads the file; where there is none, nothing is known.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let path =
            path.context("there is no home folder for the contexts file; set NETLOOM_CONTEXTS to its path")?;
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                let about = format!("the contexts file {} cannot be read", path.display());
                return Err(anyhow::Error::new(error).context(about).into());
            }
        };
        let file = toml::from_str(&text).map_err(|error| {
            anyhow::anyhow!("the contexts file {} is damaged: {}", path.display(), error.message())
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the file in one step.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let about = || format!("the contexts file {} cannot be written", self.path.display());
        Ok(self.replace().with_context(about)?)
    }

    fn replace(&self) -> anyhow::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let next = self.path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&next);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        file.write_all(toml::to_string(&self.file)?.as_bytes())?;
        file.sync_all()?;
        Ok(fs::rename(&next, &self.path)?)
    }

    /// The name of the one in use.
    pub(crate) fn current(&self) -> Option<&str> {
        self.file.current.as_deref()
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Context)> {
        self.file.contexts.iter()
    }

    /// The one with this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.file.contexts.get(name).ok_or_else(|| self.unknown(name))
    }

    /// The one with this name, to be changed.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Context> {
        self.file.contexts.get_mut(name)
    }

    /// Adds or replaces one, and uses it from now on.
    pub(crate) fn put(&mut self, name: &str, context: Context) {
        self.file.contexts.insert(name.to_owned(), context);
        self.file.current = Some(name.to_owned());
    }

    /// Uses the one with this name from now on.
    pub(crate) fn choose(&mut self, name: &str) -> Result<(), Failure> {
        self.get(name)?;
        self.file.current = Some(name.to_owned());
        Ok(())
    }

    /// Forgets one. When it was the one in use and just one is left, that is used.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), Failure> {
        if self.file.contexts.remove(name).is_none() {
            return Err(self.unknown(name));
        }
        if self.current() == Some(name) {
            let only = self.file.contexts.keys().next().filter(|_| self.file.contexts.len() == 1);
            self.file.current = only.cloned();
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> Failure {
        Failure::UnknownContext { name: name.to_owned(), known: self.file.contexts.keys().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_saved_is_read_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netloom").join("contexts.toml");
        let mut contexts = Contexts::load(Some(&path)).unwrap();
        let mut home = Context::new("https://a.example".to_owned(), &Trust::Pin(Digest::from_bytes([7; 32])));
        home.token = Some(Secret::from("secret-token".to_owned()));
        home.expires = Some(Timestamp::from_millis(1_800_000_000_000));
        contexts.put("home", home.clone());
        contexts.put("lab", Context::new("https://b.example".to_owned(), &Trust::System));
        contexts.choose("home").unwrap();
        contexts.save().unwrap();

        let again = Contexts::load(Some(&path)).unwrap();
        assert_eq!((again.get("home").unwrap(), again.current()), (&home, Some("home")));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{again:?}").contains("secret-token"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn removing_the_one_in_use_leaves_none_or_the_only_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut contexts = Contexts::load(Some(&folder.path().join("c.toml"))).unwrap();
        contexts.put("a", Context::new("https://a".to_owned(), &Trust::System));
        contexts.put("b", Context::new("https://b".to_owned(), &Trust::System));
        contexts.remove("b").unwrap();
        assert_eq!(contexts.current(), Some("a"));
        contexts.remove("a").unwrap();
        assert_eq!(contexts.current(), None);
        assert!(matches!(contexts.remove("a"), Err(Failure::UnknownContext { .. })));
    }

    #[test]
    fn a_damaged_file_is_told_without_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, "[contexts.home]\nserver = 5\ntoken = \"secret-token\"\n").unwrap();
        let text = Contexts::load(Some(&path)).unwrap_err().to_string();
        assert!(text.contains("is damaged") && !text.contains("secret-token"), "{text}");
    }
}
