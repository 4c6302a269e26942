//! The deltas of what was touched: the same as comparing every host's map before and after, without making the maps.
//!
//! It costs what was touched, and for each host that hears of it a look at where it is. Hosts that are told of the same
//! sections share what is said of their peers, encoded once.

use std::collections::{BTreeMap, BTreeSet};

use model::{HostId, NetworkId};

use super::host_delta::HostDelta;
use super::records::Pages;
use super::selves::Selves;
use super::shift::Shift;
use super::views::{View, Views};
use super::{Picture, Roster, Touched, others};

/// The most peers that one delta names: some 40 KB, for each of the hosts that hear of them. A host that is to hear of more
/// fetches its map instead, when there is room for it, and mostly gets what was packed once for everybody.
///
/// So one host that comes into a network of thousands, or leaves it, costs no list of them, and a thousand that change at
/// once are not each told of a thousand.
pub const MOST_TOLD: usize = 256;

/// What changes for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deltas {
    /// For each host whose map changes, what changes; by host.
    pub changed: Vec<(HostId, HostDelta)>,
    /// Hosts that fetch their map: they had none before, or more changes than is told in a delta. By host.
    pub new: Vec<HostId>,
    /// Hosts that have none any more: they are told that they were removed. By host.
    pub removed: Vec<HostId>,
}

/// The deltas from one picture to another. All that differs must be in `touched`, and the rosters be those of the pictures.
pub fn deltas(
    before: &Picture<'_>,
    after: &Picture<'_>,
    roster_before: &Roster,
    roster_after: &Roster,
    touched: &Touched,
) -> Deltas {
    deltas_within(MOST_TOLD, (before, after), (roster_before, roster_after), touched)
}

/// The same, of at most so many peers for each host.
pub fn deltas_within(
    most: usize,
    (before, after): (&Picture<'_>, &Picture<'_>),
    rosters: (&Roster, &Roster),
    touched: &Touched,
) -> Deltas {
    let shifts = shifts(rosters, touched);
    let pages = Pages::between(rosters.0, rosters.1, touched);
    let mut selves = Selves::new((before, after), rosters, touched);
    let shifted = shifts.iter().filter(|(_, shift)| !shift.is_empty()).map(|(network, _)| *network);
    let shifted: BTreeSet<NetworkId> = shifted.chain(pages.networks()).collect();
    let audience = shifted.into_iter().flat_map(|network| others(after.intent, network, None));
    let looked_at = sorted(selves.looked_at().collect());
    let audience = sorted(audience.map(|node| node.host).chain(looked_at.iter().copied()).collect());
    let mut views = Views::new((*before, *after), rosters, shifts, most);
    let mut deltas = Deltas { changed: Vec::with_capacity(audience.len()), ..Deltas::default() };
    let mut looked_at = looked_at.into_iter().peekable();
    for host in audience {
        let is_looked_at = looked_at.next_if_eq(&host).is_some();
        // Most only hear of others: they are there, and nothing else is asked about them.
        let comes_or_goes = is_looked_at && touched.own.contains(&host);
        let there = |picture: &Picture<'_>| !comes_or_goes || picture.intent.host(host).is_some();
        match (there(before), there(after)) {
            (false, false) => {}
            (false, true) => deltas.new.push(host),
            (true, false) => deltas.removed.push(host),
            (true, true) => {
                let (from, to) = (rosters.0.place(host), rosters.1.place(host));
                match (pages.heard(&from, &to), views.of(host, from, to)) {
                    // Its own part comes with the rest.
                    (None, _) | (_, View::TooMuch) => deltas.new.push(host),
                    (Some(records), View::Part(peers)) => {
                        let own = is_looked_at.then(|| selves.of(host)).flatten().map(Box::new);
                        let delta = HostDelta { own, peers, records };
                        deltas.changed.extend((!delta.is_empty()).then_some((host, delta)));
                    }
                }
            }
        }
    }
    deltas
}

/// What changes in which network.
pub(super) fn shifts<'a>(
    (before, after): (&'a Roster, &'a Roster),
    touched: &Touched,
) -> BTreeMap<NetworkId, Shift<'a>> {
    let seen = touched.seen.iter().map(|(network, _)| *network);
    let networks: BTreeSet<NetworkId> = seen.chain(touched.relaid.iter().copied()).collect();
    let shift = |network| (network, Shift::between(before, after, touched, network));
    networks.into_iter().map(shift).collect()
}

/// In order, each once. What comes in a few runs that are in order already costs one walk.
fn sorted(mut hosts: Vec<HostId>) -> Vec<HostId> {
    hosts.sort();
    hosts.dedup();
    hosts
}
