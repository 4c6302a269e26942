//! Remote access clients: what they may be called, through whom they come in, what lies behind them.

use ipnet::IpNet;
use model::{Client, ClientId, Network, NetworkId, Node, NodeId, Timestamp};

use super::{Decision, bounds, changed, draft::Draft, names, network, outside, removal, token, ways};
use crate::{ClientEdit, Edit, Env, Intent, NewClient, RecordChange, Rejection, allocate};

const GATEWAY: &str = "remote access gateway";

pub(super) fn create(intent: &Intent, new: NewClient, env: &mut Env<'_>) -> Decision {
    let network = network::find(intent, new.network)?;
    token::check_expiry(new.expires, env.now)?;
    let addresses = allocate::addresses(intent, network, new.addresses.unwrap_or_default())?;
    let client = Client {
        id: ClientId::new(env.now, env.bytes()),
        network: network.id,
        name: new.name,
        key: new.key,
        addresses,
        gateways: once_each(new.gateways),
        owner: new.owner,
        enabled: new.enabled,
        tags: new.tags,
        expires: new.expires,
        expired: None,
        ranges: new.ranges,
        full_tunnel: new.full_tunnel,
        dns: new.dns,
        mtu: new.mtu,
        keepalive: new.keepalive,
        created: env.now,
    };
    check(intent, network, None, &client)?;
    check_overlap(intent, &client)?;
    Ok(vec![RecordChange::made(client)])
}

/// The first of each.
fn once_each(gateways: Vec<NodeId>) -> Vec<NodeId> {
    let mut seen = std::collections::BTreeSet::new();
    gateways.into_iter().filter(|gateway| seen.insert(*gateway)).collect()
}

fn find(intent: &Intent, client: ClientId) -> Result<&Client, Rejection> {
    intent.client(client).ok_or(Rejection::NoSuchClient { client })
}

pub(super) fn update(intent: &Intent, client: ClientId, edit: ClientEdit, now: Timestamp) -> Decision {
    let before = find(intent, client)?;
    if let Edit::Set(expires) = edit.expires {
        token::check_expiry(Some(expires), now)?;
    }
    if let Some(gateways) = &edit.gateways {
        bounds::at_least_one(GATEWAY, gateways.len())?;
    }
    let let_in = edit.enabled == Some(true);
    let network = network::find(intent, before.network)?;
    let addresses = match edit.addresses {
        Some(wanted) => allocate::renumber(intent, network, before.addresses, wanted)?,
        None => before.addresses,
    };
    let after = Client { addresses, ..edited(before.clone(), edit) };
    if let Some(expired) = after.expires.filter(|at| let_in && *at <= now) {
        return Err(Rejection::ClientExpired { client: after.name, expired });
    }
    check(intent, network, Some(before), &after)?;
    check_overlap(intent, &after)?;
    Ok(changed(before, after))
}

fn edited(mut client: Client, edit: ClientEdit) -> Client {
    client.name = edit.name.unwrap_or(client.name);
    client.key = edit.key.unwrap_or(client.key);
    client.gateways = edit.gateways.map_or(client.gateways, once_each);
    edit.owner.apply(&mut client.owner);
    client.enabled = edit.enabled.unwrap_or(client.enabled);
    edit.tags.apply(&mut client.tags);
    edit.expires.apply(&mut client.expires);
    client.ranges = edit.ranges.unwrap_or(client.ranges);
    client.full_tunnel = edit.full_tunnel.unwrap_or(client.full_tunnel);
    edit.dns.apply(&mut client.dns);
    edit.mtu.apply(&mut client.mtu);
    edit.keepalive.apply(&mut client.keepalive);
    client
}

pub(super) fn delete(intent: &Intent, client: ClientId) -> Decision {
    find(intent, client)?;
    let mut draft = Draft::of(intent);
    removal::client(&mut draft, client);
    Ok(draft.finish())
}

