//! A packet's way through a machine: connections, translations of destinations, routes, the firewall's verdict, translations
//! of sources, and out.
//!
//! Not for what any of it is: ops have said it. It keeps true that a connection is remembered only once its first packet has
//! passed, and that what is not let pass leaves no trace.

use std::net::IpAddr;
use std::time::Duration;

use reconcile::{Family, Packet as Judged, Translation, Verdict, Way as Through};

use super::connections::Belongs;
use super::kernel::{Kernel, Out};
use super::packet::{Flow, Packet, Word};
use super::routing::{Look, Way};

/// The port at which agents answer probes, of UDP.
const PROBES: (u8, u16) = (17, reconcile::PROBE_PORT);

/// Whence a packet came to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// From a program of its own.
    Itself,
    /// Out of a tunnel.
    Link,
    /// Over a link of the machine's own.
    Elsewhere,
}

impl Kernel {
    /// A program asks; whether there was a way to ask it.
    pub(super) fn ask(&mut self, flow: Flow, number: u64, now: Duration) -> bool {
        self.pass(Packet::question(flow, number), Came::Itself, now)
    }

    /// The address from which a program speaks that has none of its own choice.
    pub(super) fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        match self.way(Look { to, mark: 0, udp: None }) {
            Way::Here => Some(to),
            Way::Link(source) => source.filter(|source| self.has(*source)),
            Way::Uplink(own) => Some(own.into()),
            Way::Annex(_, own) => Some(own),
            Way::Nowhere => None,
        }
    }

    /// A packet came to this machine, or is made by it. Whether it passed.
    pub(super) fn pass(&mut self, packet: Packet, came: Came, now: Duration) -> bool {
        let flow = packet.flow;
        let known = self.connections.find(&flow, now);
        let (reply, target) = match known {
            Some(Belongs::Back(changed)) => (true, changed),
            Some(Belongs::Forth(changed)) => (false, changed),
            None => (false, self.meant_for(flow, came)),
        };
        let seen = Flow { source: flow.source, from: flow.from, ..target };
        let way = self.way(Look { to: seen.destination, mark: 0, udp: seen.udp() });
        let to_link = matches!(way, Way::Link(_));
        let through = match (came, way) {
            (_, Way::Nowhere) => return false,
            (Came::Itself, Way::Here) => Through::Itself,
            (Came::Itself, Way::Link(_) | Way::Uplink(_) | Way::Annex(..)) => Through::Out { to_link },
            (Came::Link | Came::Elsewhere, Way::Here) => Through::Here { from_link: came == Came::Link },
            (Came::Link | Came::Elsewhere, Way::Link(_) | Way::Uplink(_) | Way::Annex(..)) => {
                if packet.hops == 0 || !self.forwards(Family::of(seen.destination)) {
                    return false;
                }
                Through::Through { from_link: came == Came::Link, to_link }
            }
        };
        if !self.lets(through, &seen, reply) {
            return false;
        }
        let leaves = match known {
            Some(_) => target,
            None => self.leaving_as(seen, through, way),
        };
        if known.is_none() {
            self.connections.open(flow, leaves, now);
        }
        let hops = if came == Came::Itself { packet.hops } else { packet.hops.saturating_sub(1) };
        let packet = Packet { flow: leaves, hops, ..packet };
        self.deliver(packet, way, now)
    }

    fn lets(&self, way: Through, flow: &Flow, reply: bool) -> bool {
        let Some(firewall) = &self.firewall else { return true };
        let (source, destination) = (flow.source, flow.destination);
        let (protocol, port) = (flow.protocol, flow.port());
        let packet = Judged { way, source, destination, protocol, port, reply, exempt: false };
        firewall.verdict(&packet) == Verdict::Accept
    }

    /// Before filters: what comes over our link to a mapped address goes to the real one, from those who know it so.
    fn meant_for(&self, flow: Flow, came: Came) -> Flow {
        let Some(firewall) = self.firewall.as_ref().filter(|_| came == Came::Link) else { return flow };
        let real = firewall.translations.iter().find_map(|translation| match translation {
            Translation::Map { map, known_to } => {
                let knows = known_to.iter().any(|side| firewall.covers(side, flow.source));
                map.to_real(flow.destination).filter(|_| knows)
            }
            Translation::Masquerade { .. } => None,
        });
        Flow { destination: real.unwrap_or(flow.destination), ..flow }
    }

    /// Behind filters: the first translation of the source that fits.
    fn leaving_as(&mut self, flow: Flow, through: Through, way: Way) -> Flow {
        let Through::Through { from_link, to_link } = through else { return flow };
        let own = match way {
            Way::Uplink(own) => IpAddr::V4(own),
            Way::Annex(_, own) => own,
            Way::Here | Way::Link(_) | Way::Nowhere => flow.source,
        };
        let Some(firewall) = &self.firewall else { return flow };
        for translation in &firewall.translations {
            match translation {
                Translation::Map { map, known_to } if to_link => {
                    let knows = known_to.iter().any(|side| firewall.covers(side, flow.destination));
                    if let Some(source) = map.to_mapped(flow.source).filter(|_| knows) {
                        return Flow { source, ..flow };
                    }
                }
                Translation::Masquerade { from, to } if from_link && !to_link => {
                    let family = own.is_ipv4() == flow.source.is_ipv4();
                    if family && firewall.covers(from, flow.source) && to.covers(flow.destination) {
                        self.next_port = self.next_port.checked_add(1).unwrap_or(30_000);
                        return Flow { source: own, from: self.next_port, ..flow };
                    }
                }
                Translation::Map { .. } | Translation::Masquerade { .. } => {}
            }
        }
        flow
    }

    fn deliver(&mut self, packet: Packet, way: Way, now: Duration) -> bool {
        match way {
            Way::Here => {
                self.hear(packet, now);
                true
            }
            Way::Link(_) => self.encrypt(packet, now),
            Way::Uplink(_) => {
                self.out.push(Out::Plain(packet));
                true
            }
            Way::Annex(annex, _) => {
                self.out.push(Out::Annex(annex, packet));
                true
            }
            Way::Nowhere => false,
        }
    }

    /// A packet has come to a program here. All services answer, and agents' probes are the agent's.
    fn hear(&mut self, packet: Packet, now: Duration) {
        let Flow { protocol, from, to, .. } = packet.flow;
        if (protocol, to) == PROBES || (protocol, from) == PROBES {
            self.probes.push(packet);
            return;
        }
        self.heard.push(packet);
        if packet.word == Word::Question {
            self.pass(packet.answer(), Came::Itself, now);
        }
    }
}
