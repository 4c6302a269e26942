//! The server's own DNS: the names of all networks for machines that are pointed at it by hand, and files for CoreDNS.
//!
//! Not for agents: each answers from its own map. It keeps true that only those who may ask are answered, and that files are
//! replaced whole.

mod files;
mod own;
mod settings;
mod table;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use control::Intent;
use dns::{Counts, DomainRule, Forwarding, Server};
use model::{DnsName, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::brain::Told;
pub(crate) use settings::{DnsSettings, Listen, read};
use table::Table;

/// Files for CoreDNS are written this often at most: it looks at them every few seconds.
const FILES_EVERY: Duration = Duration::from_secs(1);
/// What may have changed by itself is looked at this often: addresses, who has port 53, files that could not be written.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The DNS server, and the table it answers from.
pub(crate) struct ServerNames {
    table: Table,
    server: Option<Server>,
    /// Whether it answers wherever it may.
    usual: bool,
    /// Where it could not, as it was told last.
    refused: BTreeSet<String>,
    /// Whom it asks about everything else, as the settings say.
    upstreams: Vec<SocketAddr>,
    forwarding: Forwarding,
    files: Option<files::Folder>,
    /// Why the files could not be written last.
    failed: Option<String>,
    /// Up to which commit the table has followed.
    followed: watch::Sender<u64>,
}

impl ServerNames {
    /// Starts what the settings ask for. A port 53 that nobody asked for by name may be somebody else's.
    pub(crate) async fn start(
        settings: &DnsSettings,
        domain: DnsName,
        intent: &Intent,
        now: Timestamp,
    ) -> Result<Self> {
        let serial = u32::try_from(now.as_millis() / 1000).unwrap_or_default();
        let table = Table::new(domain, serial, intent);
        let files = settings.coredns.clone().map(files::Folder::new);
        let forwarding = forwarding(&settings.upstreams, intent);
        let server = match &settings.listen {
            Listen::Off => None,
            Listen::Usual => Some(start(settings, &forwarding, &[], &table).await.0),
            Listen::At(addresses) => {
                let (server, refused) = start(settings, &forwarding, addresses, &table).await;
                if let Some(error) = refused.first() {
                    bail!("{error} (`dns_listen`)");
                }
                Some(server)
            }
        };
        let (followed, _) = watch::channel(intent.seq());
        let (usual, refused) = (settings.listen == Listen::Usual, BTreeSet::new());
        let upstreams = settings.upstreams.clone();
        let mut names =
            Self { table, server, usual, refused, upstreams, forwarding, files, failed: None, followed };
        names.listen().await;
        Ok(names)
    }

    /// Answers on all addresses that the machine has now, where that was left to us. Who has the port may give it up later.
    async fn listen(&mut self) {
        let Some(server) = self.server.as_ref().filter(|_| self.usual) else { return };
        let refused: BTreeSet<String> = match own::addresses() {
            Ok(addresses) => server.set_listen(&addresses).await.iter().map(ToString::to_string).collect(),
            Err(error) => [format!("{error:#}")].into(),
        };
        for error in refused.difference(&self.refused) {
            tracing::info!("{error}; it is tried again. `dns_listen` names other places, or `off`");
        }
        self.refused = refused;
    }

    /// The names.
    pub(crate) fn names(&self) -> &dns::Names {
        self.table.names()
    }

    /// Where names are answered.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
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
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    self.listen().await;
                    self.count();
                    due |= self.failed.is_some();
                }
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
        let forwarding = forwarding(&self.upstreams, intent);
        if let Some(server) = self.server.as_ref().filter(|_| forwarding != self.forwarding) {
            server.set_forwarding(forwarding.clone());
        }
        self.forwarding = forwarding;
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

/// Whom to ask: about single domains whom networks name for them, as agents do; about all else whom the settings name.
fn forwarding(upstreams: &[SocketAddr], intent: &Intent) -> Forwarding {
    let told = intent.networks(None).flat_map(|network| intent.upstreams_in_network(network.id));
    let rule = |told: &model::Upstream| {
        let domain = told.domain.as_str().parse().ok()?;
        Some(DomainRule { domain, upstreams: told.servers.clone() })
    };
    Forwarding { default: upstreams.to_vec(), domains: told.filter_map(rule).collect() }
}

async fn start(
    settings: &DnsSettings,
    forwarding: &Forwarding,
    addresses: &[SocketAddr],
    table: &Table,
) -> (Server, Vec<dns::ListenError>) {
    Server::start(dns::Options {
        listen: addresses.to_vec(),
        names: table.names().clone(),
        allow: Some(settings.allow.clone()),
        forwarding: forwarding.clone(),
        allow_forward: settings.allow.clone(),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_networks_name_for_single_domains_are_asked_about_them() {
        let network: model::Network = serde_json::from_value(serde_json::json!({
            "id": model::NetworkId::from_bytes([1; 16]),
            "name": "office",
            "ranges": { "v4": "10.7.0.0/16" },
            "keepalive": 25,
            "access": "allow",
            "created": Timestamp::from_millis(1),
        }))
        .unwrap();
        let upstream = model::Upstream {
            id: model::UpstreamId::from_bytes([2; 16]),
            network: network.id,
            domain: "corp.example".parse().unwrap(),
            servers: vec!["10.0.0.53:53".parse().unwrap()],
            created: Timestamp::from_millis(1),
        };
        let intent = Intent::from_records(1, [control::Record::from(network), upstream.into()]).unwrap();
        let default: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let asked = forwarding(&[default], &intent);
        let rule = DomainRule {
            domain: "corp.example".parse().unwrap(),
            upstreams: vec!["10.0.0.53:53".parse().unwrap()],
        };
        assert_eq!(asked, Forwarding { default: vec![default], domains: vec![rule] });
    }

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
