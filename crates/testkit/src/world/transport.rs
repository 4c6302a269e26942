//! What machines send to one another, and how it gets there: over the internet and its NATs, or over the LAN of an annex.
//!
//! Not for what they make of it. It keeps true that nothing arrives that nobody sent, and that each packet that somebody's
//! program hears is put before the law.

use std::time::Duration;

use model::Endpoint;
use reconcile::AgentEvent;

use super::ask::End;
use super::kernel::Out;
use super::net::{Envelope, Scope, endpoint};
use super::packet::{Flow, Packet};
use super::passage::Came;
use super::wireguard::Datagram;
use super::{Event, OUTSIDE, PORT, SERVER, World};

/// What is in an envelope, and who put it on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire {
    /// A datagram of WireGuard.
    Sealed(End, Datagram),
    /// A packet as it is.
    Plain(End, Packet),
}

impl World {
    pub(super) fn transmit(&mut self, host: usize) {
        self.heard_by(End::Host(host), End::Host(host));
        let out = std::mem::take(&mut self.hosts[host].kernel.out);
        for out in out {
            match out {
                Out::Annex(annex, packet) => {
                    let delay = self.random.about(Duration::from_millis(1));
                    self.after(delay, Event::Annex { annex, host, inwards: true, packet });
                }
                Out::Near(annex, to, datagram) => self.travel_near(annex, host, to, datagram),
                Out::Sealed(..) | Out::Plain(_) => self.transmit_out(End::Host(host), out),
            }
        }
    }

    pub(super) fn transmit_client(&mut self, client: usize) {
        for out in std::mem::take(&mut self.clients[client].kernel.out) {
            self.transmit_out(End::Client(client), out);
        }
    }

    fn transmit_out(&mut self, from: End, out: Out) {
        let place = match from {
            End::Host(host) => self.hosts[host].place,
            End::Client(client) => self.clients[client].place,
            End::Annex(_) | End::Outside => None,
        };
        let Some(place) = place else { return };
        let (port, to, wire) = match out {
            Out::Sealed(to, datagram) => (PORT, to, Wire::Sealed(from, datagram)),
            Out::Plain(packet) => {
                let std::net::IpAddr::V4(ip) = packet.flow.destination else { return };
                (packet.flow.from, endpoint(ip, packet.flow.to), Wire::Plain(from, packet))
            }
            Out::Annex(..) | Out::Near(..) => return,
        };
        if let Some(envelope) = self.net.send(place, port, to, self.now) {
            self.travel(envelope, wire);
        }
    }

    pub(super) fn travel(&mut self, envelope: Envelope, wire: Wire) {
        if self.random.happens(self.loss) {
            return;
        }
        let delay = self.random.about(Duration::from_millis(10));
        self.after(delay, Event::Datagram(envelope, wire));
    }

    /// A datagram came over the LAN of a range.
    pub(super) fn arrive_near(&mut self, host: usize, from: Endpoint, datagram: Datagram) {
        self.hosts[host].kernel.receive(from, datagram, self.now);
        if !self.hosts[host].kernel.probes.is_empty() {
            self.act(host);
        }
        self.transmit(host);
    }

    pub(super) fn arrive(&mut self, envelope: &Envelope, wire: Wire) {
        let Envelope { scope: _, from, to } = *envelope;
        if to.ip() == SERVER {
            return self.arrive_at_server(envelope, wire);
        }
        if to.ip() == OUTSIDE {
            return self.arrive_outside(envelope, wire);
        }
        let Some((place, port)) = self.net.arrive(envelope, self.now) else { return };
        let hosts = self.hosts.iter().map(|host| host.place);
        let clients = self.clients.iter().map(|client| client.place);
        let here = |at: Option<super::Place>| at == Some(place);
        let host = hosts.enumerate().find(|(_, at)| here(*at)).map(|(host, _)| End::Host(host));
        let there = || clients.enumerate().find(|(_, at)| here(*at)).map(|(client, _)| End::Client(client));
        let Some(end) = host.or_else(there) else { return };
        let now = self.now;
        let Some(kernel) = self.kernel_mut(end) else { return };
        let by = match wire {
            Wire::Sealed(by, datagram) if port == PORT => {
                if kernel.believes_uplink(from.ip()) {
                    kernel.receive(from, datagram, now);
                }
                by
            }
            Wire::Sealed(..) => return,
            Wire::Plain(by, packet) => {
                let flow = Flow {
                    source: from.ip(),
                    from: from.port(),
                    destination: place.ip.into(),
                    to: port,
                    ..packet.flow
                };
                if kernel.believes_uplink(from.ip()) {
                    kernel.pass(Packet { flow, ..packet }, Came::Elsewhere, now);
                }
                by
            }
        };
        match end {
            End::Host(host) => {
                if !self.hosts[host].kernel.probes.is_empty() {
                    self.act(host);
                }
                self.transmit(host);
            }
            End::Client(client) => {
                self.heard_by(end, by);
                self.transmit_client(client);
            }
            End::Annex(_) | End::Outside => {}
        }
    }

    fn kernel_mut(&mut self, end: End) -> Option<&mut super::kernel::Kernel> {
        match end {
            End::Host(host) => Some(&mut self.hosts[host].kernel),
            End::Client(client) => Some(&mut self.clients[client].kernel),
            End::Annex(_) | End::Outside => None,
        }
    }

    fn arrive_at_server(&mut self, envelope: &Envelope, wire: Wire) {
        let Envelope { scope: _, from, to } = *envelope;
        let (Wire::Sealed(_, datagram), true) = (wire, self.server.up) else { return };
        let (answer, messages) = self.server.receive(from, to.port(), datagram, self.now);
        if let Some(answer) = answer {
            let back = Envelope { scope: Scope::Internet, from: endpoint(SERVER, to.port()), to: from };
            self.travel(back, Wire::Sealed(End::Outside, answer));
        }
        self.push(messages);
    }

    /// Somebody in the internet is asked, and answers.
    fn arrive_outside(&mut self, envelope: &Envelope, wire: Wire) {
        let Wire::Plain(by, packet) = wire else { return };
        let Envelope { scope: _, from, to } = *envelope;
        let flow = Flow { source: from.ip(), from: from.port(), to: to.port(), ..packet.flow };
        let packet = Packet { flow, ..packet };
        self.judge(End::Outside, by, &packet);
        let back = Envelope { scope: Scope::Internet, from: to, to: from };
        self.travel(back, Wire::Plain(End::Outside, packet.answer()));
    }

    /// Programs heard something; the last who passed it on was `by`.
    fn heard_by(&mut self, end: End, by: End) {
        let Some(kernel) = self.kernel_mut(end) else { return };
        for packet in std::mem::take(&mut kernel.heard) {
            self.judge(end, by, &packet);
        }
    }

    /// The agent on a host hears of what is pushed only while it can be reached.
    pub(super) fn tell_agent(&mut self, host: usize, delay: Duration, link: Option<u64>, event: AgentEvent) {
        let (run, event) = (self.hosts[host].run, Box::new(event));
        self.after(delay, Event::Agent { host, run, link, event });
    }
}
