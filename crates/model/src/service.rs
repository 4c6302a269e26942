//! What a policy lets through: protocols and ports.
//!
//! Written as people write it: `tcp/443`, `udp/53,1000-2000`, `icmp`, `tcp`, `proto/47`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no service; services look like tcp/443, udp/53,1000-2000, icmp, tcp or proto/47")]
pub struct ServiceError(String);

/// A protocol above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP (6).
    Tcp,
    /// UDP (17).
    Udp,
    /// ICMP (1) and ICMPv6 (58).
    Icmp,
    /// Another one, by IANA's number.
    Other(u8),
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// From the first to the last; none if they are the wrong way round.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest port.
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(&self) -> u16 {
        self.last
    }

    /// Whether the port is in it.
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// A protocol, and for TCP and UDP the ports; none are all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    protocol: Protocol,
    ports: Vec<PortRange>,
}

impl Service {
    /// At most this many ranges of ports.
    pub const MOST_RANGES: usize = 32;

    /// Of a protocol and its ports, which only TCP and UDP have. Ranges that touch become one.
    pub fn new(protocol: Protocol, mut ports: Vec<PortRange>) -> Option<Self> {
        let has_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
        if (!ports.is_empty() && !has_ports) || ports.len() > Self::MOST_RANGES {
            return None;
        }
        ports.sort_unstable();
        let mut joined: Vec<PortRange> = Vec::with_capacity(ports.len());
        for range in ports {
            match joined.last_mut() {
                Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => {
                    before.last = before.last.max(range.last);
                }
                Some(_) | None => joined.push(range),
            }
        }
        Some(Self { protocol, ports: joined })
    }

    /// The protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The ports, ordered and apart; none are all.
    pub fn ports(&self) -> &[PortRange] {
        &self.ports
    }

    /// Whether a packet of this protocol to this port is meant. Protocols without ports have none.
    pub fn permits(&self, protocol: Protocol, port: Option<u16>) -> bool {
        let named = |port: u16| self.ports.iter().any(|range| range.contains(port));
        self.protocol == protocol && (self.ports.is_empty() || port.is_some_and(named))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Other(number) => write!(f, "proto/{number}"),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.protocol.fmt(f)?;
        for (index, range) in self.ports.iter().enumerate() {
            write!(f, "{}{range}", if index == 0 { '/' } else { ',' })?;
        }
        Ok(())
    }
}

fn range(text: &str) -> Option<PortRange> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match text.split_once('-') {
        None => port(text).and_then(|port| PortRange::new(port, port)),
        Some((first, last)) => PortRange::new(port(first)?, port(last)?),
    }
}

fn service(text: &str) -> Option<Service> {
    let (name, rest) = match text.split_once('/') {
        None => (text, None),
        Some((name, rest)) => (name, Some(rest)),
    };
    let protocol = match (name, rest) {
        ("tcp", _) => Protocol::Tcp,
        ("udp", _) => Protocol::Udp,
        ("icmp", None) => Protocol::Icmp,
        ("proto", Some(number)) => {
            let other = match number.parse().ok()? {
                1 | 58 => Protocol::Icmp,
                6 => Protocol::Tcp,
                17 => Protocol::Udp,
                other => Protocol::Other(other),
            };
            return Service::new(other, Vec::new());
        }
        (_, _) => return None,
    };
    let ports = rest.map(|rest| rest.split(',').map(range).collect::<Option<Vec<_>>>());
    Service::new(protocol, ports.unwrap_or(Some(Vec::new()))?)
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        service(&text.trim().to_ascii_lowercase())
            .ok_or_else(|| ServiceError(text.chars().take(64).collect()))
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

crate::cbor::text!(Service);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Service {
        text.parse().unwrap()
    }

    #[test]
    fn what_people_write_reads_back() {
        for text in ["tcp/443", "udp/53,1000-2000", "icmp", "tcp", "proto/47"] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("TCP/80-90,85-100,101").to_string(), "tcp/80-101");
        assert_eq!(parse("proto/6"), parse("tcp"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for text in ["", "tcp/", "tcp/0", "tcp/9-8", "icmp/8", "proto", "proto/300", "http", "tcp/70000"] {
            let error = text.parse::<Service>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no service")), "{error}");
        }
    }

    #[test]
    fn only_the_named_ports_are_permitted() {
        let web = parse("tcp/80,443");
        assert!(web.permits(Protocol::Tcp, Some(443)) && !web.permits(Protocol::Tcp, Some(444)));
        assert!(!web.permits(Protocol::Udp, Some(443)) && !web.permits(Protocol::Tcp, None));
        assert!(parse("tcp").permits(Protocol::Tcp, Some(1)) && parse("icmp").permits(Protocol::Icmp, None));
    }
}
