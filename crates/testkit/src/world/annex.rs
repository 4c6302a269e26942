//! A range outside of every network, with one machine in it, behind hosts that are attached to it.
//!
//! Not for who leads there by intent. It keeps true that the machine knows nothing of any network: it answers whoever is on
//! its own LAN directly, and all others by the host through which they came; where it asks first, by the first host attached.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use model::Endpoint;

use super::ask::End;
use super::net::endpoint;
use super::packet::{Flow, Packet, Service, Word};
use super::passage::Came;
use super::wireguard::Datagram;
use super::{Event, PORT, World};

/// A range and its machine.
#[derive(Debug, Clone)]
pub(super) struct Annex {
    pub(super) range: Ipv4Net,
    /// The hosts attached to it, in order.
    pub(super) hosts: Vec<usize>,
    /// Whether they tell of their addresses in it, and WireGuard goes over it.
    is_told: bool,
    /// By whom others came.
    ways: BTreeMap<IpAddr, usize>,
}

impl Annex {
    fn address(&self, number: usize) -> Ipv4Addr {
        let number = u32::try_from(number).expect("few machines");
        Ipv4Addr::from_bits(self.range.network().to_bits() + number)
    }

    /// The address of the machine in it.
    pub(super) fn machine(&self) -> IpAddr {
        self.address(200).into()
    }

    /// The address of a host in it.
    pub(super) fn host(&self, host: usize) -> IpAddr {
        self.address(10 + host).into()
    }

    fn way_to(&self, ip: IpAddr) -> Option<usize> {
        let near = self.hosts.iter().copied().find(|host| self.host(*host) == ip);
        near.or_else(|| self.ways.get(&ip).copied()).or_else(|| self.hosts.first().copied())
    }
}

impl World {
    /// A range (a /24 of IPv4) to which these hosts are attached; its number. Nobody hears of their addresses in it.
    pub fn annex(&mut self, range: &str, hosts: &[usize]) -> usize {
        self.new_annex(range, hosts, false)
    }

    /// The same where hosts tell of their addresses in it, as real ones do, and try each other there.
    pub fn told_annex(&mut self, range: &str, hosts: &[usize]) -> usize {
        self.new_annex(range, hosts, true)
    }

    fn new_annex(&mut self, range: &str, hosts: &[usize], is_told: bool) -> usize {
        let range: Ipv4Net = range.parse().expect("a range");
        let number = self.annexes.len();
        self.annexes.push(Annex { range, hosts: Vec::new(), is_told, ways: BTreeMap::new() });
        hosts.iter().for_each(|host| self.attach(number, *host));
        number
    }

    /// Attaches a host to the range.
    pub fn attach(&mut self, number: usize, host: usize) {
        let annex = &mut self.annexes[number];
        if annex.hosts.contains(&host) {
            return;
        }
        annex.hosts.push(host);
        let own = IpNet::new(annex.host(host), annex.range.prefix_len()).expect("a prefix");
        let is_told = annex.is_told;
        self.hosts[host].kernel.wires.annexes.entry(number).or_default().push(own);
        self.hosts[host].settle(self.now);
        if is_told {
            self.hosts[host].tell_of(own, self.now);
        }
        self.transmit(host);
    }

    /// A datagram leaves a host over the LAN of a range, for another one.
    pub(super) fn travel_near(&mut self, number: usize, from: usize, to: Endpoint, datagram: Datagram) {
        let annex = &self.annexes[number];
        let there = |host: &usize| annex.host(*host) == to.ip();
        let Some(host) = annex.hosts.iter().copied().find(there).filter(|_| annex.is_told) else { return };
        let from = endpoint(ipv4(annex.host(from)), PORT);
        let delay = self.random.about(Duration::from_millis(1));
        self.after(delay, Event::Near { host, from, datagram });
    }

    pub(super) fn arrive_at_annex(&mut self, number: usize, host: usize, inwards: bool, packet: Packet) {
        if !inwards {
            self.hosts[host].kernel.pass(packet, Came::Elsewhere, self.now);
            return self.transmit(host);
        }
        let annex = &mut self.annexes[number];
        if packet.flow.destination != annex.machine() {
            return;
        }
        if !annex.range.contains(&ipv4(packet.flow.source)) {
            annex.ways.insert(packet.flow.source, host);
        }
        self.judge(End::Annex(number), End::Host(host), &packet);
        if packet.word == Word::Question {
            let way = self.annexes[number].way_to(packet.flow.source);
            self.send_from_annex(number, way, packet.answer());
        }
    }

    /// The machine of the range asks.
    pub(super) fn ask_from_annex(
        &mut self,
        number: usize,
        to: IpAddr,
        service: Service,
        port: u16,
        question: u64,
    ) {
        let flow = Flow::new(self.annexes[number].machine(), to, service, port);
        let way = self.annexes[number].hosts.first().copied();
        self.send_from_annex(number, way, Packet::question(flow, question));
    }

    fn send_from_annex(&mut self, annex: usize, way: Option<usize>, packet: Packet) {
        let Some(host) = way else { return };
        let delay = self.random.about(Duration::from_millis(1));
        self.after(delay, Event::Annex { annex, host, inwards: false, packet });
    }
}

fn ipv4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
