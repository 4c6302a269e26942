//! Which router leads to an egress range, where there are several: the best one that lives.
//!
//! ```text
//!   Living ── three probes in a row without an answer ─► Dead ── an answer ─► Returned ── ten seconds of life ─► Living
//!                                                         ▲                      │ three misses
//!                                                         └──────────────────────┘
//! ```
//!
//! Sans-IO, as `Paths`: `handle_*` in, `poll_action` and `poll_deadline` out, `now` since a fixed moment of the run. Each router
//! of a range with several is asked each second, and sooner where an answer is late; an answer that comes late counts. Not for
//! clients: their gateways are used as the map orders them. It keeps true that a router that lives is left only for a better
//! one, that one which was dead is trusted again only after a while unless there is no other, and that a range whose routers
//! are all dead is sent to the first, so that nothing of it goes elsewhere. Where all fall silent together it is mostly this host
//! that is off the net: a range goes to none that does not answer either, and when answers come again, to the first of them only
//! once those before it have had time to answer as well.

mod life;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use model::{HostId, MemberId};
use wire::{HostMap, Way};

use crate::StableHasher;
use life::{Life, Standing};

/// One that answers again is not used so long for a range as those before it, which fell silent too, may answer as well: each
/// of them is asked once in that time.
const BETTER_ONES: Duration = Duration::from_millis(1_500);

/// What is sent with a probe, and comes back.
pub type Nonce = u64;

/// What is to be done for the routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterAction {
    /// Send a datagram with this nonce to `PROBE_PORT` of a router's address in the network.
    Probe {
        /// The router.
        host: HostId,
        /// This host's address in the network.
        from: IpAddr,
        /// The router's address there.
        to: IpAddr,
        /// What its agent sends back.
        nonce: Nonce,
    },
    /// Use this router for a range from now on: `Derived::choose`.
    Use {
        /// The egress range.
        member: MemberId,
        /// The router.
        host: HostId,
    },
}

/// A range with several routers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    /// Best first.
    order: Vec<HostId>,
    used: HostId,
}

/// Which router a range is to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Stay,
    /// As long as nothing else happens.
    StayUntil(Duration),
    Use(HostId),
}

/// A router that is probed.
#[derive(Debug, Clone)]
struct Router {
    from: IpAddr,
    to: IpAddr,
    life: Life,
}

/// All routers. See the module.
#[derive(Debug, Clone)]
pub struct Routers {
    ranges: BTreeMap<MemberId, Range>,
    routers: BTreeMap<HostId, Router>,
    /// Ranges whose choice was not told yet.
    news: BTreeSet<MemberId>,
    /// When one that answers again has waited long enough for those before it.
    waited_at: Option<Duration>,
    seed: u64,
    probes: u64,
    now: Duration,
}

impl Routers {
    /// Nothing known yet. Nobody who does not know the seed can answer for a router that does not.
    pub const fn new(seed: u64) -> Self {
        Self {
            ranges: BTreeMap::new(),
            routers: BTreeMap::new(),
            news: BTreeSet::new(),
            waited_at: None,
            seed,
            probes: 0,
            now: Duration::ZERO,
        }
    }

    /// The whole map.
    pub fn handle_map(&mut self, map: &HostMap, now: Duration) {
        let all: BTreeSet<MemberId> = map.peers.keys().chain(self.ranges.keys()).copied().collect();
        self.handle_members(map, &all, now);
    }

    /// What the map says of these members (`Changed::Peers`).
    pub fn handle_members(&mut self, map: &HostMap, members: &BTreeSet<MemberId>, now: Duration) {
        self.now = now;
        for member in members {
            self.take(*member, ways(map, *member));
        }
        let hosts: BTreeSet<HostId> = self.ranges.values().flat_map(|range| &range.order).copied().collect();
        self.routers.retain(|host, _| hosts.contains(host));
        for host in hosts {
            let Some((from, to)) = self.addresses(map, host) else {
                self.routers.remove(&host);
                continue;
            };
            let life = self.routers.remove(&host).map_or_else(|| Life::new(now), |router| router.life);
            self.routers.insert(host, Router { from, to, life });
        }
        self.decide();
    }

    /// A nonce came back from this address.
    pub fn handle_answer(&mut self, from: IpAddr, nonce: Nonce, now: Duration) {
        self.now = now;
        let asked = self.routers.values_mut().find(|router| router.to == from && router.life.asked(nonce));
        if let Some(router) = asked {
            router.life.answered(now);
            self.decide();
        }
    }

