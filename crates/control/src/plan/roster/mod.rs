//! The roster: each network's members as its others see them, by section and form, encoded once, in buckets that are packed
//! once; and who is told of which sections.
//!
//! Not for who may know whom (`sight`, and `layout` for all at once) and not for what a host knows of itself. It keeps true
//! that it follows from the picture alone, however it came about: updated change by change it is what it is from scratch.
//! Clones share all that they have in common.

mod follow;
mod network;

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use model::{HostId, MemberId, NetworkId};
use wire::{BUCKETS, BucketDigests, Entry, bucket_of};

use super::bucket::Bucket;
use super::member::{as_seen, member_of, peer};
use super::records::{self, Book, Books};
use super::section::{Form, Place, SectionId};
use super::{Picture, Touched, takes_part};
pub(super) use network::NetworkRoster;

/// A section of a network in one form.
pub(super) type Told = (NetworkId, SectionId, Form);

/// Each network's members as its others see them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Roster {
    /// Those that have members.
    networks: OrdMap<NetworkId, Arc<NetworkRoster>>,
    places: OrdMap<HostId, Place>,
    books: Books,
}

impl Roster {
    /// The roster of a picture, from scratch.
    pub fn of(picture: &Picture<'_>) -> Self {
        let mut everybody = Touched::default();
        let networks = || picture.intent.networks(None).map(|network| network.id);
        everybody.relaid.extend(networks());
        let records = networks().flat_map(|network| picture.intent.dns_records_in_network(network));
        everybody.records.extend(records.map(|record| (record.network, record.name.clone())));
        let mut roster = Self::default();
        roster.update(picture, &everybody);
        roster
    }

    /// Follows what was touched since the picture that this is the roster of. Costs the buckets in which it is, and for
    /// networks whose sections change, these.
    pub fn update(&mut self, after: &Picture<'_>, touched: &Touched) {
        records::follow(&mut self.books, after.intent, touched);
        let seen = touched.seen.iter().map(|(network, _)| *network);
        let networks: BTreeSet<NetworkId> = seen.chain(touched.relaid.iter().copied()).collect();
        let mut moved = BTreeSet::new();
        for network in networks {
            let (followed, movers) =
                NetworkRoster::follow(self.networks.get(&network), after, network, touched);
            match followed {
                Some(followed) => drop(self.networks.insert(network, followed)),
                None => drop(self.networks.remove(&network)),
            }
            let host = |member: &MemberId| HostId::from_bytes(*member.as_bytes());
            let is_host = |host: &HostId| after.intent.host(*host).is_some() || self.is_placed(*host);
            moved.extend(movers.iter().map(host).filter(is_host));
        }
        for host in moved {
            self.place_anew(after, host);
        }
    }

    fn place_anew(&mut self, picture: &Picture<'_>, host: HostId) {
        let section = |network| Some((network, self.section(network, host.into())?));
        let place: Place = takes_part(picture.intent, host).filter_map(section).collect();
        match place.is_empty() {
            true => drop(self.places.remove(&host)),
            false => drop(self.places.insert(host, place)),
        }
    }

    /// The network's records; none where it has none.
    pub(super) fn book(&self, network: NetworkId) -> Option<&Arc<Book>> {
        self.books.get(&network)
    }

    /// How many members the network has.
    pub(super) fn members(&self, network: NetworkId) -> usize {
        self.network(network).map_or(0, NetworkRoster::count)
    }

    /// One network's part of it; none where it has no members.
    pub(super) fn network(&self, network: NetworkId) -> Option<&NetworkRoster> {
        self.networks.get(&network).map(Arc::as_ref)
    }

    /// The section of a member.
    pub(super) fn section(&self, network: NetworkId, member: MemberId) -> Option<SectionId> {
        self.network(network)?.section(member)
    }

    /// Where a host is.
    pub(super) fn place(&self, host: HostId) -> Place {
        self.places.get(&host).cloned().unwrap_or_default()
    }

