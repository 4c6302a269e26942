//! What `netclient status` says of peers, and of the ranges behind them.

use reconcile::{Obstacle, PathStatus};

use super::{Finding, Health, finding};
use crate::command::output::count;
use crate::view::PeerView;

pub(super) fn of_peers(peers: &[PeerView]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Clients come and go, and those who are carried are as well off as who carries them.
    let is_direct = |peer: &&PeerView| peer.path.is_some() && peer.reachable() == Some(true);
    let reachable = peers.iter().filter(is_direct).count();
    let watched = peers.iter().filter(|peer| peer.path.is_some()).count();
    let carried = peers.iter().filter(|peer| peer.carrier().is_some() && !peer.is_range()).count();
    if watched > 0 {
        let health = if reachable == watched { Health::Works } else { Health::Limited };
        findings.push(finding(
            "peers",
            health,
            format!("{reachable} of {} reachable", count(watched, "peer")),
        ));
    }
    if carried > 0 {
        let lost =
            peers.iter().filter(|peer| peer.carrier().is_some() && peer.reached == Some(false)).count();
        let health = if lost == 0 { Health::Works } else { Health::Limited };
        let says = format!("{} reached through others", count(carried, "more peer"));
        findings.push(finding("peers", health, says));
    }
    for range in peers.iter().filter(|peer| peer.is_range()) {
        findings.extend(of_range(range));
    }
    for peer in peers {
        match peer.path {
            Some(PathStatus::Unreachable(obstacle)) => findings.push(of_obstacle(peer, obstacle)),
            Some(path @ PathStatus::Trying { .. }) => {
                findings.push(finding("peer", Health::Limited, format!("{}: {path}", peer.name)));
            }
            Some(PathStatus::Direct { .. } | PathStatus::Checking { .. }) | None => {}
        }
    }
    findings
}

fn of_range(range: &PeerView) -> Option<Finding> {
    let carrier = range.carrier()?;
    let nets: Vec<String> =
        range.networks.iter().flat_map(|network| &network.ranges).map(ToString::to_string).collect();
    let says = format!("{} ({}) through {carrier}", range.name, nets.join(" and "));
    Some(match range.reached {
        Some(false) => finding("range", Health::Limited, format!("{says}, which cannot be reached")),
        Some(true) | None => finding("range", Health::Works, says),
    })
}

fn of_obstacle(peer: &PeerView, obstacle: Obstacle) -> Finding {
    let text = obstacle.to_string();
    let says =
        |why: &str| finding("peer", Health::Limited, format!("{} cannot be reached: {why}", peer.name));
    match text.split_once("; ") {
        Some((why, advice)) => says(why).advise(advice),
        None => says(&text).advise(format!("look at `netclient status` on {} too", peer.name)),
    }
}
