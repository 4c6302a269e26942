//! Where the rendezvous is: the names in the map, resolved.
//!
//! Not for calling it (`reconcile::Paths` does). It keeps true that an address once known is kept while its name cannot be
//! resolved.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use model::{Endpoint, WgPublicKey};
use url::Url;

use super::Engine;
use super::messages::Done;
use crate::link::AddressBook;

/// When what was not resolved is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What came of resolving.
pub(super) struct Resolved {
    found: BTreeMap<WgPublicKey, Endpoint>,
    complete: bool,
}

impl Engine {
    /// Resolves the rendezvous: addresses at once, names in the background.
    pub(super) fn resolve(&mut self) {
        let Some(map) = self.agent.map() else { return };
        let api = host_of(self.session.client.url());
        let wanted: Vec<(WgPublicKey, String, u16)> = map
            .server
            .rendezvous
            .iter()
            .filter_map(|rendezvous| {
                let host = rendezvous.host.clone().or_else(|| api.clone())?;
                Some((rendezvous.key, host, rendezvous.port))
            })
            .collect();
        let literal: Option<BTreeMap<_, _>> = wanted
            .iter()
            .map(|(key, host, port)| {
                let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
                Some((*key, Endpoint::new(SocketAddr::new(ip, *port)).ok()?))
            })
            .collect();
        if let Some(found) = literal {
            self.take(found);
            return;
        }
        if std::mem::replace(&mut self.resolving, true) {
            return;
        }
        let prefer_v4 =
            self.addresses.is_empty() || self.addresses.iter().any(|net| matches!(net, IpNet::V4(_)));
        let book = self.session.dialer.book().clone();
        self.tasks.spawn(async move { Done::Resolved(resolve_all(&book, wanted, prefer_v4).await) });
    }

    pub(super) async fn resolved(&mut self, resolved: Resolved) {
        self.resolving = false;
        if !resolved.complete {
            self.resolve_at = Some(self.now() + AGAIN);
        }
        let mut found = resolved.found;
        if let Some(map) = self.agent.map() {
            // A name that cannot be resolved just now has not moved.
            for key in map.server.rendezvous.iter().map(|rendezvous| rendezvous.key) {
                if let Some(before) = self.rendezvous.get(&key) {
                    found.entry(key).or_insert(*before);
                }
            }
        }
        if self.take(found) {
            self.settle().await;
        }
    }

    /// Takes over where the rendezvous is; says whether that is new.
    fn take(&mut self, found: BTreeMap<WgPublicKey, Endpoint>) -> bool {
        if found == self.rendezvous {
            return false;
        }
        self.rendezvous.clone_from(&found);
        self.keeper.paths.handle_rendezvous(found, self.now());
        true
    }
}

async fn resolve_all(
    book: &AddressBook,
    wanted: Vec<(WgPublicKey, String, u16)>,
    prefer_v4: bool,
) -> Resolved {
    let mut found = BTreeMap::new();
    let count = wanted.len();
    for (key, host, port) in wanted {
        if let Some(endpoint) = resolve_once(book, &host, port, prefer_v4).await {
            found.insert(key, endpoint);
        }
    }
    let complete = found.len() == count;
    Resolved { found, complete }
}

/// An address of this name, of the preferred family if there is one.
async fn resolve_once(book: &AddressBook, host: &str, port: u16, prefer_v4: bool) -> Option<Endpoint> {
    let addresses = book.find(host).await.ok()?;
    let endpoints = addresses.into_iter().filter_map(|ip| Endpoint::new((ip, port).into()).ok());
    let mut endpoints: Vec<Endpoint> = endpoints.collect();
    endpoints.sort_by_key(|endpoint| endpoint.ip().is_ipv4() != prefer_v4);
    endpoints.first().copied()
}

/// The host in a URL.
fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_resolve_to_themselves_and_ipv6_needs_no_brackets() {
        assert_eq!(host_of("https://[::1]:8443").unwrap(), "[::1]");
        let book = AddressBook::default();
        let endpoint = resolve_once(&book, "[2001:db8::1]", 5, true).await.unwrap();
        assert_eq!(endpoint.to_string(), "[2001:db8::1]:5");
    }
}
