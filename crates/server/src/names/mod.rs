//! The server's own DNS: the names of all networks for machines that are pointed at it by hand, and files for CoreDNS.
//!
//! Not for agents: each answers from its own map. It keeps true that only those who may ask are answered, and that files are
//! replaced whole.

mod files;
mod settings;
mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use control::Intent;
use dns::{Counts, Forwarding, Server};
use model::{DnsName, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::brain::Told;
pub(crate) use settings::{DnsSettings, Listen, read};
use table::Table;

/// Files for CoreDNS are written this often at most: it looks at them every few seconds.
const FILES_EVERY: Duration = Duration::from_secs(1);

/// The DNS server, and the table it answers from.
pub(crate) struct ServerNames {
    table: Table,
    server: Option<Server>,
    files: Option<files::Folder>,
    /// Why the files could not be written last.
    failed: Option<String>,
    /// Up to which commit the table has followed.
    followed: watch::Sender<u64>,
}

impl ServerNames {
    /// Starts what the settings ask for. Port 53 that nobody asked for by name may be somebody else's.
    pub(crate) async fn start(
        settings: &DnsSettings,
        domain: DnsName,
        intent: &Intent,
        now: Timestamp,
    ) -> Result<Self> {
        let serial = u32::try_from(now.as_millis() / 1000).unwrap_or_default();
        let table = Table::new(domain, serial, intent);
        let files = settings.coredns.clone().map(files::Folder::new);
        let server = match &settings.listen {
            Listen::Off => None,
            Listen::Usual(addresses) => {
                let (server, refused) = start(settings, addresses, &table).await;
                for error in &refused {
                    tracing::info!(
                        "names are not answered: {error}; `dns_listen` names another port, or `off`"
                    );
                }
                (refused.len() < addresses.len()).then_some(server)
            }
            Listen::At(addresses) => {
                let (server, refused) = start(settings, addresses, &table).await;
                if let Some(error) = refused.first() {
                    bail!("{error} (`dns_listen`)");
                }
                Some(server)
            }
        };
        let (followed, _) = watch::channel(intent.seq());
        Ok(Self { table, server, files, failed: None, followed })
    }

    /// The names.
    pub(crate) fn names(&self) -> &dns::Names {
        self.table.names()
    }

    /// Where names are answered.
    pub(crate) fn listening(&self) -> Vec<std::net::SocketAddr> {
        self.server.as_ref().map(Server::listening).unwrap_or_default()
    }

    /// Up to which commit the names have followed.
    pub(crate) fn followed(&self) -> watch::Receiver<u64> {
        self.followed.subscribe()
    }

    /// Follows what is told until the brain ends: the names at once, their files every now and then.
    pub(crate) async fn follow(mut self, mut told: watch::Receiver<Arc<Told>>) {
        self.write_files();
        let (mut due, mut written) = (false, Instant::now());
        loop {
            tokio::select! {
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let intent = Arc::clone(&told.borrow_and_update().intent);
                    due |= self.tell(&intent);
                    self.count();
                }
                () = tokio::time::sleep_until(written + FILES_EVERY), if due => {
                    self.write_files();
                    (due, written) = (false, Instant::now());
                }
            }
        }
    }

    /// Follows intent; whether files are to be written: names differ, or it failed last time.
    fn tell(&mut self, intent: &Intent) -> bool {
        let due = self.table.follow(intent) || self.failed.is_some();
        self.followed.send_replace(intent.seq());
        due && self.files.is_some()
    }

    fn write_files(&mut self) {
        let Some(folder) = &mut self.files else { return };
        let failed = folder.write(&self.table.names().snapshot()).err().map(|error| format!("{error:#}"));
        if failed != self.failed
            && let Some(error) = &failed
        {
            tracing::error!("{error}; it is tried again");
        }
        self.failed = failed;
    }

    fn count(&self) {
        let Some(server) = &self.server else { return };
        let Counts { queries, answered, forwarded, refused, failed } = server.counts();
        let counts = [
            ("asked", queries),
            ("answered", answered),
            ("forwarded", forwarded),
            ("refused", refused),
            ("failed", failed),
        ];
        for (outcome, count) in counts {
            metrics::counter!("netloom_dns_queries_total", "outcome" => outcome).absolute(count);
        }
    }
}

async fn start(
    settings: &DnsSettings,
    addresses: &[std::net::SocketAddr],
    table: &Table,
) -> (Server, Vec<dns::ListenError>) {
    let forwarding = Forwarding { default: settings.upstreams.clone(), domains: Vec::new() };
    Server::start(dns::Options {
        listen: addresses.to_vec(),
        names: table.names().clone(),
        allow: Some(settings.allow.clone()),
        forwarding,
        allow_forward: settings.allow.clone(),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_that_could_not_be_written_come_with_the_next_telling() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "theirs").unwrap();
        let (listen, coredns) = (Listen::Off, Some(folder.path().to_owned()));
        let settings = DnsSettings { listen, allow: Vec::new(), upstreams: Vec::new(), coredns };
        let (intent, now) = (Intent::default(), Timestamp::from_millis(1));
        let domain = "netloom.internal".parse().unwrap();
        let mut names = ServerNames::start(&settings, domain, &intent, now).await.unwrap();
        names.write_files();
        assert_eq!(std::fs::read_to_string(&hosts).unwrap(), "theirs");
        std::fs::remove_file(&hosts).unwrap();
        assert!(names.tell(&intent));
        names.write_files();
        assert!(hosts.exists());
        assert!(!names.tell(&intent), "nothing is left to be done");
    }
}
