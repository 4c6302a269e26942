//! The simulated internet: sites with or without a NAT, and what becomes of a datagram between two machines.
//!
//! Not for time or loss, which are the World's. It keeps true what hole punching depends on: a NAT lets a datagram in only
//! from where its own machine has sent to, and a mapping lives as long as it is used.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use model::Endpoint;

/// How long a NAT remembers a mapping that is not used.
const MAPPING_LIVES: Duration = Duration::from_secs(45);

/// What stands between a site and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Nothing: the site's addresses are public.
    Open,
    /// A NAT with one mapping for all destinations, that lets in only from where its machines have sent to.
    OneMapping,
    /// A NAT with a mapping for each destination.
    PerDestination,
}

/// Where a machine is: a site and an address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the site.
    pub site: usize,
    /// The address.
    pub ip: Ipv4Addr,
}

/// Which network a datagram crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Site(usize),
    Internet,
}

/// A datagram's envelope on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope {
    pub(super) scope: Scope,
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
}

#[derive(Debug, Clone)]
struct Mapping {
    inner: Endpoint,
    /// The destination it is for, at a border that tells them apart.
    only: Option<Endpoint>,
    opened: BTreeMap<Endpoint, Duration>,
    used: Duration,
}

#[derive(Debug, Clone)]
struct Site {
    border: Border,
    lan: Ipv4Net,
    public: Ipv4Addr,
    mappings: BTreeMap<u16, Mapping>,
    next_port: u16,
}

/// All sites.
#[derive(Debug, Clone)]
pub(super) struct Net {
    sites: Vec<Site>,
}

pub(super) fn endpoint(ip: Ipv4Addr, port: u16) -> Endpoint {
    Endpoint::new((ip, port).into()).expect("a unicast address and a port")
}

impl Net {
    /// Sites behind these borders. Two sites behind NATs have the same private range: that happens.
    pub(super) fn new(borders: &[Border]) -> Self {
        let site = |(number, border): (usize, &Border)| {
            let number = u8::try_from(number).expect("few sites");
            let lan = match border {
                Border::Open => Ipv4Addr::new(198, 51, 100, number * 32),
                Border::OneMapping | Border::PerDestination => Ipv4Addr::new(192, 168, number / 2, 0),
            };
            let prefix = if *border == Border::Open { 27 } else { 24 };
            let lan = Ipv4Net::new(lan, prefix).expect("a prefix");
            let public = Ipv4Addr::new(203, 0, 113, number + 1);
            Site { border: *border, lan, public, mappings: BTreeMap::new(), next_port: 20_000 }
        };
        Self { sites: borders.iter().enumerate().map(site).collect() }
    }

    /// The place of machine `number` in a site.
    pub(super) fn place(&self, site: usize, number: usize) -> Place {
        let [a, b, c, d] = self.sites[site].lan.network().octets();
        let number = u8::try_from(number).expect("few machines");
        Place { site, ip: Ipv4Addr::new(a, b, c, d + 10 + number) }
    }

    /// A machine's address with its prefix.
    pub(super) fn local(&self, place: Place) -> IpNet {
        IpNet::new(place.ip.into(), self.sites[place.site].lan.prefix_len()).expect("a prefix")
    }

    /// A NAT forgets everything: it was restarted.
    pub(super) fn restart(&mut self, site: usize) {
        let site = &mut self.sites[site];
        site.mappings.clear();
        site.next_port += 1_000;
    }

    /// A datagram leaves a machine; none when there is no way.
    pub(super) fn send(&mut self, place: Place, port: u16, to: Endpoint, now: Duration) -> Option<Envelope> {
        let inner = endpoint(place.ip, port);
        let std::net::IpAddr::V4(target) = to.ip() else { return None };
        let number = place.site;
        let site = &mut self.sites[number];
        if site.lan.contains(&target) {
            return Some(Envelope { scope: Scope::Site(number), from: inner, to });
        }
        if target.is_private() || target == site.public {
            return None;
        }
        let from = match site.border {
            Border::Open => inner,
            Border::OneMapping => site.map(inner, None, to, now),
            Border::PerDestination => site.map(inner, Some(to), to, now),
        };
        Some(Envelope { scope: Scope::Internet, from, to })
    }

    /// The place and port at which a datagram ends; none when it is dropped. The server's own address is not a place.
    pub(super) fn arrive(&mut self, envelope: &Envelope, now: Duration) -> Option<(Place, u16)> {
        let std::net::IpAddr::V4(target) = envelope.to.ip() else { return None };
        let place = |site, ip| Place { site, ip };
        match envelope.scope {
            Scope::Site(site) => Some((place(site, target), envelope.to.port())),
            Scope::Internet => {
                let number = self.sites.iter().position(|site| match site.border {
                    Border::Open => site.lan.contains(&target),
                    Border::OneMapping | Border::PerDestination => site.public == target,
                })?;
                let site = &mut self.sites[number];
                if site.border == Border::Open {
                    return Some((place(number, target), envelope.to.port()));
                }
                let inner = site.inside(envelope, now)?;
                let std::net::IpAddr::V4(ip) = inner.ip() else { return None };
                Some((place(number, ip), inner.port()))
            }
        }
    }
}

impl Site {
    fn map(&mut self, inner: Endpoint, only: Option<Endpoint>, to: Endpoint, now: Duration) -> Endpoint {
        self.mappings.retain(|_, mapping| now < mapping.used + MAPPING_LIVES);
        let known = self.mappings.iter().find(|(_, mapping)| mapping.inner == inner && mapping.only == only);
        let port = known.map(|(port, _)| *port).unwrap_or_else(|| {
            self.next_port += 1;
            self.next_port
        });
        let fresh = || Mapping { inner, only, opened: BTreeMap::new(), used: now };
        let mapping = self.mappings.entry(port).or_insert_with(fresh);
        mapping.used = now;
        mapping.opened.insert(to, now);
        endpoint(self.public, port)
    }

    fn inside(&mut self, envelope: &Envelope, now: Duration) -> Option<Endpoint> {
        let mapping = self.mappings.get_mut(&envelope.to.port())?;
        let opened = mapping.opened.get_mut(&envelope.from)?;
        if now >= *opened + MAPPING_LIVES {
            return None;
        }
        *opened = now;
        mapping.used = now;
        Some(mapping.inner)
    }
}
