//! What `netclient status` says of each network, and of the way to everything outside.

use model::NetworkName;
use reconcile::PathStatus;

use super::{Finding, Health, finding};
use crate::command::output::count;
use crate::view::{InternetView, NetworkView, PeerView};

pub(super) fn of_network(network: &NetworkView, peers: &[PeerView]) -> Vec<Finding> {
    let name = &network.name;
    if network.pending {
        let says = format!("{name}: this machine waits to be let in");
        return vec![
            finding("network", Health::Limited, says)
                .advise("an administrator approves it with `netloom node approve`"),
        ];
    }
    if !network.connected {
        return vec![
            finding("network", Health::Limited, format!("{name}: paused"))
                .advise(format!("take part again with `netclient connect {name}`")),
        ];
    }
    let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
    let mut says = format!("{name}: {}, {}", addresses.join(" and "), count(network.peers, "peer"));
    if let Some(via) = &network.via {
        says.push_str(&format!(", all through {via}"));
    }
    if !network.leads_to.is_empty() {
        let ranges: Vec<String> = network.leads_to.iter().map(ToString::to_string).collect();
        says.push_str(&format!("; leads to {}", ranges.join(" and ")));
    }
    if network.internet_gateway {
        says.push_str("; is the way to the internet for others");
    }
    let mut findings = vec![finding("network", Health::Works, says)];
    findings.extend(network.internet.as_ref().map(|way| of_internet(name, way, peers)));
    findings
}

/// The way to everything outside: where there is a gateway, it is as good as the path to it.
fn of_internet(network: &NetworkName, way: &InternetView, peers: &[PeerView]) -> Finding {
    let lan = if way.lan { ", but for the networks it is attached to" } else { "" };
    let nothing = |why: &str| {
        let says = format!("nothing leaves this machine{lan}: its internet gateway {why}");
        finding("internet", Health::Broken, says)
    };
    let other = format!(
        "choose another, or none, at the server: `netloom node update {network} HOST --internet GATEWAY` (or `none`)"
    );
    let Some(gateway) = &way.gateway else {
        return nothing("is paused or was removed").advise(other);
    };
    let is_gateway = |peer: &&PeerView| {
        peer.name == *gateway && peer.networks.iter().any(|place| place.network == *network)
    };
    let peer = peers.iter().find(is_gateway);
    if let Some(carrier) = peer.and_then(PeerView::carrier) {
        let why = format!("{gateway} is itself reached through another node, {carrier}");
        return nothing(&why).advise(other);
    }
    match peer.and_then(|peer| peer.path) {
        Some(PathStatus::Unreachable(obstacle)) => {
            nothing(&format!("{gateway} cannot be reached: {obstacle}"))
                .advise(format!("look at `netclient status` on {gateway}, or {other}"))
        }
        Some(path @ PathStatus::Trying { .. }) => nothing(&format!("{gateway} has not answered yet: {path}")),
        Some(PathStatus::Direct { .. } | PathStatus::Checking { .. }) | None => {
            let says = format!("everything that leaves this machine goes through {gateway}{lan}");
            finding("internet", Health::Works, says)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use reconcile::Obstacle;

    use super::*;
    use crate::command::status::words;

    pub(in crate::command::status) fn network() -> NetworkView {
        NetworkView {
            name: "office".parse().unwrap(),
            ranges: Vec::new(),
            addresses: vec![[10, 7, 0, 1].into()],
            connected: true,
            pending: false,
            via: None,
            guarded: true,
            leads_to: vec!["192.168.7.0/24".parse().unwrap()],
            internet_gateway: false,
            internet: Some(InternetView { gateway: Some("edge".parse().unwrap()), lan: true }),
            peers: 2,
            reachable: None,
        }
    }

    #[test]
    fn gateways_are_named_and_waiting_for_approval_is_told_with_who_can_help() {
        let found = words(&of_network(&network(), &[]));
        assert!(found.contains("leads to 192.168.7.0/24") && found.contains("goes through edge"), "{found}");
        let found = of_network(&NetworkView { pending: true, ..network() }, &[]);
        assert!(found.len() == 1 && found[0].says.contains("waits to be let in"), "{found:?}");
        assert!(found[0].advice.as_ref().is_some_and(|advice| advice.contains("approve")));
    }

    #[test]
    fn there_is_no_internet_where_its_gateway_is_not_reached_or_not_there() {
        let endpoint = "192.0.2.1:51820".parse().unwrap();
        let edge = |path| PeerView {
            name: "edge".parse().unwrap(),
            id: model::MemberId::from_bytes([1; 16]),
            key: None,
            networks: vec![crate::view::PeerNetwork {
                network: "office".parse().unwrap(),
                addresses: model::Addresses::default(),
                ranges: Vec::new(),
                via: Vec::new(),
                used: None,
            }],
            path: Some(path),
            endpoint: None,
            handshake: None,
            received: 0,
            sent: 0,
            reached: None,
        };
        let of = |network: &NetworkView, path| of_network(network, &[edge(path)]).pop().unwrap();
        let obstacle = Obstacle::NoAnswer { addresses: 1 };
        for (path, health) in [
            (PathStatus::Checking { endpoint }, Health::Works),
            (PathStatus::Trying { endpoint: None, addresses: 1 }, Health::Broken),
            (PathStatus::Unreachable(obstacle), Health::Broken),
        ] {
            let found = of(&network(), path);
            assert_eq!((found.about, found.health), ("internet", health), "{found:?}");
        }
        let found = of(&network(), PathStatus::Unreachable(obstacle));
        assert!(found.says.contains("nothing leaves") && found.says.contains("no answer"), "{found:?}");
        assert!(found.advice.is_some_and(|advice| advice.contains("status` on edge")));
        let mut carried = edge(PathStatus::Checking { endpoint });
        carried.networks[0].used = Some("hub".parse().unwrap());
        let found = of_network(&network(), &[carried]).pop().unwrap();
        assert!(
            found.health == Health::Broken && found.says.contains("through another node, hub"),
            "{found:?}"
        );
        let gone = NetworkView { internet: Some(InternetView { gateway: None, lan: true }), ..network() };
        let found = of(&gone, PathStatus::Checking { endpoint });
        assert!(found.says.contains("nothing leaves") && found.advice.is_some(), "{found:?}");
    }
}