/// Whether the client can be so, where it is other than before, beside all others but for the ranges that they lead to.
pub(super) fn check(
    intent: &Intent,
    network: &Network,
    before: Option<&Client>,
    client: &Client,
) -> Result<(), Rejection> {
    names::check_new(before.map(|before| &before.name), &client.name)?;
    if before.is_none_or(|before| before.gateways != client.gateways) {
        bounds::at_least_one(GATEWAY, client.gateways.len())?;
    }
    names::check(intent, network, &client.name, Some(client.id.into()))?;
    check_key(intent, client)?;
    if let Some(user) = client.owner.filter(|user| intent.user(*user).is_none()) {
        return Err(Rejection::NoSuchUser { user });
    }
    bounds::tags(&client.tags)?;
    bounds::at_most(
        "name servers",
        client.dns.as_ref().map_or(0, Vec::len),
        bounds::MOST_CLIENT_NAME_SERVERS,
    )?;
    check_gateways(intent, client)?;
    check_ranges(network, client)
}

fn check_key(intent: &Intent, client: &Client) -> Result<(), Rejection> {
    if let Some(host) = intent.host_by_wireguard_key(&client.key) {
        return Err(Rejection::ClientKeyTaken { holder: format!("host `{}`", host.name) });
    }
    match intent.client_by_key(&client.key).filter(|holder| holder.id != client.id) {
        None => Ok(()),
        Some(holder) => Err(Rejection::ClientKeyTaken { holder: format!("client `{}`", holder.name) }),
    }
}

/// A client may have lost all of its gateways, and be changed nevertheless.
fn check_gateways(intent: &Intent, client: &Client) -> Result<(), Rejection> {
    bounds::at_most("gateways of one client", client.gateways.len(), bounds::MOST_GATEWAYS)?;
    for gateway in &client.gateways {
        let gateway = ways::named(intent, client.network, *gateway)?;
        if !gateway.duties.remote_access {
            return Err(Rejection::NotAGateway { node: names::at(intent, gateway) });
        }
        if client.full_tunnel && !gateway.duties.internet {
            let (client, node) = (client.name.clone(), names::at(intent, gateway));
            return Err(Rejection::FullTunnelNeedsInternet { client, node });
        }
    }
    Ok(())
}

/// The gateways of a client that names none: those of the network that would do, who take part before who pauses, then by name,
/// as many as one client may have.
pub fn usual_gateways(intent: &Intent, network: NetworkId, full_tunnel: bool) -> Vec<NodeId> {
    let would_do =
        |node: &&Node| node.duties.remote_access && !node.pending && (node.duties.internet || !full_tunnel);
    let nodes = intent.nodes_in_network(network, None).filter(would_do);
    let named = nodes.filter_map(|node| Some((!node.connected, &intent.host(node.host)?.name, node.id)));
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    named.into_iter().map(|(_, _, node)| node).take(bounds::MOST_GATEWAYS).collect()
}

fn check_ranges(network: &Network, client: &Client) -> Result<(), Rejection> {
    bounds::at_most("ranges behind one client", client.ranges.len(), bounds::MOST_RANGES)?;
    for range in &client.ranges {
        outside::check(*range)?;
        outside::check_family(*range, network)?;
    }
    // In order, a range that overlaps any later one overlaps the next.
    let ranges: Vec<IpNet> = client.ranges.iter().copied().collect();
    for pair in ranges.windows(2) {
        if let [other, range] = pair
            && allocate::overlap(*range, *other)
        {
            let (range, other, network) = (*range, *other, network.name.clone());
            return Err(Rejection::RangeOverlapsClient {
                range,
                other,
                client: client.name.clone(),
                network,
            });
        }
    }
    Ok(())
}

/// Refuses ranges behind it that lead elsewhere already.
fn check_overlap(intent: &Intent, client: &Client) -> Result<(), Rejection> {
    allocate::free_of_overlap(intent, client.ranges.iter().copied(), Some(client.id.into()))
}
