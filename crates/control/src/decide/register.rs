//! Registration: a machine becomes a host; a host that is known renews what it registered and may join further networks.
//!
//! Possession of the keys was proved before. It keeps true that a use of a key is spent in the very change that it lets
//! happen, and only where something came of it: a machine whose answer got lost asks again, and costs nothing.

use std::net::IpAddr;

use model::{
    Addresses, Digest, EnrollmentKey, Host, HostId, HostName, Network, NetworkId, Node, SealingIdentity,
    SealingPublicKey, Timestamp, Uses, WgPublicKey,
};

use super::{Decision, bounds, changed, host, names, network, node};
use crate::{AddressList, Edit, Env, Intent, RecordChange, Register, Rejection};

pub(super) fn register(intent: &Intent, registration: Register, env: &mut Env<'_>) -> Decision {
    let known = intent.host_by_signing_key(&registration.signing_key);
    let key = registration.enrollment.map(|digest| find_key(intent, &digest)).transpose()?;
    check_key(intent, &registration.wireguard_key, known.map(|known| known.id))?;
    bounds::at_most("addresses", registration.addresses.len(), bounds::MOST_ADDRESSES)?;
    match (known, key) {
        (None, None) => Err(Rejection::KeyNeeded),
        (None, Some(key)) => enrol(intent, registration, key, env),
        (Some(host), key) => renew(intent, host, registration, key, env),
    }
}

/// Whether a host may have this WireGuard key: nobody else has.
fn check_key(intent: &Intent, key: &WgPublicKey, host: Option<HostId>) -> Result<(), Rejection> {
    if intent.host_by_wireguard_key(key).is_some_and(|holder| Some(holder.id) != host) {
        return Err(Rejection::WireguardKeyTaken);
    }
    match intent.client_by_key(key) {
        Some(_) => Err(Rejection::WireguardKeyOfClient),
        None => Ok(()),
    }
}

/// A host has another WireGuard key.
pub(super) fn own_key(intent: &Intent, host: HostId, key: WgPublicKey, now: Timestamp) -> Decision {
    check_key(intent, &key, Some(host))?;
    let before = host::find(intent, host)?;
    Ok(changed(before, with_key(before.clone(), key, now)))
}

/// The host with this key. Another one than before is the one that it was asked for, or was to be.
fn with_key(host: Host, key: WgPublicKey, now: Timestamp) -> Host {
    match host.wireguard_key == key {
        true => host,
        false => Host { wireguard_key: key, rotate: false, rotate_since: None, rekeyed: Some(now), ..host },
    }
}

/// A host has agreed another channel, with the key that the server changes to.
pub(super) fn own_channel(
    intent: &Intent,
    host: HostId,
    server: SealingPublicKey,
    encapsulated: SealingPublicKey,
) -> Decision {
    let before = host::find(intent, host)?;
    let sealing = SealingIdentity { encapsulated, server: Some(server), ..before.sealing };
    Ok(changed(before, Host { sealing, ..before.clone() }))
}

fn sealing(registration: &Register) -> SealingIdentity {
    let Register { sealing_key, encapsulated, server, .. } = registration;
    SealingIdentity { key: *sealing_key, encapsulated: *encapsulated, server: *server }
}

fn find_key<'a>(intent: &'a Intent, digest: &Digest) -> Result<&'a EnrollmentKey, Rejection> {
    intent.enrollment_key_by_digest(digest).ok_or(Rejection::UnknownKey)
}

/// The key with one use less, if it is good for one.
fn spend(key: &EnrollmentKey, now: Timestamp) -> Result<Vec<RecordChange>, Rejection> {
    if let Some(expired) = key.expires.filter(|expires| *expires <= now) {
        return Err(Rejection::ExpiredKey { title: key.title.clone(), expired });
    }
    let uses = match key.uses {
        Uses::Unlimited => Uses::Unlimited,
        Uses::Left(left) => {
            let spent = || Rejection::SpentKey { title: key.title.clone() };
            Uses::Left(left.checked_sub(1).ok_or_else(spent)?)
        }
    };
    Ok(changed(key, EnrollmentKey { uses, ..key.clone() }))
}

fn enrol(intent: &Intent, registration: Register, key: &EnrollmentKey, env: &mut Env<'_>) -> Decision {
    let spent = spend(key, env.now)?;
    let id = HostId::new(env.now, env.bytes());
    let wanted = registration.settings.name.as_ref().unwrap_or(&registration.hostname);
    let host = Host {
        id,
        name: free_name(intent, key, wanted),
        wireguard_key: registration.wireguard_key,
        signing_key: registration.signing_key,
        sealing: sealing(&registration),
        mtu: registration.settings.mtu,
        static_endpoint: registration.settings.static_endpoint,
        default: false,
        ephemeral: key.ephemeral,
        rotate: false,
        rotate_since: None,
        rekeyed: None,
        created: env.now,
    };
    let nodes = missing_nodes(intent, &host, key, &registration.addresses, env)?;
    Ok([RecordChange::made(host)].into_iter().chain(nodes).chain(spent).collect())
}

