//! Name servers for single domains.

use std::net::SocketAddr;

use model::{DnsName, NetworkId, Upstream, UpstreamId};

use super::{Decision, changed, network};
use crate::{Env, Intent, RecordChange, Rejection};

pub(super) fn create(
    intent: &Intent,
    network: NetworkId,
    domain: DnsName,
    servers: Vec<SocketAddr>,
    env: &mut Env<'_>,
) -> Decision {
    network::find(intent, network)?;
    let id = UpstreamId::new(env.now, env.bytes());
    Ok(vec![RecordChange::made(Upstream { id, network, domain, servers, created: env.now })])
}

fn find(intent: &Intent, upstream: UpstreamId) -> Result<&Upstream, Rejection> {
    intent.upstream(upstream).ok_or(Rejection::NoSuchUpstream { upstream })
}

pub(super) fn update(intent: &Intent, upstream: UpstreamId, servers: Vec<SocketAddr>) -> Decision {
    let before = find(intent, upstream)?;
    Ok(changed(before, Upstream { servers, ..before.clone() }))
}

pub(super) fn delete(intent: &Intent, upstream: UpstreamId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, upstream)?.clone())])
}
