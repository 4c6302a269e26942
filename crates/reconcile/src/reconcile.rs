//! The steps from what is to what should be. Cannot fail, decides everything; the hand that carries the ops out decides
//! nothing.
//!
//! Order matters: what is too much goes first, then the firewall becomes what it should be, and what is missing comes after,
//! so that at no moment more is open than before or after; and each op leaves a state from which a second run gets there as
//! well. A full tunnel is switched on by its last rules and off by the same, first: what nothing may leak past is there
//! before, and goes after.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::WgPublicKey;

use crate::{
    Actual, Around, Desired, DesiredPeer, Device, FIREWALL_MARK, Family, FirewallLook, FirewallStep,
    Followed, Interface, Link, LinkName, Need, Op, Route, Rule, Surroundings, sysctl,
};

/// Something that is not ours has our link's name; nothing is done as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the interface {link} exists and is not ours ({what}); choose another name with `netclient join --interface NAME`, \
     or remove it if nobody needs it: `ip link delete {link}`"
)]
pub struct Conflict {
    link: LinkName,
    what: &'static str,
}

/// Whether the link's name belongs to somebody else.
pub fn conflict(desired: &Desired, actual: &Actual) -> Option<Conflict> {
    let what = match &actual.link.as_ref()?.device {
        None => "it is not WireGuard",
        Some(device) if device.key.is_some_and(|key| key != desired.key && Some(key) != desired.former) => {
            "it is WireGuard with another key"
        }
        Some(_) => return None,
    };
    Some(Conflict { link: desired.link.clone(), what })
}

/// The ops that make `actual` what is `desired`; none when it is.
pub fn reconcile(desired: &Desired, actual: &Actual) -> Vec<Op> {
    reconcile_with(desired, actual, Peers::All)
}

/// The ops for the link alone, its addresses and routes, and what is around it: what `reconcile` does but for the peers, at a
/// cost that does not grow with them. Where there is no device yet, or another one, it does all that `reconcile` does.
pub fn reconcile_link(desired: &Desired, actual: &Actual) -> Vec<Op> {
    reconcile_with(desired, actual, Peers::Left)
}

/// The ops after a change that was followed: what `reconcile` does, at the cost of the change. `actual` must be what an
/// earlier run led to; where it has no device of ours, that of `reconcile`.
pub fn reconcile_followed(desired: &Desired, actual: &Actual, followed: &Followed) -> Vec<Op> {
    let is_ours = actual.device().is_some_and(|device| device.key == Some(desired.key));
    if !is_ours {
        return reconcile(desired, actual);
    }
    reconcile_with(desired, actual, Peers::These(followed))
}

/// Which peers of a device that stays are looked at.
#[derive(Debug, Clone, Copy)]
enum Peers<'a> {
    All,
    These(&'a Followed),
    Left,
}

/// What takes away comes first, then the firewall, then what opens.
#[derive(Debug, Default)]
struct Steps {
    less: Vec<Op>,
    firewall: Vec<Op>,
    more: Vec<Op>,
}

fn reconcile_with(desired: &Desired, actual: &Actual, peers: Peers<'_>) -> Vec<Op> {
    if conflict(desired, actual).is_some() {
        return Vec::new();
    }
    let around = &actual.surroundings;
    let mut steps = Steps::default();
    rules_off(desired, around, &mut steps.less);
    steps.less.extend(sysctl::put_back(desired, around));
    let link = actual.link.as_ref().and_then(|link| Some((link, link.device.as_ref()?)));
    let Some(interface) = &desired.interface else {
        steps.less.extend(link.map(|_| Op::DeleteLink));
        steps.less.extend(around.unreachable.iter().copied().map(Around::RemoveUnreachable).map(Op::Around));
        if !matches!(around.firewall, None | Some(FirewallLook::Absent)) {
            steps.less.push(Around::RemoveFirewall.into());
        }
        return steps.less;
    };
    firewall(interface, around, peers, &mut steps.firewall);
    match link {
        Some((link, device)) if device.kind == interface.kind => {
            changed(desired, interface, link, device, peers, &mut steps);
        }
        link => {
            steps.less.extend(link.map(|_| Op::DeleteLink));
            created(desired, interface, &mut steps.more);
        }
    }
    let unreachable = if interface.tunnel.is_some() { Family::ALL.as_slice() } else { &[] };
    let missing = unreachable.iter().filter(|family| !around.unreachable.contains(family));
    steps.firewall.extend(missing.copied().map(Around::AddUnreachable).map(Op::Around));
    steps.more.extend(sysctl::take(&desired.link, interface, around));
    let rules = Rule::of(interface).into_iter();
    steps.more.extend(rules.filter(|rule| !around.rules.contains(rule)).map(Around::AddRule).map(Op::Around));
    if interface.tunnel.is_none() {
        steps.more.extend(around.unreachable.iter().copied().map(Around::RemoveUnreachable).map(Op::Around));
    }
    steps.less.into_iter().chain(steps.firewall).chain(steps.more).collect()
}

/// Rules that are not wanted: the switches first, and of the others each before what it relies on.
fn rules_off(desired: &Desired, around: &Surroundings, less: &mut Vec<Op>) {
    let wanted: BTreeSet<Rule> = desired.interface.iter().flat_map(Rule::of).collect();
    let mut gone: Vec<Rule> = around.rules.difference(&wanted).copied().collect();
    gone.sort_by_key(|rule| (!rule.is_switch(), Reverse(*rule)));
    less.extend(gone.into_iter().map(Around::RemoveRule).map(Op::Around));
}

