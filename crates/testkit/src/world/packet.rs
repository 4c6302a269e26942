//! Packets of programs: what routes, firewalls and translations look at, and no more.
//!
//! Not for WireGuard's own datagrams (`wireguard`), which are on the wire alone. It keeps true that a packet which answers
//! another goes exactly the other way.

use std::net::IpAddr;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// What a machine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// An echo.
    Ping,
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
}

impl Service {
    fn protocol(self, to: IpAddr) -> u8 {
        match self {
            Self::Ping if to.is_ipv4() => ICMP,
            Self::Ping => ICMP_V6,
            Self::Tcp(_) => TCP,
            Self::Udp(_) => UDP,
        }
    }
}

/// Whence and whereto, by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// The ports; of an echo its number, twice.
    pub(super) from: u16,
    pub(super) to: u16,
}

impl Flow {
    /// A connection to be opened from this port.
    pub(super) fn new(source: IpAddr, destination: IpAddr, service: Service, from: u16) -> Self {
        let to = match service {
            Service::Ping => from,
            Service::Tcp(port) | Service::Udp(port) => port,
        };
        Self { source, destination, protocol: service.protocol(destination), from, to }
    }

    /// The other way.
    pub(super) const fn back(self) -> Self {
        let Self { source, destination, protocol, from, to } = self;
        Self { source: destination, destination: source, protocol, from: to, to: from }
    }

    /// The port it goes to, where its protocol has ports.
    pub(super) const fn port(&self) -> Option<u16> {
        match self.protocol {
            TCP | UDP => Some(self.to),
            _ => None,
        }
    }

    /// Its two ports, if it is UDP.
    pub(super) const fn udp(&self) -> Option<(u16, u16)> {
        match self.protocol {
            UDP => Some((self.from, self.to)),
            _ => None,
        }
    }
}

/// What a packet is to those who speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Question,
    Answer,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) flow: Flow,
    pub(super) word: Word,
    /// Which question it is, or answers.
    pub(super) number: u64,
    /// How many machines may still pass it on.
    pub(super) hops: u8,
}

impl Packet {
    pub(super) const HOPS: u8 = 16;

    pub(super) const fn question(flow: Flow, number: u64) -> Self {
        Self { flow, word: Word::Question, number, hops: Self::HOPS }
    }

    pub(super) const fn answer(&self) -> Self {
        Self { flow: self.flow.back(), word: Word::Answer, number: self.number, hops: Self::HOPS }
    }
}
