//! What a firewall means: the verdict on one packet.
//!
//! Not for carrying it out. Whatever carries out a firewall has to agree with this, packet by packet.

use std::net::IpAddr;

use super::{Ban, Family, Filter, Firewall, Grant, Outward, Service, Services, Side};

/// A packet where filters see it: behind the change of destinations, before that of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its way.
    pub way: Way,
    /// Its source.
    pub source: IpAddr,
    /// Its destination, of the same family.
    pub destination: IpAddr,
    /// The number of its protocol: 1 is ICMP, 6 TCP, 17 UDP, 58 ICMPv6.
    pub protocol: u8,
    /// The port that it goes to, where its protocol has ports.
    pub port: Option<u16>,
    /// Whether it answers a connection that was let pass when it was opened, or is an error about one. What goes the way
    /// in which a connection was opened is no reply: it is judged each time, so that access which is taken away ends.
    pub reply: bool,
    /// Whether it is marked by us, or keeps the machine on its links: what asks for an address there, finds neighbours and
    /// tells of groups. No program without rights can send such.
    pub exempt: bool,
}

/// A packet's way through this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To this machine itself.
    Here {
        /// Whether it came over our link. What this machine sends to itself is not `Here`, but `Itself`.
        from_link: bool,
    },
    /// Through this machine.
    Through {
        /// Whether it came over our link.
        from_link: bool,
        /// Whether it leaves over our link.
        to_link: bool,
    },
    /// From this machine itself.
    Out {
        /// Whether it leaves over our link.
        to_link: bool,
    },
    /// From this machine to itself.
    Itself,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It is dropped without a word.
    Drop,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

impl Firewall {
    /// What becomes of a packet.
    pub fn verdict(&self, packet: &Packet) -> Verdict {
        if self.pretends(packet) || self.strays(packet) {
            return Verdict::Drop;
        }
        let passes = packet.reply
            || match packet.way {
                Way::Here { from_link: true } => self.lets(&self.input, packet),
                Way::Here { from_link: false } if self.is_inside(packet.destination) => {
                    self.lets(&self.input, packet)
                }
                Way::Through { from_link: true, .. } | Way::Through { to_link: true, .. } => {
                    self.lets(&self.forward, packet)
                }
                Way::Out { to_link: true } => self.lets_out(packet),
                Way::Here { from_link: false }
                | Way::Through { from_link: false, to_link: false }
                | Way::Out { to_link: false }
                | Way::Itself => true,
            };
        if passes { Verdict::Accept } else { Verdict::Drop }
    }

    /// Whether a filter lets a packet open a connection.
    fn lets(&self, filter: &Filter, packet: &Packet) -> bool {
        match filter {
            Filter::Open => true,
            Filter::AllBut(bans) => !bans.iter().any(|ban| self.bans(ban, packet)),
            Filter::Only(grants) => grants.iter().any(|grant| self.grants(grant, packet)),
        }
    }

    /// Whether this machine may open that itself.
    fn lets_out(&self, packet: &Packet) -> bool {
        let Outward { towards, grants } = &self.output;
        let is_judged = towards.iter().any(|side| self.covers(side, packet.destination));
        !is_judged || grants.iter().any(|grant| self.grants(grant, packet))
    }

    /// Whether it came over another link from an address that is only ever met on ours; or to one, and from nowhere behind
    /// this machine; or goes on over ours from somebody whom ours leads to.
    fn pretends(&self, packet: &Packet) -> bool {
        let is_behind = |ip| self.behind.iter().any(|net| net.contains(&ip));
        match packet.way {
            Way::Here { from_link: false } => {
                self.is_inside(packet.source)
                    || (self.is_inside(packet.destination) && !is_behind(packet.source))
            }
            Way::Through { from_link: false, to_link } => {
                self.is_inside(packet.source)
                    || (to_link && self.is_beyond(packet.source) && !is_behind(packet.source))
            }
            Way::Here { from_link: true }
            | Way::Through { from_link: true, .. }
            | Way::Out { .. }
            | Way::Itself => false,
        }
    }

    /// Whether this machine sends it over another link, and may only over ours.
    fn strays(&self, packet: &Packet) -> bool {
        let beside = matches!(packet.way, Way::Out { to_link: false }) && !packet.exempt;
        beside && self.confined.as_ref().is_some_and(|to| !to.covers(packet.destination))
    }

    fn is_beyond(&self, ip: IpAddr) -> bool {
        self.beyond.iter().any(|side| self.covers(side, ip))
    }

    fn is_inside(&self, ip: IpAddr) -> bool {
        self.inside.iter().any(|net| net.contains(&ip))
    }

    fn bans(&self, ban: &Ban, packet: &Packet) -> bool {
        self.covers(&ban.from, packet.source) && self.covers(&ban.to, packet.destination)
    }

    fn grants(&self, grant: &Grant, packet: &Packet) -> bool {
        let for_this = match &grant.services {
            Services::All => true,
            Services::Only(services) => services.iter().any(|service| service.is_of(packet)),
        };
        for_this && self.covers(&grant.from, packet.source) && self.covers(&grant.to, packet.destination)
    }

    /// Whether a side of a grant is about an address.
    pub fn covers(&self, side: &Side, ip: IpAddr) -> bool {
        match side {
            Side::Any => true,
            Side::Set(id) => self.sets.get(id).is_some_and(|set| set.covers(ip)),
            Side::Nets(nets) => nets.covers(ip),
        }
    }
}

impl Service {
    fn is_of(&self, packet: &Packet) -> bool {
        match self {
            Self::Tcp(ports) => {
                packet.protocol == TCP && packet.port.is_some_and(|port| ports.contains(port))
            }
            Self::Udp(ports) => {
                packet.protocol == UDP && packet.port.is_some_and(|port| ports.contains(port))
            }
            Self::Icmp => match Family::of(packet.source) {
                Family::V4 => packet.protocol == ICMP,
                Family::V6 => packet.protocol == ICMP_V6,
            },
            Self::Other(number) => packet.protocol == *number,
        }
    }
}
