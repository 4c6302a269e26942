//! The World: the real brains of server and agents (`control`, `reconcile`) on simulated machines, in virtual time, with
//! NATs, loss, broken connections, crashes and restarts. The same seed and the same steps give the same world.
//!
//! Not for sockets, encodings or kernels: the lab is. What must be true at rest is in `check`, against a reference model
//! that knows nothing of how it comes about.

mod check;
mod host;
mod net;
mod random;
mod server;
mod steps;
mod wireguard;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use control::{Actor, Command};
use model::{Digest, HostId, NetworkId, Ranges, Uses};
use reconcile::{AgentEvent, AskFailure};
use wire::Down;

pub use net::{Border, Place};

use check::Model;
use host::{Host, Request};
use net::{Envelope, Net, Scope, endpoint};
use random::Random;
use server::Server;
use wireguard::Packet;

/// The server's address.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 250);
/// The UDP port of every host.
const PORT: u16 = 51_820;
/// How many networks there are.
pub const NETWORKS: usize = 2;

enum Event {
    Datagram(Envelope, Packet),
    /// To the `run`th agent of a host, over this connection if over one.
    Agent {
        host: usize,
        run: u64,
        link: Option<u64>,
        event: AgentEvent,
    },
    /// A connection, or the attempt to make one, has failed.
    Down {
        host: usize,
        run: u64,
        attempt: u64,
    },
    Server {
        host: usize,
        run: u64,
        request: Request,
    },
}

/// Everything there is.
pub struct World {
    now: Duration,
    random: Random,
    net: Net,
    server: Server,
    networks: Vec<NetworkId>,
    hosts: Vec<Host>,
    by_id: BTreeMap<HostId, usize>,
    model: Model,
    /// Connections to the broker, by host.
    links: BTreeMap<usize, u64>,
    /// When the last message of a connection arrives: they keep their order.
    last_push: BTreeMap<usize, Duration>,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    /// Of a hundred datagrams so many are lost, and of a hundred pushed messages so many, with their connection.
    pub loss: u64,
    /// Of a hundred pushed messages so many come twice.
    pub twice: u64,
}

