//! The services of a grant, as a firewall knows them.
//!
//! Not for their meaning: both kinds agree about every packet (a property test).

use model::Protocol;

use crate::{PortRange, Ports, Service, Services};

/// None named is all.
pub(super) fn of(services: &[model::Service]) -> Services {
    if services.is_empty() {
        return Services::All;
    }
    Services::Only(services.iter().map(one).collect())
}

fn one(service: &model::Service) -> Service {
    match service.protocol() {
        Protocol::Tcp => Service::Tcp(ports(service)),
        Protocol::Udp => Service::Udp(ports(service)),
        Protocol::Icmp => Service::Icmp,
        Protocol::Other(number) => Service::Other(number),
    }
}

fn ports(service: &model::Service) -> Ports {
    let range = |range: &model::PortRange| PortRange { first: range.first(), last: range.last() };
    match service.ports() {
        [] => Ports::Any,
        ranges => Ports::Only(ranges.iter().map(range).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_what_is_let_pass() {
        let services: Vec<model::Service> =
            ["tcp/80,443-445", "udp", "icmp", "proto/47"].map(|text| text.parse().unwrap()).into();
        let https = PortRange { first: 443, last: 445 };
        let expected = vec![
            Service::Tcp(Ports::Only(vec![PortRange::one(80), https])),
            Service::Udp(Ports::Any),
            Service::Icmp,
            Service::Other(47),
        ];
        assert_eq!(of(&services), Services::Only(expected));
        assert_eq!(of(&[]), Services::All);
    }
}
