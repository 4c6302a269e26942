//! Ways to ranges outside of a network.

use std::collections::BTreeSet;

use model::{Egress, EgressId, Host, HostId, Network, Node};

use super::{Decision, bounds, changed, draft::Draft, host, names, network, outside, removal, ways};
use crate::{EgressEdit, Env, Intent, NewEgress, RecordChange, Rejection, allocate};

const ROUTER: &str = "router";

pub(super) fn create(intent: &Intent, new: NewEgress, env: &mut Env<'_>) -> Decision {
    let found = network::find(intent, new.network)?;
    let id = EgressId::new(env.now, env.bytes());
    let NewEgress { network, name, range, mapped, routers, nat, enabled } = new;
    let created = env.now;
    let egress = Egress { id, network, name, range, mapped, routers, nat, enabled, created };
    check(intent, found, None, &egress)?;
    check_overlap(intent, &egress)?;
    Ok(vec![RecordChange::made(egress)])
}

fn find(intent: &Intent, egress: EgressId) -> Result<&Egress, Rejection> {
    intent.egress(egress).ok_or(Rejection::NoSuchEgress { egress })
}

pub(super) fn update(intent: &Intent, egress: EgressId, edit: EgressEdit) -> Decision {
    let before = find(intent, egress)?;
    if let Some(routers) = &edit.routers {
        bounds::at_least_one(ROUTER, routers.len())?;
    }
    let mut after = before.clone();
    after.name = edit.name.unwrap_or(after.name);
    edit.mapped.apply(&mut after.mapped);
    after.routers = edit.routers.unwrap_or(after.routers);
    after.nat = edit.nat.unwrap_or(after.nat);
    after.enabled = edit.enabled.unwrap_or(after.enabled);
    check(intent, network::find(intent, after.network)?, Some(before), &after)?;
    check_overlap(intent, &after)?;
    Ok(changed(before, after))
}

pub(super) fn delete(intent: &Intent, egress: EgressId) -> Decision {
    find(intent, egress)?;
    let mut draft = Draft::of(intent);
    removal::egress(&mut draft, egress);
    Ok(draft.finish())
}

/// Whether the egress range can be so, where it is other than before, beside all others but for the ranges that they lead to.
pub(super) fn check(
    intent: &Intent,
    network: &Network,
    before: Option<&Egress>,
    egress: &Egress,
) -> Result<(), Rejection> {
    if before.is_none_or(|before| before.routers != egress.routers) {
        bounds::at_least_one(ROUTER, egress.routers.len())?;
    }
    if intent.egress_by_name(network.id, &egress.name).is_some_and(|other| other.id != egress.id) {
        let (name, network) = (egress.name.clone(), network.name.clone());
        return Err(Rejection::EgressNameTaken { name, network });
    }
    check_ranges(network, egress)?;
    check_routers(intent, egress)?;
    check_endpoints(intent, egress)
}

/// Refuses a range that leads elsewhere already.
fn check_overlap(intent: &Intent, egress: &Egress) -> Result<(), Rejection> {
    allocate::free_of_overlap(intent, [egress.reached_as()].into_iter(), Some(egress.id.into()))
}

fn check_ranges(network: &Network, egress: &Egress) -> Result<(), Rejection> {
    let range = egress.range;
    outside::check(range)?;
    outside::check_family(range, network)?;
    // Even where it is reached as another range, its routers could not tell it from their network's own.
    if let Some(other) = network.ranges.iter().find(|own| allocate::overlap(range, *own)) {
        return Err(Rejection::RangesOverlap { range, other, network: network.name.clone() });
    }
    if let Some(mapped) = egress.mapped {
        outside::check(mapped)?;
        let family = mapped.addr().is_ipv4() == range.addr().is_ipv4();
        if !family || mapped.prefix_len() != range.prefix_len() {
            return Err(Rejection::MappedUnequal { range, mapped });
        }
    }
    Ok(())
}

/// A range may have lost all of its routers, and be changed nevertheless.
fn check_routers(intent: &Intent, egress: &Egress) -> Result<(), Rejection> {
    bounds::at_most("routers of one egress range", egress.routers.len(), bounds::MOST_ROUTERS)?;
    let mut seen = BTreeSet::new();
    for router in &egress.routers {
        let node = ways::named(intent, egress.network, router.node)?;
        if !seen.insert(node.id) {
            return Err(Rejection::RouterTwice { node: names::at(intent, node) });
        }
        ways::check_free_for(intent, node, format!("a router of `{}`", egress.name))?;
        check_led_to(intent, egress, node)?;
        for network in intent.nodes_of_host(node.host).filter_map(|node| intent.network(node.network)) {
            check_apart(intent, egress, node.host, network)?;
        }
    }
    Ok(())
}

/// Refuses the same range twice behind one router: what comes back from there has one way. Only a mapped one gets so far.
fn check_led_to(intent: &Intent, egress: &Egress, router: &Node) -> Result<(), Rejection> {
    let mut others = intent.egresses_of_router(router.id).filter(|other| other.id != egress.id);
    match others.find(|other| other.range == egress.range) {
        None => Ok(()),
        Some(other) => Err(Rejection::LedToAlready {
            node: names::at(intent, router),
            range: egress.range,
            egress: other.name.clone(),
            reached_as: other.reached_as(),
        }),
    }
}

/// Refuses a range that is as well one of a network in which its router is: it could not tell the two apart.
fn check_apart(intent: &Intent, egress: &Egress, router: HostId, network: &Network) -> Result<(), Rejection> {
    let range = egress.range;
    match network.ranges.iter().find(|own| allocate::overlap(range, *own)) {
        None => Ok(()),
        Some(other) => Err(Rejection::LeadsToOwnNetwork {
            host: host::find(intent, router)?.name.clone(),
            range,
            egress: egress.name.clone(),
            other,
            network: network.name.clone(),
        }),
    }
}

/// Whether a host can come into a network: it leads to no range that is one of the network's.
pub(super) fn check_host(intent: &Intent, host: &Host, network: &Network) -> Result<(), Rejection> {
    led_by(intent, host).try_for_each(|egress| check_apart(intent, egress, host.id, network))
}

fn led_by<'a>(intent: &'a Intent, host: &Host) -> impl Iterator<Item = &'a Egress> {
    intent.nodes_of_host(host.id).flat_map(|node| intent.egresses_of_router(node.id))
}

/// Refuses a range that holds the endpoint at which one of its routers is always reached: the way there would lead through
/// itself. Where a router is only seen is no reason: it may be seen elsewhere the next moment.
fn check_endpoints(intent: &Intent, egress: &Egress) -> Result<(), Rejection> {
    let routers = egress.routers.iter().filter_map(|router| intent.node(router.node));
    routers.filter_map(|node| intent.host(node.host)).try_for_each(|host| check_endpoint(egress, host))
}

fn check_endpoint(egress: &Egress, router: &Host) -> Result<(), Rejection> {
    let range = egress.reached_as();
    match router.static_endpoint.filter(|endpoint| range.contains(&endpoint.ip())) {
        None => Ok(()),
        Some(endpoint) => Err(Rejection::RangeHoldsRouter {
            range,
            egress: egress.name.clone(),
            host: router.name.clone(),
            endpoint,
        }),
    }
}

/// Whether the endpoint of a host can be what it is: none of the ranges that it leads to holds it.
pub(super) fn check_router(intent: &Intent, host: &Host) -> Result<(), Rejection> {
    led_by(intent, host).try_for_each(|egress| check_endpoint(egress, host))
}
