//! What changes of what hosts are told of themselves: found without making what does not.
//!
//! Not for peers (`views`). It keeps true that it costs a host that was not touched itself a look at the rules that lead to it,
//! and only one for which something changes what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{HostId, NetworkId, Node};
use wire::Membership;

use super::host_delta::{Own, Part, Taken};
use super::own::{Offer, Shared, apart, ends, outside, own_host};
use super::roster::NetworkRoster;
use super::{Picture, Roster, Touched};
use crate::Intent;
use crate::policy::Member;

/// What all members of a network are told alike, before and after.
type Ends = (Option<Arc<Shared>>, Option<Arc<Shared>>);

/// What changes for hosts themselves.
pub(super) struct Selves<'a> {
    pictures: [Picture<'a>; 2],
    rosters: [&'a Roster; 2],
    touched: &'a Touched,
    /// Networks that may have changed for all of their members, or whose rules may have.
    networks: BTreeSet<NetworkId>,
    shared: BTreeMap<NetworkId, Ends>,
    links: bool,
}

impl<'a> Selves<'a> {
    pub(super) fn new(
        (before, after): (&Picture<'a>, &Picture<'a>),
        rosters: (&'a Roster, &'a Roster),
        touched: &'a Touched,
    ) -> Self {
        let ruled = touched.policies.iter().map(|(network, _)| *network);
        Self {
            pictures: [*before, *after],
            rosters: [rosters.0, rosters.1],
            touched,
            networks: touched.networks.iter().copied().chain(ruled).collect(),
            shared: BTreeMap::new(),
            links: before.links != after.links,
        }
    }

    /// Hosts for which something may change.
    pub(super) fn looked_at(&self) -> impl Iterator<Item = HostId> + '_ {
        let [before, after] = self.pictures.map(|picture| picture.intent);
        let members = move |network: &NetworkId| {
            let both = [before, after].into_iter();
            let network = *network;
            both.flat_map(move |intent| intent.nodes_in_network(network, None)).map(|node| node.host)
        };
        self.networks.iter().flat_map(members).chain(self.touched.own.iter().copied())
    }

    /// What changes for this host, which is there before and after, if anything does.
    pub(super) fn of(&mut self, host: HostId) -> Option<Own> {
        let whole = self.touched.own.contains(&host);
        let [before, after] = self.pictures;
        let mut part = Own::default();
        if whole {
            let now = own_host(&after, host);
            part.host = now.filter(|now| own_host(&before, host).as_ref() != Some(now));
        }
        let nodes = |picture: &Picture<'a>| picture.intent.nodes_of_host(host);
        let networks: BTreeSet<NetworkId> =
            nodes(&before).chain(nodes(&after)).map(|node| node.network).collect();
        let mut looked_at = whole;
        for network in networks {
            if !whole && !self.networks.contains(&network) {
                continue;
            }
            looked_at = true;
            let [old, new] = self.pictures.map(|picture| {
                let there = picture.intent.network(network).is_some();
                picture.intent.node_of(host, network).filter(|_| there)
            });
            match (old, new) {
                (Some(_), None) => part.networks_gone.push(network),
                (None, Some(node)) => {
                    part.networks.extend(self::part(&after, self.rosters[1], node).map(|it| (network, it)));
                }
                (Some(old), Some(new)) => {
                    part.networks.extend(self.changed(old, new, whole).map(|it| (network, it)));
                }
                (None, None) => {}
            }
        }
        part.server = (looked_at && self.links).then(|| after.links.clone());
        (part != Own::default()).then_some(part)
    }

    /// What the host is told of its part in a network, if that is something else than before. `whole`: it was touched itself.
    fn changed(&mut self, old: &'a Node, new: &'a Node, whole: bool) -> Option<Part> {
        let [before, after] = self.pictures;
        let network = new.network;
        let touched = self.touched.networks.contains(&network) || before.domain != after.domain;
        let shared = self.shared.entry(network).or_insert_with(|| {
            let of = |picture: &Picture<'_>| Shared::of(picture, network).map(Arc::new);
            (touched.then(|| of(&before)).flatten(), of(&after))
        });
        let mut differs = touched && shared.0 != shared.1 && new.takes_part();
        let mut own = None;
        if whole || self.touched.networks.contains(&network) {
            own = apart(&after, new);
            differs |= apart(&before, old) != own;
        }
        let is = Offers::to(&after, self.rosters[1], new);
        if !differs {
            let was = Offers::to(&before, self.rosters[0], old);
            differs = match whole {
                true => was.taken(before.intent).grants() != is.taken(after.intent).grants(),
                false => is.differ(&was, after.intent),
            };
        }
        let shared = shared.1.as_ref().filter(|_| differs)?;
        let own = own.or_else(|| apart(&after, new))?;
        Some(Part {
            apart: own,
            shared: Arc::clone(shared),
            taken: is.taken(after.intent),
            outside: outside(new),
        })
    }
}

