//! What the process was given from outside besides its arguments: environment variables and the clock.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use model::Timestamp;

/// The environment. Empty variables count as not set.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `NETLOOM_CONTEXT`.
    pub context: Option<String>,
    /// `NETLOOM_SERVER`.
    pub server: Option<String>,
    /// `NETLOOM_TOKEN`.
    pub token: Option<api::Secret>,
    /// `NETLOOM_PIN`.
    pub pin: Option<String>,
    /// `NETLOOM_CA`.
    pub authorities: Option<PathBuf>,
    /// The contexts file; none when there is no home folder to keep it in.
    pub contexts: Option<PathBuf>,
    /// A clock that stands still, for tests; none: the machine's.
    pub now: Option<Timestamp>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")));
        let usual = folder.map(|folder| folder.join("netloom").join("contexts.toml"));
        Self {
            context: variable("NETLOOM_CONTEXT"),
            server: variable("NETLOOM_SERVER"),
            token: variable("NETLOOM_TOKEN").map(api::Secret::from),
            pin: variable("NETLOOM_PIN"),
            authorities: variable("NETLOOM_CA").map(PathBuf::from),
            contexts: variable("NETLOOM_CONTEXTS").map(PathBuf::from).or(usual),
            now: None,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        })
    }
}
