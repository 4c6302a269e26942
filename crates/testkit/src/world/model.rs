//! The reference model: who reaches whom at rest, from an intent and where machines are, and nothing of maps, deltas, ops,
//! paths or firewalls.
//!
//! Whether policy allows it is the independent evaluator's word (`picture`, `oracle`). What is left is who carries whom, and
//! whether what stands between two machines lets them reach each other. Not for who knows whose key (`sight`).

use std::cell::OnceCell;
use std::net::IpAddr;

use control::Intent;
use model::{Client as Intended, Egress, Node};

use super::ask::End;
use super::net::Border;
use super::packet::Service;
use super::{NETWORKS, World, picture};
use crate::oracle::Picture;

/// A member of a network.
#[derive(Debug, Clone, Copy)]
pub(super) enum Member<'a> {
    Node(&'a Node),
    Client(&'a Intended),
    Egress(&'a Egress),
}

impl Member<'_> {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Node(node) => node.id.to_string(),
            Self::Client(client) => client.id.to_string(),
            Self::Egress(egress) => egress.id.to_string(),
        }
    }

    /// Whether it speaks by this address in its network.
    fn has(&self, ip: IpAddr) -> bool {
        match self {
            Self::Node(node) => node.addresses.iter().any(|own| own == ip),
            Self::Client(client) => client.addresses.iter().any(|own| own == ip),
            Self::Egress(egress) => egress.reached_as().contains(&ip),
        }
    }
}

/// One intent in one world.
pub(super) struct Model<'a> {
    pub(super) world: &'a World,
    pub(super) intent: &'a Intent,
    pictures: [OnceCell<Picture>; NETWORKS],
}

impl<'a> Model<'a> {
    pub(super) fn new(world: &'a World, intent: &'a Intent) -> Self {
        Self { world, intent, pictures: Default::default() }
    }

    pub(super) fn picture(&self, network: usize) -> &Picture {
        self.pictures[network].get_or_init(|| picture::of(self.intent, self.world.networks[network]))
    }

