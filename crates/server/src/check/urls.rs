//! What agents and people reach the server as: whether those names lead somewhere.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;

use super::Finding;
use crate::serve::host_of;
use crate::settings::Settings;

/// How long a name may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for url in &settings.urls {
        findings.push(match host_of(url) {
            Some(host) => name("url", url, &host).await,
            None => Finding::wrong("url", format!("{url} names no host")),
        });
    }
    if let Some(host) = &settings.rendezvous_host {
        findings.push(name("rendezvous", host, host).await);
    }
    findings
}

async fn name(subject: &'static str, shown: &str, host: &str) -> Finding {
    let looked = tokio::time::timeout(PATIENCE, lookup_host((host, 0))).await;
    let addresses: Vec<IpAddr> = match looked {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            let detail = format!("{shown} leads nowhere from here ({error}); agents need the name in DNS");
            return Finding::wrong(subject, detail);
        }
        Err(_) => return Finding::wrong(subject, format!("{shown}: the name servers do not answer")),
    };
    if addresses.iter().all(IpAddr::is_loopback) {
        let detail = format!("{shown} is this machine only; other machines cannot join with it: set `url`");
        return Finding::doubtful(subject, detail);
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Finding::good(subject, format!("{shown} is {}", addresses.join(", ")))
}
