//! The certificate of the HTTPS port: whether its files fit, and agents would believe it.
//!
//! Where agents go by its key, neither its dates nor its names matter to them. Where they check it as browsers do it is shown to a
//! client as they have one, without a network between.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use model::Digest;
use rustls_pki_types::ServerName;
use tls::{Failure, Trust};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Finding;
use crate::front::Certificates;
use crate::serve::host_of;
use crate::settings::{Settings, Tls};

/// What is on its way within this process at most.
const ROOM: usize = 64 * 1024;
/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let (certificates, words) = match &settings.tls {
        Tls::Off => return vec![Finding::good("certificate", "none: TLS is off")],
        Tls::SelfSigned => {
            let (certificate, key) = Certificates::own_files(&crate::rekey::tls(&settings.data));
            if !key.exists() {
                return vec![Finding::good("certificate", "none yet; the first start makes one")];
            }
            (Certificates::from_files(certificate, key), "self-signed".to_owned())
        }
        Tls::Files { certificate, key, .. } => {
            (Certificates::from_files(certificate.clone(), key.clone()), certificate.display().to_string())
        }
    };
    let certificates = match certificates {
        Ok(certificates) => certificates,
        Err(error) => return vec![Finding::wrong("certificate", format!("{error:#}"))],
    };
    let pin = Digest::from_bytes(certificates.pin());
    let good = Finding::good("certificate", format!("{words}, pin {pin}"));
    let hosts = settings.urls.iter().filter_map(|url| host_of(url));
    match &settings.tls {
        Tls::Off | Tls::SelfSigned => vec![good],
        Tls::Files { publicly_trusted: false, .. } => {
            let mut found = vec![good];
            for host in hosts.take(1) {
                found.extend(expired(believed(&certificates, &host).await));
            }
            found
        }
        Tls::Files { publicly_trusted: true, .. } => {
            let mut found = Vec::new();
            for host in hosts {
                found.push(as_agents_find(&words, &host, believed(&certificates, &host).await));
            }
            found
        }
    }
}

/// Agents go by the key. Browsers do not.
fn expired(believed: Result<(), Failure>) -> Option<Finding> {
    (believed == Err(Failure::WrongTime)).then(|| {
        let detail = "its dates do not cover today: agents go by its key, but browsers warn everybody; renew it, with the same key";
        Finding::doubtful("certificate", detail)
    })
}

fn as_agents_find(file: &str, host: &str, believed: Result<(), Failure>) -> Finding {
    let wrong = |why: &str| Finding::wrong("certificate", format!("{file}: {why}; agents cannot join"));
    match believed {
        Ok(()) => Finding::good("certificate", format!("{file}, believed for {host}")),
        Err(Failure::WrongTime) => wrong("its dates do not cover today: renew it"),
        Err(Failure::WrongName) => wrong(&format!("it is not for {host}, which is in `url`")),
        Err(Failure::UnknownAuthority) => {
            let detail = format!(
                "{file}: the authorities of this machine do not vouch for it; where those of an agent's machine do not either, it \
                 cannot join. Is the chain complete?"
            );
            Finding::doubtful("certificate", detail)
        }
        Err(Failure::WrongPin { .. } | Failure::Other(_)) => wrong("no TLS connection can be made with it"),
    }
}

/// Whether a client that goes by the machine's authorities believes it for this name.
async fn believed(certificates: &Arc<Certificates>, host: &str) -> Result<(), Failure> {
    let other = |error: anyhow::Error| Failure::Other(format!("{error:#}"));
    let (acceptor, connector, name) = ends(certificates, host).map_err(other)?;
    let (ours, theirs) = tokio::io::duplex(ROOM);
    let meet = async { tokio::join!(acceptor.accept(ours), connector.connect(name, theirs)) };
    match tokio::time::timeout(PATIENCE, meet).await {
        Ok((_, Ok(_))) => Ok(()),
        Ok((_, Err(error))) => Err(Failure::find(&error).unwrap_or(Failure::Other(error.to_string()))),
        Err(late) => Err(other(anyhow!(late))),
    }
}

fn ends(
    certificates: &Arc<Certificates>,
    host: &str,
) -> Result<(TlsAcceptor, TlsConnector, ServerName<'static>)> {
    let client = tls::client_config(&Trust::System)?;
    let name = ServerName::try_from(host.to_owned()).context("it is no name")?;
    Ok((certificates.server_config(&[])?.into(), Arc::new(client).into(), name))
}