impl World {
    /// A server, two networks, and sites behind these borders without machines.
    pub fn new(seed: u64, borders: &[Border]) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1_000),
            random: Random::new(seed),
            net: Net::new(borders),
            server: Server::new(),
            networks: Vec::new(),
            hosts: Vec::new(),
            by_id: BTreeMap::new(),
            model: Model::new(borders),
            links: BTreeMap::new(),
            last_push: BTreeMap::new(),
            events: BTreeMap::new(),
            count: 0,
            loss: 0,
            twice: 0,
        };
        for number in 0..NETWORKS {
            let ranges =
                Ranges::new(Some(format!("10.{}.0.0/24", number + 1).parse().expect("a range")), None);
            let name = format!("net{number}").parse().expect("a name");
            world.command(
                Actor::System,
                Command::CreateNetwork {
                    name,
                    ranges: ranges.ok(),
                    keepalive: None,
                    access: None,
                    approval: false,
                    domain: None,
                },
            );
        }
        world.networks = world.server.intent.networks(None).map(|network| network.id).collect();
        for (number, networks) in [(1, vec![0]), (2, vec![1]), (3, vec![0, 1])] {
            let networks = networks.into_iter().map(|at: usize| world.networks[at]).collect();
            let title = format!("key {number}").parse().expect("a title");
            let digest = Digest::from_bytes([number; 32]);
            let uses = Uses::Unlimited;
            world.command(
                Actor::System,
                Command::CreateEnrollmentKey {
                    title,
                    digest,
                    networks,
                    uses,
                    expires: None,
                    tags: Default::default(),
                    ephemeral: false,
                },
            );
        }
        world
    }

    /// The time since the world began.
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// Whether the server is there.
    pub const fn server_is_up(&self) -> bool {
        self.server.up
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        for host in 0..self.hosts.len() {
            self.act(host);
        }
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let hosts = self.hosts.iter().filter_map(Host::deadline).min();
            let Some(next) = event.into_iter().chain(hosts).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().expect("there is one");
                self.happen(event);
            } else {
                let due = |host: &Host| host.deadline().is_some_and(|at| at <= next);
                let due: Vec<usize> = (0..self.hosts.len()).filter(|at| due(&self.hosts[*at])).collect();
                due.into_iter().for_each(|host| self.act(host));
            }
        }
        self.now = end;
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + delay, self.count), event);
    }

    fn send_to_agent(&mut self, host: usize, delay: Duration, link: Option<u64>, event: AgentEvent) {
        let run = self.hosts[host].run;
        self.after(delay, Event::Agent { host, run, link, event });
    }

    fn down(&mut self, host: usize, delay: Duration, attempt: u64) {
        let run = self.hosts[host].run;
        self.after(delay, Event::Down { host, run, attempt });
    }

    fn command(&mut self, actor: Actor, command: Command) {
        assert!(self.server.up, "commands need a server");
        let messages = self.server.command(actor, command, &mut self.random, self.now);
        self.push(messages.expect("the world asks only for what is possible"));
    }

    /// Messages go to those who are connected; a connection may break, a message may come twice.
    fn push(&mut self, messages: Vec<(HostId, Down)>) {
        for (id, message) in messages {
            let Some(&host) = self.by_id.get(&id) else { continue };
            let Some(&link) = self.links.get(&host) else { continue };
            if self.random.happens(self.loss) {
                self.break_link(host);
                continue;
            }
            let times = if self.random.happens(self.twice) { 2 } else { 1 };
            for _ in 0..times {
                let soon = self.now + self.random.about(Duration::from_millis(15));
                let last = self.last_push.get(&host).copied().unwrap_or_default();
                let at = soon.max(last + Duration::from_micros(1));
                self.last_push.insert(host, at);
                let event = AgentEvent::Pushed(message.clone());
                self.send_to_agent(host, at - self.now, Some(link), event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram(envelope, packet) => self.arrive(&envelope, packet),
            Event::Agent { host, run, link, event } => {
                let broken = link.is_some_and(|link| self.links.get(&host) != Some(&link));
                if self.hosts[host].run == run && !broken {
                    self.hosts[host].hear(event, self.now);
                    self.act(host);
                }
            }
            Event::Down { host, run, attempt } => {
                if self.hosts[host].run == run && self.hosts[host].attempts == attempt {
                    self.hosts[host].hear(AgentEvent::BrokerDown, self.now);
                    self.act(host);
                }
            }
            Event::Server { host, run, request } => self.serve(host, run, request),
        }
    }

    /// A request comes to the server, or to nobody.
    fn serve(&mut self, host: usize, run: u64, request: Request) {
        if self.hosts[host].run != run {
            return;
        }
        let reachable = self.server.up && self.hosts[host].place.is_some();
        let id = self.hosts[host].id;
        let delay = self.random.about(Duration::from_millis(15));
        let (link, event) = match request {
            Request::Connect(attempt) if !reachable || self.server.intent.host(id).is_none() => {
                return self.down(host, Duration::from_secs(1), attempt);
            }
            Request::Connect(attempt) if attempt != self.hosts[host].attempts => return,
            Request::Connect(_) => {
                self.count += 1;
                self.links.insert(host, self.count);
                (Some(self.count), AgentEvent::BrokerUp)
            }
            Request::Ask { .. } if !reachable => (None, AgentEvent::AskFailed(AskFailure::Unreachable)),
            Request::Ask { have, held } => match self.server.answer(id, have, held.as_deref()) {
                Some(reply) => (None, AgentEvent::Answered(reply)),
                None => (None, AgentEvent::AskFailed(AskFailure::Removed)),
            },
            Request::Report(_) if !reachable => (None, AgentEvent::ReportFailed),
            Request::Report(report) => {
                let messages = self.server.report(id, &report, self.now);
                self.push(messages);
                (None, AgentEvent::Reported)
            }
        };
        // Who gets no answer waits for a while.
        let delay = if reachable { delay } else { Duration::from_secs(2) };
        self.send_to_agent(host, delay, link, event);
    }

    fn act(&mut self, host: usize) {
        let requests = self.hosts[host].act(self.now);
        if !self.hosts[host].runs() {
            self.links.remove(&host);
        }
        let run = self.hosts[host].run;
        for request in requests {
            let delay = self.random.about(Duration::from_millis(15));
            self.after(delay, Event::Server { host, run, request });
        }
        self.transmit(host);
    }

    fn transmit(&mut self, host: usize) {
        let place = self.hosts[host].place;
        for (to, packet) in std::mem::take(&mut self.hosts[host].kernel.out) {
            let Some(place) = place else { continue };
            if let Some(envelope) = self.net.send(place, PORT, to, self.now) {
                self.travel(envelope, packet);
            }
        }
    }

    fn travel(&mut self, envelope: Envelope, packet: Packet) {
        if self.random.happens(self.loss) {
            return;
        }
        let delay = self.random.about(Duration::from_millis(10));
        self.after(delay, Event::Datagram(envelope, packet));
    }

    fn arrive(&mut self, envelope: &Envelope, packet: Packet) {
        let Envelope { scope: _, from, to } = *envelope;
        if to.ip() == SERVER {
            if self.server.up {
                let (answer, messages) = self.server.receive(from, to.port(), packet, self.now);
                if let Some(answer) = answer {
                    let back =
                        Envelope { scope: Scope::Internet, from: endpoint(SERVER, to.port()), to: from };
                    self.travel(back, answer);
                }
                self.push(messages);
            }
            return;
        }
        let Some((place, PORT)) = self.net.arrive(envelope, self.now) else { return };
        if let Some(host) = self.hosts.iter().position(|host| host.place == Some(place)) {
            self.hosts[host].kernel.receive(from, packet, self.now);
            self.transmit(host);
        }
    }
}
