//! The steps from what is to what should be. Cannot fail, decides everything; the hand that carries the ops out decides
//! nothing.
//!
//! Order matters: what is too much goes first, what is missing comes after, so that at no moment more is open than before
//! or after; and each op leaves a state from which a second run gets there as well.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::WgPublicKey;

use crate::{Actual, Desired, DesiredPeer, Device, Interface, Link, LinkName, Op, Route};

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
        Some(device) if device.key.is_some_and(|key| key != desired.key) => {
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

/// The ops for the link alone, its addresses and routes: what `reconcile` does but for the peers, at a cost that does not
/// grow with them. Where there is no device yet, or another one, it does all that `reconcile` does.
pub fn reconcile_link(desired: &Desired, actual: &Actual) -> Vec<Op> {
    reconcile_with(desired, actual, Peers::Left)
}

/// Which peers of a device that stays are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peers {
    All,
    Left,
}

fn reconcile_with(desired: &Desired, actual: &Actual, peers: Peers) -> Vec<Op> {
    if conflict(desired, actual).is_some() {
        return Vec::new();
    }
    let link = actual.link.as_ref().and_then(|link| Some((link, link.device.as_ref()?)));
    match (&desired.interface, link) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![Op::DeleteLink],
        (Some(interface), None) => created(desired, interface),
        (Some(interface), Some((_, device))) if device.kind != interface.kind => {
            let mut ops = vec![Op::DeleteLink];
            ops.extend(created(desired, interface));
            ops
        }
        (Some(interface), Some((link, device))) => changed(desired, interface, link, device, peers),
    }
}

/// The ops for these peers alone; what `reconcile` does for all, at the cost of these.
pub fn reconcile_peers<'a>(
    interface: &Interface,
    device: &Device,
    keys: impl IntoIterator<Item = &'a WgPublicKey>,
) -> Vec<Op> {
    let (mut less, mut more) = (Vec::new(), Vec::new());
    for key in keys {
        match (interface.peers.get(key), device.peers.get(key)) {
            (None, None) => {}
            (None, Some(_)) => less.push(Op::RemovePeer(*key)),
            (Some(wanted), None) => more.push(Op::AddPeer(*key, wanted.clone())),
            (Some(wanted), Some(there)) => peer(*key, wanted, there, &mut less, &mut more),
        }
    }
    less.append(&mut more);
    less
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

fn created(desired: &Desired, interface: &Interface) -> Vec<Op> {
    let mut ops = vec![Op::CreateLink(interface.kind)];
    ops.extend([Op::SetKey(desired.key), Op::SetPort(interface.port), Op::SetMtu(interface.mtu)]);
    ops.extend(interface.addresses.iter().copied().map(Op::AddAddress));
    ops.push(Op::SetUp);
    ops.extend(interface.peers.iter().map(|(key, peer)| Op::AddPeer(*key, peer.clone())));
    ops.extend(routes(interface).map(Op::AddRoute));
    ops
}

fn changed(desired: &Desired, interface: &Interface, link: &Link, device: &Device, peers: Peers) -> Vec<Op> {
    let mut ops = Vec::new();
    if device.key != Some(desired.key) {
        ops.push(Op::SetKey(desired.key));
    }
    if device.port != interface.port {
        ops.push(Op::SetPort(interface.port));
    }
    if link.mtu != u32::from(interface.mtu.get()) {
        ops.push(Op::SetMtu(interface.mtu));
    }

    let wanted: BTreeSet<Route> = routes(interface).collect();
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

    if peers == Peers::All {
        let keys: BTreeSet<&WgPublicKey> = interface.peers.keys().chain(device.peers.keys()).collect();
        ops.extend(reconcile_peers(interface, device, keys));
    }
    // The kernel drops a route together with the address it prefers as source, whatever the address's prefix.
    let dropped = |route: &Route| gone.iter().any(|net| Some(net.addr()) == route.source);
    ops.extend(wanted.into_iter().filter(|r| !link.routes.contains(r) || dropped(r)).map(Op::AddRoute));
    ops
}

fn routes(interface: &Interface) -> impl Iterator<Item = Route> {
    interface.routes.iter().map(|(destination, source)| Route::ours(*destination, *source))
}

/// Link-local addresses are of the kernel's making, also on our link.
fn is_kernels(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(v6) if v6.addr().is_unicast_link_local())
}