    /// A deadline of `poll_deadline` has come.
    pub fn handle_deadline(&mut self, now: Duration) {
        self.now = now;
        self.routers.values_mut().for_each(|router| router.life.fall_due(now));
        self.decide();
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<RouterAction> {
        if let Some(member) = self.news.pop_first() {
            let host = self.ranges.get(&member)?.used;
            return Some(RouterAction::Use { member, host });
        }
        let (host, router) = self.routers.iter_mut().find(|(_, router)| router.life.wants_probe(self.now))?;
        let nonce = nonce(self.seed, self.probes);
        self.probes += 1;
        router.life.probed(nonce, self.now);
        Some(RouterAction::Probe { host: *host, from: router.from, to: router.to, nonce })
    }

    /// When `handle_deadline` is to be called.
    pub fn poll_deadline(&self) -> Option<Duration> {
        self.routers.values().map(|router| router.life.deadline()).chain(self.waited_at).min()
    }

    /// Who is used for each range that has several routers: `Circumstances::routers`.
    pub fn chosen(&self) -> BTreeMap<MemberId, HostId> {
        self.ranges.iter().map(|(member, range)| (*member, range.used)).collect()
    }

    /// Whether a router lives as far as is known, for people; none where nobody asks it.
    pub fn lives(&self, host: HostId) -> Option<bool> {
        self.routers.get(&host).map(|router| router.life.standing(self.now) != Standing::Dead)
    }

    fn take(&mut self, member: MemberId, order: Vec<HostId>) {
        let (Some(first), true) = (order.first().copied(), order.len() > 1) else {
            self.ranges.remove(&member);
            self.news.remove(&member);
            return;
        };
        let range = self.ranges.entry(member).or_insert_with(|| Range { order: Vec::new(), used: first });
        if !order.contains(&range.used) {
            range.used = first;
            self.news.insert(member);
        }
        range.order = order;
    }

    /// This host's address and the router's in the network of a range that it leads to, of one family.
    fn addresses(&self, map: &HostMap, host: HostId) -> Option<(IpAddr, IpAddr)> {
        let mut led = self.ranges.iter().filter(|(_, range)| range.order.contains(&host));
        let nodes = &map.peers.get(&MemberId::from(host))?.nodes;
        led.find_map(|(member, _)| {
            let of_range = map.peers.get(member)?.nodes.first()?.network;
            let theirs = nodes.iter().find(|node| node.network == of_range)?.addresses;
            let ours = map.networks.get(&of_range)?.addresses;
            let pairs = ours.iter().flat_map(|from| theirs.iter().map(move |to| (from, to)));
            pairs.into_iter().find(|(from, to)| from.is_ipv4() == to.is_ipv4())
        })
    }

    fn decide(&mut self) {
        self.waited_at = None;
        for (member, range) in &mut self.ranges {
            match range.choose(&self.routers, self.now) {
                Choice::Use(host) if host != range.used => {
                    range.used = host;
                    self.news.insert(*member);
                }
                Choice::Use(_) | Choice::Stay => {}
                Choice::StayUntil(at) => {
                    self.waited_at = Some(self.waited_at.map_or(at, |other| other.min(at)));
                }
            }
        }
    }
}

impl Range {
    fn choose(&self, routers: &BTreeMap<HostId, Router>, now: Duration) -> Choice {
        let life = |host: &HostId| routers.get(host).map(|router| &router.life);
        let standing = |host: &HostId| life(host).map_or(Standing::Dead, |life| life.standing(now));
        let first = |wanted| self.order.iter().copied().find(|host| standing(host) == wanted);
        let at = |host: HostId| self.order.iter().position(|other| *other == host).unwrap_or(usize::MAX);
        let (living, returned) = (first(Standing::Living), first(Standing::Returned));
        let next = match standing(&self.used) {
            // One that has just come back is used where it is used already.
            Standing::Living | Standing::Returned => living.filter(|host| at(*host) < at(self.used)),
            Standing::Dead => living.or(returned).or(self.order.first().copied()),
        };
        let Some(next) = next else { return Choice::Stay };
        // About to die as well, or to answer.
        let doubted = life(&next).is_some_and(Life::is_doubted) && standing(&next) != Standing::Dead;
        let waited_at = life(&next).and_then(Life::steady).map(|since| since + BETTER_ONES);
        match waited_at.filter(|at| *at > now) {
            _ if doubted => Choice::Stay,
            Some(waited_at) if at(next) > 0 => Choice::StayUntil(waited_at),
            Some(_) | None => Choice::Use(next),
        }
    }
}

/// Through whom an egress range is reached; nobody where this host has no choice.
fn ways(map: &HostMap, member: MemberId) -> Vec<HostId> {
    let Some(peer) = map.peers.get(&member) else { return Vec::new() };
    let is_range = peer.nodes.iter().all(|node| node.addresses.iter().next().is_none());
    let node = peer.nodes.first().filter(|_| is_range);
    let way = node.and_then(|node| {
        let membership = map.networks.get(&node.network).filter(|membership| membership.takes_part())?;
        Some(membership.way(map.host.id, member, node))
    });
    match way {
        Some(Way::Via(hosts)) => hosts.to_vec(),
        Some(Way::Direct) | None => Vec::new(),
    }
}

/// A number that nobody can guess who does not know the seed, other each time.
fn nonce(seed: u64, number: u64) -> Nonce {
    use std::hash::Hasher as _;
    let mut hasher = StableHasher::default();
    hasher.write(&seed.to_le_bytes());
    hasher.write(&number.to_le_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;