/// What is offered to those over whom a node stands guard.
struct Offers<'a> {
    ends: Vec<Member>,
    offers: Vec<&'a Arc<Offer>>,
}

impl<'a> Offers<'a> {
    fn to(picture: &Picture<'_>, roster: &'a Roster, node: &Node) -> Self {
        let own = Member::Node(node.id);
        let network = roster.network(node.network).filter(|_| node.takes_part());
        let Some(network) = network else { return Self { ends: vec![own], offers: Vec::new() } };
        let alone = network.section(node.host.into()).filter(|section| !network.has_duties(*section));
        if let Some(section) = alone {
            return Self { ends: vec![own], offers: numbered(network, network.rules_to(section)) };
        }
        let ends = ends(picture.intent, node);
        let section = |end: &Member| network.section(end.id(picture.intent)?);
        let mut rules: Vec<u32> =
            ends.iter().filter_map(section).flat_map(|section| network.rules_to(section)).copied().collect();
        rules.sort_unstable();
        rules.dedup();
        Self { ends, offers: numbered(network, &rules) }
    }

    fn taken(&self, intent: &Intent) -> Taken {
        let take = |offer: &&Arc<Offer>| (Arc::clone(offer), offer.to_some(intent, &self.ends));
        Taken(self.offers.iter().map(take).collect())
    }

    /// Whether they grant something else than those, which are offered to the same. What did not change is shared, so that most
    /// is known by where it is.
    fn differ(&self, those: &Self, intent: &Intent) -> bool {
        let same = |(one, other): (&&Arc<Offer>, &&Arc<Offer>)| Arc::ptr_eq(one, other);
        if self.offers.len() == those.offers.len() && self.offers.iter().zip(&those.offers).all(same) {
            return false;
        }
        let new = |these: &Self, those: &Self| {
            let lacks = |offer: &&Arc<Offer>| {
                let there = those.offers.binary_search_by_key(&offer.source, |other| other.source);
                there.is_ok_and(|at| Arc::ptr_eq(those.offers[at], offer))
                    || offer.is_among(&those.offers, intent, &self.ends)
            };
            !these.offers.iter().all(lacks)
        };
        new(self, those) || new(those, self)
    }
}

fn numbered<'a>(network: &'a NetworkRoster, rules: &[u32]) -> Vec<&'a Arc<Offer>> {
    rules.iter().map(|rule| &network.guard().offers[*rule as usize]).collect()
}

/// What the host is in, by network id: by the rules that lead to what it stands guard over.
pub(super) fn memberships(
    picture: &Picture<'_>,
    roster: &Roster,
    host: HostId,
) -> impl Iterator<Item = (NetworkId, Membership)> {
    parts(picture, roster, host).into_iter().map(|(network, part)| (network, part.membership()))
}

/// The same, as it is kept.
pub(super) fn parts(picture: &Picture<'_>, roster: &Roster, host: HostId) -> Vec<(NetworkId, Part)> {
    let nodes = picture.intent.nodes_of_host(host);
    nodes.filter_map(|node| Some((node.network, part(picture, roster, node)?))).collect()
}

fn part(picture: &Picture<'_>, roster: &Roster, node: &Node) -> Option<Part> {
    let taken = Offers::to(picture, roster, node).taken(picture.intent);
    let shared = Arc::new(Shared::of(picture, node.network)?);
    Some(Part { apart: apart(picture, node)?, shared, taken, outside: outside(node) })
}
