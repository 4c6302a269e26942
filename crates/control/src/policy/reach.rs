//! By what one member may reach another: a set of protocols and ports.

use std::collections::{BTreeMap, BTreeSet};

use model::{Access, PortRange, Protocol, Service};

/// By what connections may be opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Reach {
    everything: bool,
    /// Ranges are ordered and apart. Where all is let through, nothing is listed.
    by: BTreeMap<Protocol, Vec<PortRange>>,
}

/// How much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Nothing,
    Some,
    All,
}

/// What a protocol without ports counts as, too.
pub(super) const ALL_PORTS: (u16, u16) = (0, u16::MAX);

fn range((first, last): (u16, u16)) -> PortRange {
    PortRange::new(first, last).expect("ranges are made the right way round")
}

/// The ports of a service; a protocol without ports counts as one with all of them.
fn ports(service: &Service) -> Vec<PortRange> {
    if service.ports().is_empty() { vec![range(ALL_PORTS)] } else { service.ports().to_vec() }
}

/// Joins what touches.
fn joined(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for next in ranges {
        match joined.last_mut() {
            Some(before) if u32::from(next.first()) <= u32::from(before.last()) + 1 => {
                *before = range((before.first(), before.last().max(next.last())));
            }
            Some(_) | None => joined.push(next),
        }
    }
    joined
}

/// What is in the first and not in the second.
fn without(these: &[PortRange], those: &[PortRange]) -> Vec<PortRange> {
    let mut left = Vec::new();
    for one in these {
        let mut at = u32::from(one.first());
        let last = u32::from(one.last());
        for cut in those.iter().filter(|cut| cut.last() >= one.first() && cut.first() <= one.last()) {
            push(&mut left, at, u32::from(cut.first()).checked_sub(1));
            at = at.max(u32::from(cut.last()) + 1);
        }
        push(&mut left, at, Some(last));
    }
    left
}

fn push(ranges: &mut Vec<PortRange>, first: u32, last: Option<u32>) {
    let bounds = last.map(|last| (u16::try_from(first), u16::try_from(last)));
    if let Some((Ok(first), Ok(last))) = bounds {
        ranges.extend(PortRange::new(first, last));
    }
}

impl Reach {
    /// By nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// By everything.
    pub const fn everything() -> Self {
        Self { everything: true, by: BTreeMap::new() }
    }

    /// What a network's default lets through.
    pub fn by_default(access: Access) -> Self {
        match access {
            Access::Allow => Self::everything(),
            Access::Deny => Self::nothing(),
        }
    }

    /// What these services are, as a policy has them: none are everything.
    pub fn of_policy(services: &BTreeSet<Service>) -> Self {
        let mut reach = Self { everything: services.is_empty(), by: BTreeMap::new() };
        services.iter().for_each(|service| reach.add(&Self::of(service)));
        reach
    }

    /// What one service is.
    pub fn of(service: &Service) -> Self {
        Self { everything: false, by: BTreeMap::from([(service.protocol(), ports(service))]) }
    }

    /// Whether it is nothing at all.
    pub fn is_nothing(&self) -> bool {
        !self.everything && self.by.is_empty()
    }

    /// Whether it is everything.
    pub const fn is_everything(&self) -> bool {
        self.everything
    }

    /// This, and that too.
    pub fn add(&mut self, other: &Self) {
        if self.everything || other.everything {
            *self = Self::everything();
            return;
        }
        for (protocol, ranges) in &other.by {
            let known = self.by.entry(*protocol).or_default();
            known.extend_from_slice(ranges);
            *known = joined(std::mem::take(known));
        }
    }

    /// What is in this and not in the other. What is left of everything is called everything.
    #[must_use]
    pub fn but(&self, other: &Self) -> Self {
        if other.everything {
            return Self::nothing();
        }
        if self.everything {
            return Self::everything();
        }
        let left = |(protocol, ranges): (&Protocol, &Vec<PortRange>)| match other.by.get(protocol) {
            None => (*protocol, ranges.clone()),
            Some(those) => (*protocol, without(ranges, those)),
        };
        Self {
            everything: false,
            by: self.by.iter().map(left).filter(|(_, left)| !left.is_empty()).collect(),
        }
    }

    /// Whether all of the other is in this.
    pub fn covers(&self, other: &Self) -> bool {
        other.but(self).is_nothing()
    }

    /// How much of these ports of a protocol, or of the protocol where it has none, is in this.
    pub(super) fn over(&self, protocol: Protocol, (first, last): (u16, u16)) -> Part {
        if self.everything {
            return Part::All;
        }
        let ranges = self.by.get(&protocol).map(Vec::as_slice).unwrap_or_default();
        match ranges.iter().find(|range| range.last() >= first && range.first() <= last) {
            None => Part::Nothing,
            Some(range) if range.first() <= first && last <= range.last() => Part::All,
            Some(_) => Part::Some,
        }
    }

    /// Where what is in this of a protocol begins and ends.
    pub(super) fn ranges(&self, protocol: Protocol) -> &[PortRange] {
        self.by.get(&protocol).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether something of the other is in this.
    pub fn touches(&self, other: &Self) -> bool {
        if self.is_nothing() || other.is_nothing() {
            return false;
        }
        if self.everything || other.everything {
            return true;
        }
        self.but(other) != *self
    }

    /// The services that it is, in order; none where it is everything or nothing.
    pub fn services(&self) -> Vec<Service> {
        let services = |(protocol, ranges): (&Protocol, &Vec<PortRange>)| {
            let all = *ranges == [range(ALL_PORTS)];
            let ranges: &[PortRange] = if all { &[] } else { ranges };
            let pieces: Vec<&[PortRange]> = match ranges.is_empty() {
                true => vec![&[]],
                false => ranges.chunks(Service::MOST_RANGES).collect(),
            };
            let protocol = *protocol;
            pieces
                .into_iter()
                .filter_map(move |ports| Service::new(protocol, ports.to_vec()))
                .collect::<Vec<_>>()
        };
        self.by.iter().flat_map(services).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str) -> Reach {
        let mut reach = Reach::nothing();
        text.split_whitespace().for_each(|service| reach.add(&Reach::of(&service.parse().unwrap())));
        reach
    }

    fn text(reach: &Reach) -> String {
        reach.services().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn services_add_up_and_are_taken_away() {
        assert_eq!(text(&reach("tcp/80 icmp tcp/81-90 udp/53")), "tcp/80-90 udp/53 icmp");
        assert_eq!(text(&reach("tcp/80-90 icmp").but(&reach("tcp/1-80,85,90-99"))), "tcp/81-84,86-89 icmp");
        assert_eq!(text(&reach("tcp").but(&reach("tcp/80"))), "tcp/0-79,81-65535");
        assert_eq!(reach("tcp").but(&reach("tcp")), Reach::nothing());
        assert_eq!(reach("udp").but(&Reach::everything()), Reach::nothing());
        assert!(Reach::everything().but(&reach("udp")).is_everything());
    }

    #[test]
    fn covering_is_all_and_touching_is_some() {
        assert!(reach("tcp/1-100").covers(&reach("tcp/5,7")) && !reach("tcp/5").covers(&reach("tcp")));
        assert!(Reach::everything().covers(&reach("tcp udp icmp")) && reach("tcp").covers(&Reach::nothing()));
        assert!(reach("tcp/5").touches(&reach("tcp/1-9")) && !reach("tcp/5").touches(&reach("tcp/6 udp/5")));
        assert!(
            !Reach::nothing().touches(&Reach::everything()) && Reach::everything().touches(&reach("icmp"))
        );
    }
}
