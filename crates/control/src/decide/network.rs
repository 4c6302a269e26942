//! Networks. Their ranges never overlap and never change.

use model::{Access, DnsName, EnrollmentKey, Keepalive, Network, NetworkId, NetworkName, Ranges};

use super::{Decision, changed};
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
        Some(ranges) => allocate::free_of_overlap(intent, &ranges).map(|()| ranges)?,
        None => allocate::ranges(intent, env)?,
    };
    let id = NetworkId::new(env.now, env.bytes());
    let keepalive = keepalive.unwrap_or(Keepalive::DEFAULT);
    let access = access.unwrap_or_default();
    let created = env.now;
    Ok(vec![RecordChange::made(Network {
        id,
        name,
        ranges,
        keepalive,
        access,
        approval,
        hub: None,
        domain,
        created,
    })])
}

pub(super) fn update(intent: &Intent, network: NetworkId, edit: NetworkEdit) -> Decision {
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
    Ok(changed(before, after))
}

pub(super) fn delete(intent: &Intent, network: NetworkId, force: bool) -> Decision {
    let before = find(intent, network)?;
    let nodes = intent.nodes_in_network(network, None).count();
    if nodes > 0 && !force {
        return Err(Rejection::NetworkInUse { network: before.name.clone(), nodes });
    }
    let nodes = intent.nodes_in_network(network, None).map(|node| RecordChange::removed(node.clone()));
    let keys = intent.enrollment_keys(None).filter(|key| key.networks.contains(&network));
    let keys = keys.map(|key| without(key, network));
    Ok(nodes.chain(keys).chain([RecordChange::removed(before.clone())]).collect())
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
