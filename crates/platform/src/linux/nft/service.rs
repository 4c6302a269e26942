//! The rules that accept a service.

use reconcile::{Family, PortRange, Ports, Service};

use super::expression::{Rule, Target};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// The rules that accept a service.
pub(super) fn rules(service: &Service) -> Vec<Rule> {
    let accept = |rule: Rule| rule.then(Target::Accept);
    match service {
        Service::Tcp(ports) => to_ports(TCP, ports),
        Service::Udp(ports) => to_ports(UDP, ports),
        Service::Icmp => [(Family::V4, ICMP), (Family::V6, ICMP_V6)]
            .map(|(family, protocol)| accept(Rule::default().family(family).protocol(protocol)))
            .into(),
        Service::Other(number) => vec![accept(Rule::default().protocol(*number))],
    }
}

fn to_ports(protocol: u8, ports: &Ports) -> Vec<Rule> {
    let start = Rule::default().protocol(protocol);
    match ports {
        Ports::Any => vec![start.then(Target::Accept)],
        Ports::Only(ranges) => {
            let full = ranges.iter().filter(|range| range.first <= range.last);
            let rule = |PortRange { first, last }: &PortRange| {
                start.clone().ports(*first, *last).then(Target::Accept)
            };
            full.map(rule).collect()
        }
    }
}
