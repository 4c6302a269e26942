//! Networks. Their ranges never overlap and never change.

use std::collections::BTreeSet;

use model::{Access, Addresses, DnsName, EnrollmentKey, Keepalive, Network, NetworkId, NetworkName, Ranges};

use super::{Decision, dns, draft::Draft, node, policy, ways};
use crate::{Env, Intent, NetworkEdit, RecordChange, Rejection, allocate};

pub(super) fn find(intent: &Intent, network: NetworkId) -> Result<&Network, Rejection> {
    intent.network(network).ok_or(Rejection::NoSuchNetwork { network })
}

fn check_name(intent: &Intent, name: &NetworkName, own: Option<NetworkId>) -> Result<(), Rejection> {
    match intent.network_by_name(name) {
        Some(network) if Some(network.id) != own => Err(Rejection::NetworkNameTaken { name: name.clone() }),
        Some(_) | None => Ok(()),
    }
}

/// A network to make.
pub(super) struct New {
    pub(super) name: NetworkName,
    pub(super) ranges: Option<Ranges>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) access: Option<Access>,
    pub(super) approval: bool,
    pub(super) domain: Option<DnsName>,
}

pub(super) fn create(intent: &Intent, new: New, env: &mut Env<'_>) -> Decision {
    let New { name, ranges, keepalive, access, approval, domain } = new;
    check_name(intent, &name, None)?;
    let ranges = match ranges {
        Some(ranges) => allocate::free_of_overlap(intent, ranges.iter(), None).map(|()| ranges)?,
        None => allocate::ranges(intent, env)?,
    };
    let network = Network {
        id: NetworkId::new(env.now, env.bytes()),
        name,
        ranges,
        keepalive: keepalive.unwrap_or(Keepalive::DEFAULT),
        access: access.unwrap_or_default(),
        approval,
        hub: None,
        domain,
        created: env.now,
    };
    let mut draft = Draft::of(intent);
    draft.put(network.clone());
    check(draft.now(), None, &network, env.domain)?;
    for host in intent.hosts(None).filter(|host| host.default) {
        let (wanted, tags) = (Addresses::default(), BTreeSet::new());
        let node = node::new(draft.now(), host, &network, wanted, tags, env)?;
        draft.put(node);
    }
    Ok(draft.finish())
}

/// Refuses a network whose domain, its own or its name below the server's, overlaps another network's, or holds one for which
/// name servers are named.
fn check_domain(intent: &Intent, own: &Network, server: &DnsName) -> Result<(), Rejection> {
    let Some(domain) = own.domain_below(server) else { return Ok(()) };
    for network in intent.networks(None).filter(|network| network.id != own.id) {
        let overlaps = |other: &DnsName| domain.is_within(other) || other.is_within(&domain);
        if let Some(other) = network.domain_below(server).filter(overlaps) {
            return Err(Rejection::DomainTaken { domain, other, network: network.name.clone() });
        }
    }
    for network in intent.networks(None) {
        let mut upstreams = intent.upstreams_in_network(network.id);
        if let Some(upstream) = upstreams.find(|upstream| upstream.domain.is_within(&domain)) {
            let (upstream, network) = (upstream.domain.clone(), network.name.clone());
            return Err(Rejection::DomainHasUpstream { domain, upstream, network });
        }
    }
    Ok(())
}

pub(super) fn update(intent: &Intent, network: NetworkId, edit: NetworkEdit, server: &DnsName) -> Decision {
    let before = find(intent, network)?;
    let mut after = before.clone();
    if let Some(name) = edit.name {
        check_name(intent, &name, Some(network))?;
        after.name = name;
    }
    after.keepalive = edit.keepalive.unwrap_or(after.keepalive);
    after.access = edit.access.unwrap_or(after.access);
    after.approval = edit.approval.unwrap_or(after.approval);
    edit.hub.apply(&mut after.hub);
    edit.domain.apply(&mut after.domain);
    let mut draft = Draft::of(intent);
    draft.put(after.clone());
    check(draft.now(), Some(before), &after, server)?;
    if after.access != before.access {
        policy::check_tests(intent, draft.now(), after.id)?;
    }
    Ok(draft.finish())
}

/// Whether a network can be so, where it is other than before, beside all that is there and with what lies in it; `intent` is
/// with it as it is to be.
pub(super) fn check(
    intent: &Intent,
    before: Option<&Network>,
    after: &Network,
    server: &DnsName,
) -> Result<(), Rejection> {
    // One that overlaps another's since the server got its domain can be changed nevertheless.
    if before.is_none_or(|before| before.domain_below(server) != after.domain_below(server)) {
        check_domain(intent, after, server)?;
    }
    let mut names = intent.dns_records_in_network(after.id).filter_map(|record| record.name.as_ref());
    if before.is_none_or(|before| before.domain != after.domain) {
        names.try_for_each(|name| dns::check_length(after, name))?;
    }
    if before.is_none_or(|before| before.hub != after.hub) {
        ways::check_hub(intent, after)?;
    }
    Ok(())
}

pub(super) fn delete(intent: &Intent, network: NetworkId, force: bool) -> Decision {
    let before = find(intent, network)?;
    let nodes = intent.nodes_in_network(network, None).count();
    if nodes > 0 && !force {
        return Err(Rejection::NetworkInUse { network: before.name.clone(), nodes });
    }
    let keys = intent.enrollment_keys(None).filter(|key| key.networks.contains(&network));
    let keys = keys.map(|key| without(key, network));
    Ok(contents(intent, network).chain(keys).chain([RecordChange::removed(before.clone())]).collect())
}

/// The end of all that is in a network. Nothing outside of it names any of that but keys.
fn contents(intent: &Intent, network: NetworkId) -> impl Iterator<Item = RecordChange> {
    let nodes = intent.nodes_in_network(network, None).map(|one| RecordChange::removed(one.clone()));
    let clients = intent.clients_in_network(network).map(|one| RecordChange::removed(one.clone()));
    let egresses = intent.egresses_in_network(network).map(|one| RecordChange::removed(one.clone()));
    let policies = intent.policies_in_network(network).map(|one| RecordChange::removed(one.clone()));
    let tests = intent.policy_tests_in_network(network).map(|one| RecordChange::removed(one.clone()));
    let records = intent.dns_records_in_network(network).map(|one| RecordChange::removed(one.clone()));
    let upstreams = intent.upstreams_in_network(network).map(|one| RecordChange::removed(one.clone()));
    nodes.chain(clients).chain(egresses).chain(policies).chain(tests).chain(records).chain(upstreams)
}

/// A key that led into this network alone goes with it: one without networks would mean something else.
fn without(key: &EnrollmentKey, network: NetworkId) -> RecordChange {
    let mut after = key.clone();
    after.networks.retain(|id| *id != network);
    if after.networks.is_empty() {
        return RecordChange::removed(key.clone());
    }
    RecordChange::changed(key.clone(), after)
}
