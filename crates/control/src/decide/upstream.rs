//! Name servers for single domains.

use std::net::SocketAddr;

use model::{DnsName, NetworkId, Upstream, UpstreamId};

use super::{Decision, bounds, changed, network};
use crate::{Env, Intent, RecordChange, Rejection};

pub(super) fn create(
    intent: &Intent,
    network: NetworkId,
    domain: DnsName,
    servers: Vec<SocketAddr>,
    env: &mut Env<'_>,
) -> Decision {
    let found = network::find(intent, network)?;
    let there = intent.upstreams_in_network(network).count();
    bounds::at_most(bounds::UPSTREAMS, there + 1, bounds::MOST_UPSTREAMS)?;
    if intent.upstreams_in_network(network).any(|other| other.domain == domain) {
        return Err(Rejection::UpstreamExists { domain, network: found.name.clone() });
    }
    let id = UpstreamId::new(env.now, env.bytes());
    let upstream = Upstream { id, network, domain, servers, created: env.now };
    check(intent, None, &upstream, env.domain)?;
    Ok(vec![RecordChange::made(upstream)])
}

/// Whether the name servers can be so, where they are other than before, beside the domains that are ours.
pub(super) fn check(
    intent: &Intent,
    before: Option<&Upstream>,
    after: &Upstream,
    server: &DnsName,
) -> Result<(), Rejection> {
    if before.is_none_or(|before| before.domain != after.domain) {
        refuse_own(intent, &after.domain, server)?;
    }
    check_servers(&after.servers)
}

/// Refuses a domain within one of ours: we answer for it ourselves.
fn refuse_own(intent: &Intent, domain: &DnsName, server: &DnsName) -> Result<(), Rejection> {
    for network in intent.networks(None) {
        if let Some(own) = network.domain_below(server).filter(|own| domain.is_within(own)) {
            let network = network.name.clone();
            return Err(Rejection::UpstreamWithin { domain: domain.clone(), network, own });
        }
    }
    Ok(())
}

fn check_servers(servers: &[SocketAddr]) -> Result<(), Rejection> {
    bounds::at_least_one("name server", servers.len())?;
    bounds::at_most("name servers for one domain", servers.len(), bounds::MOST_NAME_SERVERS)?;
    let is_none = |server: &&SocketAddr| {
        server.port() == 0 || server.ip().is_unspecified() || server.ip().is_multicast()
    };
    if let Some(server) = servers.iter().find(is_none) {
        return Err(Rejection::NoNameServer { server: *server });
    }
    match servers.iter().find(|server| server.ip().to_canonical().is_loopback()) {
        Some(server) => Err(Rejection::NameServerIsEach { server: *server }),
        None => Ok(()),
    }
}

fn find(intent: &Intent, upstream: UpstreamId) -> Result<&Upstream, Rejection> {
    intent.upstream(upstream).ok_or(Rejection::NoSuchUpstream { upstream })
}

pub(super) fn update(
    intent: &Intent,
    upstream: UpstreamId,
    servers: Vec<SocketAddr>,
    server: &DnsName,
) -> Decision {
    let before = find(intent, upstream)?;
    let after = Upstream { servers, ..before.clone() };
    check(intent, Some(before), &after, server)?;
    Ok(changed(before, after))
}

pub(super) fn delete(intent: &Intent, upstream: UpstreamId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, upstream)?.clone())])
}