    /// Whether the host takes part somewhere.
    pub(super) fn is_placed(&self, host: HostId) -> bool {
        self.places.contains_key(&host)
    }

    /// The sections of which a host at this place is told, ordered.
    pub(super) fn told_at(&self, place: &Place) -> Vec<Told> {
        let mut told: Vec<Told> = Vec::new();
        for (network, own) in place.iter() {
            let Some((roster, row)) =
                self.network(*network).and_then(|it| Some((it, it.layout().row(*own)?)))
            else {
                continue;
            };
            let section = |(at, form): (usize, Form)| (*network, roster.layout().ids()[at], form);
            told.extend(row.told().map(section));
        }
        told.sort_unstable();
        told
    }

    /// A member in one form.
    fn entry_in(&self, (network, section, form): Told, member: MemberId) -> Option<&Entry> {
        let roster = self.network(network)?;
        roster.entry(roster.layout().at(section)?, form, member)
    }

    /// The digests of what this host may know of the network.
    pub fn digests_for(&self, host: HostId, network: NetworkId) -> BucketDigests {
        let place = self.place(host);
        let section = place.iter().find(|(other, _)| *other == network).map(|(_, section)| *section);
        let roster = self.network(network).zip(section);
        let sums = roster.map(|(roster, section)| sums(host, roster, section, &roster.told_to(section)));
        let sums = sums.iter().flat_map(|sums| sums.iter().enumerate()).filter(|(_, (count, _))| *count > 0);
        let digest =
            |(number, (_, digest)): (usize, &(usize, u64))| u8::try_from(number).ok().map(|it| (it, *digest));
        BucketDigests(sums.filter_map(digest).collect())
    }

    /// In which networks, and how, a host at this place is told of a member.
    pub(super) fn ways_to(&self, place: &Place, member: MemberId) -> Vec<Told> {
        let way = |(network, own): &(NetworkId, SectionId)| {
            let roster = self.network(*network)?;
            let section = roster.section(member)?;
            Some((*network, section, roster.form_of(*own, section)?))
        };
        place.iter().filter_map(way).collect()
    }

    /// A member as somebody sees it who is told of it in these ways; none where they are none. The picture is the one that
    /// this is the roster of. In one network that is what is encoded already.
    pub(super) fn seen_by(&self, picture: &Picture<'_>, ways: &[Told], member: MemberId) -> Option<Entry> {
        if let [told] = ways {
            return self.entry_in(*told, member).cloned();
        }
        let direct = ways.iter().any(|(_, _, form)| *form == Form::Full);
        let members = ways
            .iter()
            .filter_map(|(network, _, _)| Some((*network, member_of(picture.intent, *network, member)?)));
        let members: Vec<_> = members.collect();
        let nodes = members.iter().filter_map(|(network, it)| as_seen(picture, *network, *it)).collect();
        let (_, first) = members.first()?;
        Some(Entry::new(member, &peer(picture, *first, nodes, direct)?))
    }
}

/// For each bucket, how many others this host in this section, which is told of these, is told of, and the sum of their digests.
pub(super) fn sums(
    host: HostId,
    roster: &NetworkRoster,
    section: SectionId,
    told: &[(u8, &Arc<Bucket>)],
) -> Box<[(usize, u64); BUCKETS]> {
    let mut sums = Box::new([(0, 0); BUCKETS]);
    for (number, bucket) in told {
        let (count, digest): &mut (usize, u64) = &mut sums[usize::from(*number)];
        *count += bucket.entries().len();
        *digest = digest.wrapping_add(bucket.digest());
    }
    let own = roster.form_of(section, section).zip(roster.layout().at(section));
    let own = own.and_then(|(form, at)| roster.entry(at, form, host.into()));
    if let Some(own) = own {
        let (count, digest) = &mut sums[usize::from(bucket_of(host))];
        *count -= 1;
        *digest = digest.wrapping_sub(own.digest());
    }
    sums
}