fn renew(
    intent: &Intent,
    before: &Host,
    registration: Register,
    key: Option<&EnrollmentKey>,
    env: &mut Env<'_>,
) -> Decision {
    let mut after = with_key(before.clone(), registration.wireguard_key, env.now);
    after.sealing = sealing(&registration);
    // A name that another host has is no reason to refuse the rest: this host has one already.
    let name = registration.settings.name.filter(|name| host::can_be_named(intent, name, before.id));
    after.name = name.unwrap_or(after.name);
    registration.settings.mtu.map_or(Edit::Keep, Edit::Set).apply(&mut after.mtu);
    registration.settings.static_endpoint.map_or(Edit::Keep, Edit::Set).apply(&mut after.static_endpoint);
    let nodes = match key {
        Some(key) => missing_nodes(intent, &after, key, &registration.addresses, env)?,
        None => Vec::new(),
    };
    let mut records = changed(before, after);
    if let Some(key) = key.filter(|_| !nodes.is_empty()) {
        records.extend(spend(key, env.now)?);
        records.extend(nodes);
    }
    Ok(records)
}

/// Nodes for those of the key's networks that the host is not in.
fn missing_nodes(
    intent: &Intent,
    host: &Host,
    key: &EnrollmentKey,
    addresses: &[IpAddr],
    env: &mut Env<'_>,
) -> Decision {
    let mut left = not_there(intent, host, addresses)?;
    let mut records = Vec::new();
    for id in key.networks.iter().filter(|id| intent.node_of(host.id, **id).is_none()) {
        let network = network::find(intent, *id)?;
        let wanted = wanted(network, &mut left);
        let node = node::new(intent, host, network, wanted, key.tags.clone(), env)?;
        records.push(RecordChange::made(Node { pending: network.approval, ..node }));
    }
    match left.first() {
        Some(address) => Err(Rejection::AddressNowhere { address: *address }),
        None => Ok(records),
    }
}

/// The addresses that lie in no network that the host is in. There it keeps those it has: an administrator may have given it
/// others since; a machine that asks again has those it asked for.
fn not_there(intent: &Intent, host: &Host, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Rejection> {
    let mut left = Vec::new();
    for wanted in addresses.iter().copied() {
        let mut nodes = intent.nodes_of_host(host.id);
        let network = |node: &Node| intent.network(node.network).filter(|it| it.ranges.contains(wanted));
        let Some((node, network)) = nodes.find_map(|node| Some((node, network(node)?))) else {
            left.push(wanted);
            continue;
        };
        if node.addresses.iter().all(|ip| ip != wanted) {
            let (host, network) = (host.name.clone(), network.name.clone());
            return Err(Rejection::AddressKept { host, network, has: AddressList(node.addresses), wanted });
        }
    }
    Ok(left)
}

/// Takes the first address of each family that lies in the network.
fn wanted(network: &Network, left: &mut Vec<IpAddr>) -> Addresses {
    let mut wanted = Addresses::default();
    left.retain(|address| {
        match address {
            IpAddr::V4(v4) if network.ranges.contains(*address) && wanted.v4.is_none() => {
                wanted.v4 = Some(*v4);
            }
            IpAddr::V6(v6) if network.ranges.contains(*address) && wanted.v6.is_none() => {
                wanted.v6 = Some(*v6);
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return true,
        }
        false
    });
    wanted
}

/// The name, or where it is taken one with a number. Doubles, then halves: ten thousand machines of one name must not each
/// ask for ten thousand.
fn free_name(intent: &Intent, key: &EnrollmentKey, wanted: &HostName) -> HostName {
    let is_free = |name: &HostName| {
        let held = |network: &NetworkId| names::holder(intent, *network, name, None).is_some();
        !names::is_reserved(name) && intent.host_by_name(name).is_none() && !key.networks.iter().any(held)
    };
    if is_free(wanted) {
        return wanted.clone();
    }
    let (mut taken, mut free) = (1_u32, 2_u32);
    while free < u32::MAX && !is_free(&wanted.numbered(free)) {
        taken = free;
        free = free.saturating_mul(2);
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_free(&wanted.numbered(middle)) {
            free = middle;
        } else {
            taken = middle;
        }
    }
    wanted.numbered(free)
}
