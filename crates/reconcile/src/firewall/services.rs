//! What connections are for: protocols and ports.
//!
//! Not for names of services. It keeps true that only protocols that have ports are given any.

/// Which services a grant is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Services {
    /// All, of all protocols.
    All,
    /// These.
    Only(Vec<Service>),
}

/// A protocol, with ports where it has any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// TCP to these ports.
    Tcp(Ports),
    /// UDP to these ports.
    Udp(Ports),
    /// ICMP in IPv4 and ICMPv6 in IPv6, all types.
    Icmp,
    /// Another protocol of IP, by its number.
    Other(u8),
}

/// Ports that connections go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// Any port.
    Any,
    /// One of these ranges.
    Only(Vec<PortRange>),
}

/// From one port to another, both in it. The wrong way round it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// One port.
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether a port is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl Ports {
    /// One port.
    pub fn one(port: u16) -> Self {
        Self::Only(vec![PortRange::one(port)])
    }

    /// Whether a port is among them.
    pub fn contains(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ranges) => ranges.iter().any(|range| range.contains(port)),
        }
    }
}