    /// A host's node in a network, active or not.
    pub(super) fn node(&self, host: usize, network: usize) -> Option<&'a Node> {
        self.intent.node_of(self.world.hosts[host].id_in(self.intent), self.world.networks[network])
    }

    /// What somebody is in a network, active or not.
    pub(super) fn member(&self, end: End, network: usize) -> Option<Member<'a>> {
        let id = self.world.networks[network];
        match end {
            End::Host(host) => self.node(host, network).map(Member::Node),
            End::Client(client) => {
                let client = self.intent.client(self.world.clients[client].id)?;
                (client.network == id).then_some(Member::Client(client))
            }
            End::Annex(annex) => {
                let range = ipnet::IpNet::V4(self.world.annexes[annex].range);
                let mut all = self.intent.egresses_in_network(id);
                all.find(|egress| egress.range == range && egress.enabled).map(Member::Egress)
            }
            End::Outside => None,
        }
    }

    fn host_of(&self, node: &Node) -> Option<usize> {
        self.world.by_id.get(&node.host).copied()
    }

    /// The host of a node, if it takes part.
    fn active(&self, node: Option<&Node>) -> Option<usize> {
        self.host_of(node.filter(|node| node.takes_part())?)
    }

    /// The node through which another is reached.
    pub(super) fn relay(&self, node: &Node) -> Option<&'a Node> {
        let hub = self.intent.network(node.network)?.hub;
        let relay = node.relay.or(hub)?;
        self.intent.node(relay).filter(|relay| relay.id != node.id)
    }

    /// Whether the two are on one LAN, or on two with one machine on both, so that no network stands between them.
    pub(super) fn is_near(&self, one: End, other: End) -> bool {
        let hosts = |annex: usize| &self.world.annexes[annex].hosts;
        match (one, other) {
            (End::Host(host), End::Annex(annex)) | (End::Annex(annex), End::Host(host)) => {
                hosts(annex).contains(&host)
            }
            (End::Annex(one), End::Annex(other)) => hosts(one).iter().any(|host| hosts(other).contains(host)),
            (_, _) => false,
        }
    }

    fn allows(&self, network: usize, from: Member<'_>, to: Member<'_>, service: Service) -> bool {
        let (protocol, port) = picture::words(service);
        self.picture(network).allows(&from.name(), &to.name(), protocol, port)
    }

    /// Whether this intent lets a packet of somebody come to somebody's program, from this source.
    pub(super) fn may_pass(&self, from: End, to: End, by: End, service: Service, source: IpAddr) -> bool {
        if self.is_near(from, to) {
            return true;
        }
        if to == End::Outside {
            return self.may_leave(from, by);
        }
        (0..NETWORKS).any(|network| {
            let (Some(one), Some(other)) = (self.member(from, network), self.member(to, network)) else {
                return false;
            };
            // Translated sources are their router's.
            let is_its = one.has(source) || matches!(other, Member::Egress(egress) if egress.nat);
            is_its && self.allows(network, one, other, service)
        })
    }

    /// Whether this intent lets a packet of somebody leave for the internet by a machine.
    fn may_leave(&self, from: End, by: End) -> bool {
        // What a site's own router passes on besides is not ours to judge.
        if from != by && !matches!(from, End::Annex(_)) {
            let End::Host(by) = by else { return false };
            return (0..NETWORKS).any(|network| self.gateway(from, network) == Some(by));
        }
        match from {
            End::Host(_) => !(0..NETWORKS).any(|network| self.uses_gateway(from, network)),
            // Whether a client's packets go into its tunnel is its own matter.
            End::Client(_) | End::Annex(_) | End::Outside => true,
        }
    }

    pub(super) fn uses_gateway(&self, from: End, network: usize) -> bool {
        match self.member(from, network) {
            Some(Member::Node(node)) => node.takes_part() && node.internet.is_some(),
            Some(Member::Client(client)) => client.is_let_in() && client.full_tunnel,
            Some(Member::Egress(_)) | None => false,
        }
    }

    /// The host through which somebody is to leave for the internet, if it is one that takes part.
    fn gateway(&self, from: End, network: usize) -> Option<usize> {
        if !self.uses_gateway(from, network) {
            return None;
        }
        let gateway = match self.member(from, network)? {
            Member::Node(node) => self.intent.node(node.internet?.gateway?)?,
            Member::Client(client) => {
                let End::Client(number) = from else { return None };
                let used = self.world.clients[number].gateway?;
                let mut all = client.gateways.iter().filter_map(|gateway| self.intent.node(*gateway));
                all.find(|gateway| self.host_of(gateway) == Some(used))?
            }
            Member::Egress(_) => return None,
        };
        self.active(Some(gateway).filter(|gateway| gateway.duties.internet))
    }

    /// Whether one reaches the other in a network for a service, at rest.
    pub(super) fn reaches(&self, from: End, to: End, network: usize, service: Service) -> bool {
        let (Some(one), Some(other)) = (self.member(from, network), self.member(to, network)) else {
            return false;
        };
        if !self.allows(network, one, other, service) {
            return false;
        }
        let way = self.way(from, one, to, other);
        way.is_some_and(|way| self.is_open(&way))
    }

    /// Whether somebody reaches the internet, and by which host; `None`: it does not.
    pub(super) fn leaves_by(&self, from: End) -> Option<End> {
        // A client goes on with the configuration it has, whether or not it is still let in.
        let is_full = matches!(from, End::Client(client) if self.world.clients[client].is_full());
        let Some(network) = (0..NETWORKS).find(|network| self.uses_gateway(from, *network)) else {
            return (self.is_placed(from) && !is_full).then_some(from);
        };
        let member = self.member(from, network)?;
        let has_v4 = match member {
            Member::Node(node) => node.addresses.v4.is_some(),
            Member::Client(client) => client.addresses.v4.is_some(),
            Member::Egress(_) => false,
        };
        let gateway = self.gateway(from, network).filter(|_| has_v4)?;
        let mut way = self.up(from, member)?;
        way.push(gateway);
        way.dedup();
        self.is_open(&way).then_some(End::Host(gateway))
    }

    fn is_placed(&self, end: End) -> bool {
        match end {
            End::Host(host) => self.world.hosts[host].place.is_some(),
            End::Client(client) => self.world.clients[client].place.is_some(),
            End::Annex(_) | End::Outside => true,
        }
    }

    /// The hosts from somebody on, as far as it is nobody else's choice.
    fn up(&self, end: End, member: Member<'_>) -> Option<Vec<usize>> {
        match member {
            Member::Node(node) => {
                let own = self.active(Some(node))?;
                match self.relay(node) {
                    Some(relay) => Some(vec![own, self.active(Some(relay))?]),
                    None => Some(vec![own]),
                }
            }
            Member::Client(client) => {
                let End::Client(number) = end else { return None };
                let used = self.world.clients[number].gateway?;
                let mut all = client.gateways.iter().map(|gateway| self.active(self.intent.node(*gateway)));
                let gateway = all.find(|gateway| *gateway == Some(used)).flatten()?;
                let open = self.border(gateway) == Some(Border::Open) && self.is_placed(end);
                open.then(|| vec![gateway])
            }
            Member::Egress(_) => None,
        }
    }

    /// Whether somebody is a client whose gateway has gone behind a NAT: whether their session outlives that is chance.
    pub(super) fn hangs_by_a_thread(&self, end: End) -> bool {
        let End::Client(client) = end else { return false };
        let gateway = self.world.clients[client].gateway;
        gateway.is_some_and(|gateway| self.border(gateway).is_some_and(|border| border != Border::Open))
    }

    /// The router that a host uses for a range: itself, or the first that it reaches.
    fn router(&self, egress: &Egress, host: usize) -> Option<usize> {
        let routers = egress.routers.iter().filter_map(|router| self.active(self.intent.node(router.node)));
        let routers: Vec<usize> = routers.collect();
        let own = routers.iter().copied().find(|router| *router == host);
        // Who is on the same LAN leads nobody there through somebody else.
        let is_lan =
            |annex: &super::Annex| egress.reached_as() == annex.range.into() && annex.hosts.contains(&host);
        let left_out = own.is_none() && self.world.annexes.iter().any(is_lan);
        let other = || routers.iter().copied().find(|router| self.can_reach(host, *router));
        own.or_else(other).filter(|_| !left_out)
    }

    /// The same, if it is on the range's LAN.
    fn router_at(&self, egress: &Egress, annex: End, host: usize) -> Option<usize> {
        let End::Annex(annex) = annex else { return None };
        self.router(egress, host).filter(|router| self.world.annexes[annex].hosts.contains(router))
    }

    /// The host by which the machine of a range asks.
    fn first(&self, annex: End) -> Option<usize> {
        let End::Annex(annex) = annex else { return None };
        self.world.annexes[annex].hosts.first().copied()
    }

    /// All hosts from one to the other.
    fn way(&self, from: End, one: Member<'_>, to: End, other: Member<'_>) -> Option<Vec<usize>> {
        let mut way = match (one, other) {
            (Member::Egress(behind), Member::Egress(range)) => {
                let first = self.first(from)?;
                let router = self.router_at(range, to, first)?;
                (self.router(behind, router) == Some(first)).then(|| vec![first, router])?
            }
            (Member::Egress(behind), _) => {
                let first = self.first(from)?;
                let mut back = self.up(to, other)?;
                // Whoever expects it of another router takes nothing.
                (self.router(behind, *back.last()?) == Some(first)).then_some(())?;
                back.push(first);
                back.reverse();
                back
            }
            (_, Member::Egress(range)) => {
                let mut way = self.up(from, one)?;
                way.push(self.router_at(range, to, *way.last()?)?);
                way
            }
            (_, _) => {
                let mut way = self.up(from, one)?;
                way.extend(self.up(to, other)?.into_iter().rev());
                way
            }
        };
        way.dedup();
        Some(way)
    }

    /// Whether each of these hosts is there and reaches the next one.
    fn is_open(&self, way: &[usize]) -> bool {
        way.iter().all(|host| self.world.hosts[*host].place.is_some())
            && way.windows(2).all(|pair| self.can_reach(pair[0], pair[1]))
    }

    fn border(&self, host: usize) -> Option<Border> {
        self.world.hosts[host].place.map(|place| self.world.borders[place.site])
    }

    /// Whether what stands between two hosts lets them reach each other.
    pub(super) fn can_reach(&self, one: usize, other: usize) -> bool {
        let place = |host: usize| self.world.hosts[host].place;
        let (Some(one), Some(other)) = (place(one), place(other)) else { return false };
        let border = |place: super::Place| self.world.borders[place.site];
        match (border(one), border(other)) {
            _ if one.site == other.site => true,
            (Border::Open, _) | (_, Border::Open) => true,
            (Border::OneMapping, Border::OneMapping) => true,
            (Border::PerDestination, Border::OneMapping | Border::PerDestination)
            | (Border::OneMapping, Border::PerDestination) => false,
        }
    }
}