fn firewall(interface: &Interface, around: &Surroundings, peers: Peers<'_>, ops: &mut Vec<Op>) {
    let Some(wanted) = &interface.firewall else {
        if !matches!(around.firewall, None | Some(FirewallLook::Absent)) {
            ops.push(Around::RemoveFirewall.into());
        }
        return;
    };
    match around.firewall {
        Some(FirewallLook::Intact(digest)) if digest == wanted.digest => return,
        // A machine that cannot, and nobody relies on it.
        None if wanted.need == Need::Wished => return,
        Some(FirewallLook::Intact(had)) => {
            if let Peers::These(Followed { firewall: FirewallStep::Sets(changes), .. }) = peers
                && had.after(changes) == wanted.digest
            {
                ops.push(Around::ChangeFirewall(had, changes.clone(), wanted.need).into());
                return;
            }
        }
        Some(FirewallLook::Absent | FirewallLook::Changed) | None => {}
    }
    ops.push(Around::SetFirewall(Arc::clone(&wanted.firewall), wanted.need).into());
}

/// The ops for these peers alone.
fn peers_of<'a>(
    interface: &Interface,
    device: &Device,
    keys: impl IntoIterator<Item = &'a WgPublicKey>,
    steps: &mut Steps,
) {
    let Steps { less, more, .. } = steps;
    for key in keys {
        match (interface.peers.get(key), device.peers.get(key)) {
            (None, None) => {}
            (None, Some(_)) => less.push(Op::RemovePeer(*key)),
            (Some(wanted), None) => more.push(Op::AddPeer(*key, wanted.clone())),
            (Some(wanted), Some(there)) => peer(*key, wanted, there, less, more),
        }
    }
}

fn peer(
    key: WgPublicKey,
    wanted: &DesiredPeer,
    there: &crate::ActualPeer,
    less: &mut Vec<Op>,
    more: &mut Vec<Op>,
) {
    let missing: BTreeSet<IpNet> = wanted.allowed.difference(&there.allowed).copied().collect();
    if !there.allowed.is_subset(&wanted.allowed) {
        less.push(Op::SetAllowed(key, wanted.allowed.intersection(&there.allowed).copied().collect()));
    }
    if !missing.is_empty() {
        more.push(Op::AllowMore(key, missing));
    }
    if there.endpoint.is_none() {
        more.extend(wanted.endpoint.map(|endpoint| Op::SetEndpoint(key, endpoint)));
    }
    if there.keepalive != Some(wanted.keepalive) {
        more.push(Op::SetKeepalive(key, wanted.keepalive));
    }
}

fn created(desired: &Desired, interface: &Interface, ops: &mut Vec<Op>) {
    ops.push(Op::CreateLink(interface.kind));
    ops.extend([Op::SetKey(desired.key), Op::SetPort(interface.port), Op::SetMark(FIREWALL_MARK)]);
    ops.push(Op::SetMtu(interface.mtu));
    ops.extend(interface.addresses.iter().copied().map(Op::AddAddress));
    ops.push(Op::SetUp);
    ops.extend(interface.peers.iter().map(|(key, peer)| Op::AddPeer(*key, peer.clone())));
    ops.extend(interface.all_routes().map(Op::AddRoute));
}

fn changed(
    desired: &Desired,
    interface: &Interface,
    link: &Link,
    device: &Device,
    peers: Peers<'_>,
    steps: &mut Steps,
) {
    let ops = &mut steps.less;
    if device.key != Some(desired.key) {
        ops.push(Op::SetKey(desired.key));
    }
    if device.port != interface.port {
        ops.push(Op::SetPort(interface.port));
    }
    if device.mark != FIREWALL_MARK {
        ops.push(Op::SetMark(FIREWALL_MARK));
    }
    if link.mtu != u32::from(interface.mtu.get()) {
        ops.push(Op::SetMtu(interface.mtu));
    }

    let wanted: BTreeSet<Route> = interface.all_routes().collect();
    let too_much = link.routes.iter().filter(|route| route.is_ours() && !wanted.contains(route));
    ops.extend(too_much.copied().map(Op::RemoveRoute));
    let alone = |ip: &IpAddr| IpNet::from(*ip);
    let addresses: BTreeSet<IpNet> = interface.addresses.iter().map(alone).collect();
    let gone: Vec<IpNet> =
        link.addresses.iter().filter(|net| !is_kernels(net) && !addresses.contains(net)).copied().collect();
    ops.extend(gone.iter().copied().map(Op::RemoveAddress));
    let missing = addresses.difference(&link.addresses);
    ops.extend(missing.map(|net| Op::AddAddress(net.addr())));
    if !link.up {
        ops.push(Op::SetUp);
    }

    match peers {
        Peers::All => {
            let keys: BTreeSet<&WgPublicKey> = interface.peers.keys().chain(device.peers.keys()).collect();
            peers_of(interface, device, keys, steps);
        }
        Peers::These(followed) => peers_of(interface, device, &followed.keys, steps),
        Peers::Left => {}
    }
    // The kernel drops a route together with the address it prefers as source, whatever the address's prefix.
    let dropped = |route: &Route| gone.iter().any(|net| Some(net.addr()) == route.source);
    let missing = wanted.into_iter().filter(|route| !link.routes.contains(route) || dropped(route));
    steps.more.extend(missing.map(Op::AddRoute));
}

/// Link-local addresses are of the kernel's making, also on our link.
fn is_kernels(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(v6) if v6.addr().is_unicast_link_local())
}
