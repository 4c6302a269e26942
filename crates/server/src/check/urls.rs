//! What agents and people reach the server as: whether those names lead somewhere.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::Uri;
use tokio::net::{TcpStream, lookup_host};

use super::Finding;
use crate::serve::host_of;
use crate::settings::Settings;

/// How long a name may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check(settings: &Settings, is_up: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for url in &settings.urls {
        findings.push(url_of("url", url, Some("url")).await);
    }
    if let Some(host) = &settings.rendezvous_host {
        findings.push(name("rendezvous", host, host, Some("rendezvous_host")).await);
    }
    let is_shared = settings.database.is_shared();
    match &settings.advertise {
        Some(url) => {
            let needed = is_shared.then_some("advertise");
            findings.push(url_of("advertise", url, needed).await);
            // While it is stopped nobody answers there.
            if is_up {
                findings.extend(silence(url).await);
            }
        }
        None if is_shared && settings.urls.len() > 1 => {
            let detail = "it is not set, and `url` names several servers: at each, name the address at which the others reach it";
            findings.push(Finding::doubtful("advertise", detail));
        }
        None => {}
    }
    findings
}

async fn url_of(subject: &'static str, url: &str, needed: Option<&str>) -> Finding {
    match host_of(url) {
        Some(host) => name(subject, url, &host, needed).await,
        None => Finding::wrong(subject, format!("{url} names no host")),
    }
}

/// What to say where nobody takes a connection.
async fn silence(url: &str) -> Option<Finding> {
    let uri: Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let host = host_of(url)?;
    let reached = tokio::time::timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await;
    let why = match reached {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_late) => "nobody answers".to_owned(),
    };
    let detail = format!(
        "{url} is not reached from here ({why}), though the server's port is in use; the other servers need it"
    );
    Some(Finding::doubtful("advertise", detail))
}

/// Where a name leads. That it is this machine is no good where others need it: then by this setting.
pub(super) async fn name(subject: &'static str, shown: &str, host: &str, needed: Option<&str>) -> Finding {
    let looked = tokio::time::timeout(PATIENCE, lookup_host((host, 0))).await;
    let addresses: Vec<IpAddr> = match looked {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            let detail = format!("{shown} leads nowhere from here ({error}); agents need the name in DNS");
            return Finding::wrong(subject, detail);
        }
        Err(_) => return Finding::wrong(subject, format!("{shown}: the name servers do not answer")),
    };
    if let Some(setting) = needed
        && addresses.iter().all(IpAddr::is_loopback)
    {
        let detail = format!("{shown} is this machine only; other machines do not reach it: set `{setting}`");
        return Finding::doubtful(subject, detail);
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Finding::good(subject, format!("{shown} is {}", addresses.join(", ")))
}
