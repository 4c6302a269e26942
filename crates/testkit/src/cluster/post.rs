//! Mosquitto as the broker of a cluster, with its accounts kept by the servers over its dynamic security plugin.

use std::fs;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::plant::Post;
use crate::brokers::mosquitto::{Accounts, Mosquitto, PASSWORD, USER};

/// A running Mosquitto, and the servers' password in a file.
pub(super) struct Office {
    broker: Mosquitto,
    folder: TempDir,
}

impl Office {
    /// Starts one.
    pub(super) fn open() -> Result<Self> {
        let broker = Mosquitto::start(Accounts::Dynsec).context("Mosquitto")?;
        let folder = tempfile::Builder::new().prefix("netloom-office-").tempdir()?;
        fs::write(folder.path().join("password"), format!("{PASSWORD}\n"))?;
        Ok(Self { broker, folder })
    }
}

impl Post for Office {
    fn settings(&self) -> Vec<(String, String)> {
        let [[servers, _], [hosts, _]] = [self.broker.for_servers(), self.broker.for_hosts()];
        let settings = [
            ("BROKER", servers),
            ("BROKER_URLS", hosts),
            ("BROKER_USER", USER.to_owned()),
            ("BROKER_PASSWORD_FILE", self.folder.path().join("password").display().to_string()),
            ("BROKER_CA_FILE", self.broker.process.authority().display().to_string()),
            ("BROKER_ACCOUNTS", "dynsec".to_owned()),
        ];
        settings.into_iter().map(|(name, value)| (format!("NETLOOM_{name}"), value)).collect()
    }

    fn port(&self) -> Result<u16> {
        let [hosts, _] = self.broker.for_hosts();
        let port = hosts.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.context("a broker's address without a port")
    }

    fn kill(&mut self) -> Result<()> {
        Ok(self.broker.process.kill()?)
    }

    fn start_again(&mut self) -> Result<()> {
        Ok(self.broker.process.start_again()?)
    }

    fn log(&self) -> String {
        self.broker.process.log()
    }
}
