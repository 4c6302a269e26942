//! The ground a server stands on: its folder, keys, certificate, ports and database.
//!
//! Not for anything that runs. It keeps true that all which can be wrong with them shows before anything is started on them.

use std::sync::Arc;

use anyhow::{Context, Result};
use dataplane::rendezvous::Rendezvous;
use model::Digest;
use store::Database;
use wire::ServerLinks;

use crate::front::{Certificates, Front, Limits, TrustedProxies};
use crate::identity::{Identity, create_private_folder};
use crate::settings::{Settings, Tls};
use crate::{agents, broker, http, rekey};

/// What everything else is put on.
pub(crate) struct Ground {
    /// The server's keys.
    pub(crate) identity: Arc<Identity>,
    /// Its certificates; none without TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// The pin of the certificate.
    pub(crate) pin: Option<Digest>,
    /// What tokens pin.
    pub(crate) pinned: http::Pin,
    /// The HTTPS port.
    pub(crate) front: Front,
    /// The two ports of the rendezvous.
    pub(crate) doors: [Rendezvous; 2],
    /// The database, which is one of servers with these keys.
    pub(crate) database: Arc<dyn Database>,
    /// The keys that the server changes to.
    pub(crate) next: Option<rekey::Next>,
}

impl Ground {
    /// Reads, binds and opens what the settings name. Ports that were found are put into them.
    pub(crate) async fn lay(settings: &mut Settings) -> Result<Self> {
        create_private_folder(&settings.data)?;
        http::remove_leftovers(&settings.data)?;
        if rekey::settle(&settings.data)? {
            tracing::info!("the keys of a change that is finished were left over; they were cleared away");
        }
        let identity = Arc::new(Identity::load_or_create(&settings.data)?);
        let certificates = certificates(settings)?;
        let pin = certificates.as_ref().map(|certificates| Digest::from_bytes(certificates.pin()));
        let pinned = pinned(&settings.tls, certificates.clone());
        let proxies = TrustedProxies::new(settings.trusted_proxies.clone());
        let front = Front::bind(settings.listen, certificates.as_ref(), proxies, Limits::default())?;
        name_port(&mut settings.urls, front.address().port());
        let doors = bind_doors(settings, &identity)?;
        let database = store::open(&settings.database).await?;
        let next = rekey::Next::load(&settings.data)?;
        identity.check(&*database, &settings.data, next.as_ref()).await?;
        Ok(Self { identity, certificates, pin, pinned, front, doors, database, next })
    }

    /// What agents are told of the server.
    pub(crate) fn links(&self, settings: &Settings) -> Result<ServerLinks> {
        let ports = self.doors.each_ref().map(|door| door.local_addr().port());
        let host = settings.rendezvous_host.clone();
        let mut links = agents::links(&self.identity, ports, host, settings.keepalive);
        (links.brokers, links.broker_ca) = broker::told(&settings.broker)?;
        if self.database.is_shared() && settings.urls.len() > 1 {
            links.servers.clone_from(&settings.urls);
        }
        let next = self.next.as_ref().map(|next| next.told(self.identity.sealing.public()));
        (links.pin, links.next) = ((self.pinned)(), next);
        Ok(links)
    }
}

/// What tokens pin: nothing where the certificate is publicly trusted, or somebody else's business.
fn pinned(tls: &Tls, certificates: Option<Arc<Certificates>>) -> http::Pin {
    let pins = match tls {
        Tls::Files { publicly_trusted, .. } => !publicly_trusted,
        Tls::SelfSigned => true,
        Tls::Off => false,
    };
    let certificates = certificates.filter(|_| pins);
    Box::new(move || certificates.as_ref().map(|certificates| Digest::from_bytes(certificates.pin())))
}

fn certificates(settings: &Settings) -> Result<Option<Arc<Certificates>>> {
    match &settings.tls {
        Tls::SelfSigned => {
            Certificates::self_signed(&rekey::tls(&settings.data), &rekey::names(settings)).map(Some)
        }
        Tls::Files { certificate, key, .. } => {
            Certificates::from_files(certificate.clone(), key.clone()).map(Some)
        }
        Tls::Off => Ok(None),
    }
}

/// Where any free port was asked for, the addresses name the one that was found.
fn name_port(urls: &mut [String], port: u16) {
    for url in urls {
        if let Some(host) = url.strip_suffix(":0") {
            *url = format!("{host}:{port}");
        }
    }
}

fn bind_doors(settings: &Settings, identity: &Identity) -> Result<[Rendezvous; 2]> {
    let bind = |at: usize| {
        let address = settings.rendezvous[at];
        Rendezvous::bind(address, *identity.rendezvous[at].expose()).with_context(|| {
            format!("the rendezvous cannot listen on UDP {address}; choose other ports with `rendezvous`")
        })
    };
    Ok([bind(0)?, bind(1)?])
}
