//! The administrator: types `netloom` on the server's machine, as the log-in's owner.
//!
//! Not for the API itself. Keeps true that whatever a test sets up, a person could have typed.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;

use super::server::{DATA, Server};
use super::time::patience;
use crate::lab::{Output, eventually};
use crate::programs;

const PASSWORD_FILE: &str = "/etc/administrator-password";
const LIMIT: Duration = Duration::from_secs(60);

/// Which enrollment key to make.
#[derive(Debug, Clone, Default)]
pub struct KeyPlan<'a> {
    /// The networks it leads into.
    pub networks: Vec<&'a str>,
    /// How often it may be used; none: as often as one likes.
    pub uses: Option<u32>,
    /// After what time it is refused, such as `1s`.
    pub expires_in: Option<&'a str>,
}

impl<'a> KeyPlan<'a> {
    /// A key that leads into this network, for any number of machines.
    pub fn into_network(network: &'a str) -> Self {
        Self { networks: vec![network], ..Self::default() }
    }
}

/// Who administers a server.
#[derive(Debug, Clone, Copy)]
pub struct Administrator<'a> {
    server: &'a Server,
}

impl<'a> Administrator<'a> {
    pub(super) fn of(server: &'a Server) -> Self {
        Self { server }
    }

    pub(super) fn set_up(&self) -> Result<()> {
        self.server.machine().write(PASSWORD_FILE, "correct horse battery staple\n")?;
        let code = format!("{DATA}/setup-code");
        let words = ["setup", "--accept-pin", "--context", "lab", "--server", self.server.url()];
        let who = ["--code-file", &code, "--name", "admin", "--password-file", PASSWORD_FILE];
        self.run(words.into_iter().chain(who)).map(drop)
    }

    /// Where the program is.
    pub fn program() -> Result<PathBuf> {
        programs::find("netloom")
    }

    /// Types a command, which must succeed.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output> {
        let machine = self.server.machine();
        let mut command = machine.command(Self::program()?)?;
        machine.finish(command.args(arguments), patience(LIMIT))?.success()
    }

    /// Types a command with `--json`, and reads what it prints.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let output = self.run(["--json"].iter().chain(arguments))?;
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("this is not what was expected: {output}"))
    }

    /// Makes a network with both ranges.
    pub fn create_network(&self, name: &str, v4: &str, v6: &str) -> Result<api::Network> {
        self.json(&["network", "create", name, "--v4", v4, "--v6", v6])
    }

    /// Makes a key, and gives the token for `netclient join`.
    pub fn token(&self, plan: &KeyPlan<'_>) -> Result<String> {
        let title = format!("key {}", self.json::<Vec<api::Key>>(&["key", "list"])?.len() + 1);
        let uses = plan.uses.map(|uses| uses.to_string());
        let mut words = vec!["key", "create", &title];
        words.extend(plan.networks.iter().flat_map(|network| ["-n", network]));
        words.extend(uses.iter().flat_map(|uses| ["--uses", uses]));
        words.extend(plan.expires_in.iter().flat_map(|span| ["--expires-in", span]));
        Ok(self.json::<api::CreatedKey>(&words)?.token)
    }

    /// All hosts.
    pub fn hosts(&self) -> Result<Vec<api::Host>> {
        self.json(&["host", "list"])
    }

    /// One host; an error when there is none of this name.
    pub fn host(&self, name: &str) -> Result<api::Host> {
        self.json(&["host", "show", name])
    }

    /// Waits until a host is online, or is not.
    pub fn wait_for_presence(&self, host: &str, online: bool, limit: Duration) -> Result<()> {
        eventually(limit, || {
            let shown = self.host(host)?.inventory.online;
            ensure!(shown == online, "{host} is shown as {}", if shown { "online" } else { "offline" });
            Ok(())
        })
    }
}
